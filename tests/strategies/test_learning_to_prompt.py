import json
import subprocess
import sys

import pytest
import torch
from avalanche.core import SupervisedPlugin
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


class Choices(SupervisedPlugin):
    """Keeps the prompts of each batch, with queries and keys, and the number of the experience."""

    def __init__(self):
        super().__init__()
        self.found = []

    def after_backward(self, strategy, **kwargs):
        encoder, batch = strategy.model.encoder, strategy.mbatch
        with torch.no_grad():
            query = encoder.encoder(batch["audio"], batch["audio_lengths"]).pooled
        keys = encoder.keys.detach().clone()
        self.found.append((strategy.experience.current_experience, encoder.chosen.tolist(), query, keys))


def test_diversified_choices_equal_a_slow_loop(make_prompted, waves):
    """Distances are multiplied by the shares of earlier experiences in training, and not in evaluation."""
    choices = Choices()
    strategy = make_prompted(diversify=True, key_weight=0.0, plugins=[choices])  # keys do not come nearer
    counts, different = [1] * 4, 0
    for number, experience in enumerate(waves.train_stream):
        strategy.train(experience, eval_streams=[])
        shares = [count / sum(counts) for count in counts]
        for _, chosen, query, keys in (each for each in choices.found if each[0] == number):
            for own, vector in zip(chosen, query, strict=True):
                distances = [1 - float(cosine_similarity(vector, key, dim=0)) for key in keys]
                order = sorted(range(4), key=lambda i: distances[i] * shares[i])
                assert sorted(own) == sorted(order[:2])
                different += sorted(own) != sorted(sorted(range(4), key=lambda i: distances[i])[:2])
                for prompt in own:
                    counts[prompt] += 1
        (plugin,) = (each for each in strategy.plugins if isinstance(each, LearningToPrompt))
        assert plugin.counts.tolist() == counts and sum(counts) == 4 + 2 * 3 * 12 * (number + 1)
    assert different > 0
    encoder = strategy.model.encoder
    query = torch.randn(5, encoder.keys.shape[1])
    assert torch.equal(encoder.eval().choose(query), encoder.similarities(query).topk(2).indices)


CASES = """
import json, sys
import torch
from mmcl import distributed
from mmcl.data import class_incremental
from mmcl.encoders import build_encoder
from mmcl.models import SLUClassifier
from mmcl.seeding import seed_everything
from mmcl.strategies import l2p

distributed.launch(2)
seed_everything(0)
samples = [{"audio": torch.randn(800), "label": row % 4} for row in range(11)]
benchmark = class_incremental(samples, samples, experiences=2, class_order=range(4))
encoder = build_encoder("audio", sys.argv[1], prompts={"size": 4, "top_k": 2, "length": 3})
model = SLUClassifier(encoder, hidden=None)
optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1)
strategy = l2p(model, optimizer, epochs=2, batch_size=4, diversify=True)
for experience in benchmark.train_stream:
    strategy.train(experience, eval_streams=[])
found = distributed.all_gather_object([strategy.plugins[0].counts.tolist(), strategy.plugins[0].frequencies.tolist()])
if distributed.is_main():
    print(json.dumps(found))
distributed.leave()
"""


def test_two_processes_count_together(small_whisper, tmp_path):
    (tmp_path / "cases.py").write_text(CASES)
    command = [sys.executable, "-W", "ignore", str(tmp_path / "cases.py"), str(small_whisper(tmp_path / "whisper"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    one, other = json.loads(done.stdout.splitlines()[-1])
    assert one == other and sum(one[0]) == 4 + 2 * 2 * 11  # two prompts of each sample in two epochs


def test_without_diversity_prompts_are_not_counted(make_prompted, waves):
    strategy = make_prompted()
    strategy.train(waves.train_stream[0], eval_streams=[])
    plugin = strategy.plugins[0]
    assert plugin.counts.tolist() == [1] * 4 and plugin.state_dict(strategy) is None
    plugin.load_state_dict(None, strategy)  # of an earlier version
    assert strategy.model.encoder.frequencies is None


@pytest.mark.parametrize("diversify", [False, True])
def test_a_resumed_stream_equals_an_uninterrupted_one(diversify, make_prompted, waves, train):
    expected = train(make_prompted(diversify=diversify), waves)
    stopped, resumed = make_prompted(diversify=diversify), make_prompted(diversify=diversify)
    train(stopped, waves, 1)
    resumed.load_state_dict(stopped.state_dict())
    resumed.train(waves.train_stream[1], eval_streams=[])
    found = resumed.model.state_dict()
    assert all(torch.equal(found[name], each) for name, each in expected.items())


def test_a_step_waits_for_nothing_on_a_device(make_prompted, waves, train, on_device):
    watched = WatchedSteps()
    train(make_prompted(plugins=[watched], epochs=4, diversify=True), waves)
    assert watched.steps > 10
    own = ("encoders/prompts", "encoders/tuning", "strategies/")  # Whisper asks whether a batch is padded
    assert not [each for each in watched.waits.found if any(part in str(each) for part in own)]
    assert watched.waits.found


def test_faults_name_the_setting(make, benchmark):
    with pytest.raises(ConfigError, match=r"encoder\.prompts\.size"):
        make(l2p).train(benchmark.train_stream[0], eval_streams=[])
    with pytest.raises(ConfigError, match="'old'"):
        LearningToPrompt(classes="old")
