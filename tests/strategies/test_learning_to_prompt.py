import pytest
import torch
from step_waits import WatchedSteps
from torch.nn.functional import cosine_similarity, cross_entropy

from mmcl.data import class_incremental
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError
from mmcl.models import SLUClassifier
from mmcl.seeding import seed_everything
from mmcl.strategies import LearningToPrompt, l2p


class Waves:
    """Tones of four pitches with noise."""

    classes = tuple("abcd")

    def __init__(self, count, seed):
        random = torch.Generator().manual_seed(seed)
        self.labels = [row % 4 for row in range(count)]
        self.texts = [self.classes[label] for label in self.labels]
        times = torch.arange(3200) / 16000
        self.audio = [
            torch.sin(2 * torch.pi * 300 * 2**label * times) + 0.1 * torch.randn(3200, generator=random)
            for label in self.labels
        ]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {"audio": self.audio[row], "label": self.labels[row], "text": self.texts[row]}


@pytest.fixture
def waves():
    return class_incremental(Waves(24, 0), Waves(8, 1), experiences=2, seed=0)


@pytest.fixture
def make_prompted(small_whisper, tmp_path):
    def _make(**settings):
        seed_everything(0)
        folder = small_whisper(tmp_path / "whisper")
        encoder = build_encoder("audio", folder, prompts={"size": 4, "top_k": 2, "length": 3})
        model = SLUClassifier(encoder, hidden=None)
        optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-2)
        return l2p(model, optimizer, **{"epochs": 3, "batch_size": 6, **settings})

    return _make


@pytest.mark.parametrize("classes", ["current", "seen"])
def test_the_loss_is_that_of_a_slow_loop(classes, make_prompted, waves, each_step):
    strategy = make_prompted(key_weight=0.3, classes=classes)
    strategy.train(waves.train_stream[0], eval_streams=[])
    current = sorted(waves.train_stream[1].group)
    seen = []

    def check(strategy, added):
        model, batch = strategy.model, strategy.mbatch
        query = model.encoder.encoder(batch["audio"], batch["audio_lengths"]).pooled
        logits = model(batch).logits
        distance = total = 0.0
        for row, label in enumerate(batch["label"].tolist()):
            near = sorted(
                (float(cosine_similarity(query[row], key, dim=0)) for key in model.encoder.keys), reverse=True
            )
            distance += sum(1 - each for each in near[:2]) / batch.size
            among = current if classes == "current" else range(4)
            row_logits = torch.stack([logits[row, each] for each in among])
            total += float(cross_entropy(row_logits, torch.tensor(list(among).index(label)))) / batch.size
        assert added["cross_entropy"] == pytest.approx(total, abs=1e-4)
        assert added["keys"] == pytest.approx(distance, abs=1e-4)
        assert added["loss"] == pytest.approx(total + 0.3 * distance, abs=1e-4)
        seen.append(total)

    each_step(strategy, waves.train_stream[1], check)
    assert len(seen) == 6


def test_frozen_weights_stay_bit_for_bit_and_prompts_learn(make_prompted, waves, train):
    strategy = make_prompted(epochs=6)
    before = {name: each.clone() for name, each in strategy.model.encoder.named_parameters()}
    after = train(strategy, waves)
    changed = {name for name, each in before.items() if not torch.equal(each, after[f"encoder.{name}"])}
    assert changed == {"pool", "keys"}


def test_a_resumed_stream_equals_an_uninterrupted_one(make_prompted, waves, train):
    expected = train(make_prompted(), waves)
    stopped, resumed = make_prompted(), make_prompted()
    train(stopped, waves, 1)
    resumed.load_state_dict(stopped.state_dict())
    resumed.train(waves.train_stream[1], eval_streams=[])
    found = resumed.model.state_dict()
    assert all(torch.equal(found[name], each) for name, each in expected.items())


def test_a_step_waits_for_nothing_on_a_device(make_prompted, waves, train, on_device):
    watched = WatchedSteps()
    train(make_prompted(plugins=[watched], epochs=4), waves)
    assert watched.steps > 10
    own = ("encoders/prompts", "encoders/tuning", "strategies/")  # Whisper asks whether a batch is padded
    assert not [each for each in watched.waits.found if any(part in str(each) for part in own)]
    assert watched.waits.found


def test_faults_name_the_setting(make, benchmark):
    with pytest.raises(ConfigError, match=r"encoder\.prompts\.size"):
        make(l2p).train(benchmark.train_stream[0], eval_streams=[])
    with pytest.raises(ConfigError, match="'old'"):
        LearningToPrompt(classes="old")
