from itertools import product

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from mmcl.batch import Batch, collate
from mmcl.data import Barista, SpokenDigits
from mmcl.data.base import Entity
from mmcl.encoders import build_encoder, cached_features
from mmcl.encoders.base import Encoded
from mmcl.encoders.pretrained import pretrained_audio
from mmcl.errors import CheckpointError, ConfigError, LabelError
from mmcl.freeze import freeze, trainable_state
from mmcl.models import Frame, FrameTokenizer, SLUSeq2Seq
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FRAMES = [Frame(digit, (Entity("speaker", "george"),), f"say {digit}") for digit in DIGITS]
SMALL = dict(dim=16, layers=2, heads=2, feedforward=32, projection=8, dropout=0.0, max_tokens=12)


@pytest.fixture
def tokenizer():
    return FrameTokenizer.train(FRAMES, DIGITS, vocabulary=60, dropout=0.0)


@pytest.fixture
def make(tokenizer):
    """Return a factory of models without dropout and with fixed weights, such as ``make(summary=True)``."""

    def _make(encoder=None, **settings):
        torch.manual_seed(0)
        encoder = encoder or build_encoder("audio", "cnn", dim=16, dropout=0.0, spec_augment=False)
        model = SLUSeq2Seq(encoder, settings.pop("tokenizer", tokenizer), **{**SMALL, **settings})
        for parameter in model.transformer.parameters():
            if (
                parameter.dim() == 2 and parameter.requires_grad
            ):  # large weights, so that the output depends on the audio
                torch.nn.init.normal_(parameter, std=0.5)
        return model.eval()

    return _make


@pytest.fixture(scope="module")
def samples(data_dir):
    """Four spoken digits of different lengths, of one speaker."""
    digits = SpokenDigits(data_dir / "fsdd", "test", speakers="george")
    rows = [0, 5, 35, 30]
    entities = (Entity("speaker", "george"),)
    return [{**digits[row], "text": f"say {digits.texts[row]}", "entities": entities} for row in rows]


def sequences(model, batch):
    return [model.tokenizer.encode(frame) for frame in model.frames(batch)]


def log_probability(model, encoded, tokens):
    """Return the log-probability of a sequence, computed one token at a time."""
    total = 0.0
    for step in range(len(tokens)):
        logits = model.teacher_forced(encoded, torch.tensor([tokens[: step + 1]]))[0, -1]
        total += torch.log_softmax(logits, dim=0)[tokens[step]].item()
    return total


def select(encoded, row):
    """Return one utterance of a batch without padding."""
    length = int(encoded.lengths[row])
    return Encoded(encoded.sequence[[row], :length], encoded.lengths[[row]], encoded.pooled[[row]])


@torch.no_grad()
def test_the_batch_loss_equals_the_loss_of_single_tokens(make, samples):
    model = make(summary=True).train()
    pair = [{**samples[0], "entities": ()}, samples[1]]
    output = model(collate(pair))
    loss = cross_entropy(output.logits.flatten(0, 1), output.targets.flatten())

    total, tokens = 0.0, 0
    for sample in pair:
        batch = collate([sample])
        (sequence,) = sequences(model, batch)
        total -= log_probability(model, model.encode(batch), sequence)
        tokens += len(sequence)
    assert (output.targets != -100).sum() == tokens < output.targets.numel()
    assert loss.item() == pytest.approx(total / tokens, rel=1e-5)


@pytest.mark.parametrize("summary", [False, True])
@pytest.mark.parametrize("encoder_layers", [0, 1])
@torch.no_grad()
def test_padding_does_not_affect_a_sample(encoder_layers, summary, make, samples):
    model = make(summary=summary, encoder_layers=encoder_layers)
    batch = collate(samples)
    encoded, targets = model.encode(batch), model.targets(sequences(model, batch))
    logits = model.teacher_forced(encoded, targets)
    assert len(set(encoded.lengths.tolist())) > 1
    for row, sample in enumerate(samples):
        alone = model.encode(collate([sample]))
        length = int(alone.lengths[0])
        assert encoded.lengths[row] == length == alone.sequence.shape[1]
        assert (encoded.sequence[row, :length] - alone.sequence[0]).abs().max() < 1e-4
        assert not encoded.sequence[row, length:].any()
        assert (encoded.pooled[row] - alone.pooled[0]).abs().max() < 1e-4
        assert (encoded.pooled[row] - encoded.sequence[row, :length].mean(0)).abs().max() < 1e-5
        steps = int((targets[row] != -100).sum())
        assert (logits[row, :steps] - model.teacher_forced(alone, targets[[row], :steps])[0]).abs().max() < 1e-3


@torch.no_grad()
def test_greedy_decoding_picks_the_best_token_at_each_step(make, samples):
    model = make(tied=False)  # an untrained tied model repeats itself
    encoded = model.encode(collate(samples))
    written = model.decode(encoded, beams=1)
    for row in range(len(samples)):
        alone, tokens = select(encoded, row), []
        while len(tokens) < 12 and tokens[-1:] != [model.tokenizer.end]:
            tokens.append(int(model.teacher_forced(alone, torch.tensor([[*tokens, 0]]))[0, -1].argmax()))
        assert written[row] == tokens
    assert len({tuple(tokens) for tokens in written}) > 1


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 2.0])
@torch.no_grad()
def test_beam_search_scores_at_least_as_high_as_greedy_decoding(length_penalty, make, samples):
    model = make(length_penalty=length_penalty, tied=False)
    better = 0
    for sample in samples:
        encoded = model.encode(collate([sample]))
        score = {}
        for beams in (1, 8):
            (tokens,) = model.decode(encoded, beams=beams)
            score[beams] = log_probability(model, encoded, tokens) / len(tokens) ** length_penalty
        assert score[8] > score[1] - 1e-4
        better += score[8] > score[1] + 1e-3
    assert better


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 3.0])
@torch.no_grad()
def test_a_wide_beam_finds_the_best_of_all_sequences(length_penalty, make, samples):
    """The score is log-probability / tokens^length_penalty, with the end token and without the start token."""
    tokenizer = FrameTokenizer.train([Frame("go", (), "a")], ["go"], vocabulary=60)
    size, end = len(tokenizer), tokenizer.end
    model = make(tokenizer=tokenizer, length_penalty=length_penalty, max_tokens=3, tied=False)
    encoded = model.encode(collate(samples[:1]))
    rows = torch.tensor(list(product(range(size), repeat=3)))
    many = Encoded(*(part.expand(len(rows), *part.shape[1:]) for part in encoded))
    chosen = torch.log_softmax(model.teacher_forced(many, rows), dim=2).gather(2, rows[:, :, None])[:, :, 0]
    scores = {}
    for row, steps in zip(rows.tolist(), chosen.tolist(), strict=True):
        length = row.index(end) + 1 if end in row else 3
        scores[tuple(row[:length])] = sum(steps[:length]) / length**length_penalty
    best = max(scores, key=scores.get)
    assert model.decode(encoded, beams=size**2) == [list(best)]


@pytest.mark.parametrize("beams", [1, 5])
@torch.no_grad()
def test_decoding_does_not_depend_on_the_batch(beams, make, samples):
    model = make(beams=beams, summary=True, tied=False)
    together = model.decode(model.encode(collate(samples)))
    assert together == [model.decode(model.encode(collate([sample])))[0] for sample in samples]


@pytest.mark.parametrize("beams", [1, 3])
@torch.no_grad()
def test_decoding_stops_at_max_tokens(beams, make, samples):
    written = {most: make(beams=beams, max_tokens=most)(collate(samples)) for most in (1, 4)}
    for most, output in written.items():
        assert len(output.frames) == 4
        model = make(beams=beams, max_tokens=most)
        lengths = [len(tokens) for tokens in model.decode(model.encode(collate(samples)))]
        assert max(lengths) == most


def test_decoding_keeps_the_training_mode_and_has_no_gradient(make, samples):
    model = make(dropout=0.5).train()
    encoded = model.encode(collate(samples))
    assert model.decode(encoded) == model.decode(encoded)  # without dropout
    assert all(part.training for part in model.modules())
    model.eval().decode(encoded)
    assert not any(part.training for part in model.modules())
    freeze(model.train())
    model.decode(encoded)
    assert not any(part.training for part in model.modules())


@torch.no_grad()
def test_evaluation_returns_frames_and_one_hot_logits(make, samples, monkeypatch):
    model = make()
    frames = [Frame("seven"), Frame(""), Frame("zero", (), "say zero")]
    encodings = [model.tokenizer.encode(frame)[frame.intent == "" :] for frame in frames if frame.intent]
    monkeypatch.setattr(model, "decode", lambda encoded: [encodings[0], [model.tokenizer.end], encodings[1]])
    output = model(collate(samples[:3]))
    assert output.frames == frames
    assert output.logits.shape == (3, 11) and output.logits.argmax(1).tolist() == [7, 10, 0]
    assert (output.logits == 0).sum(1).tolist() == [1, 1, 1] and output.logits.isneginf().sum() == 30
    assert torch.equal(output.embedding, model.embed(collate(samples[:3])))


def test_weights_of_another_tokenizer_are_an_error(make, tokenizer):
    other = FrameTokenizer.train(FRAMES[::-1], DIGITS[::-1], vocabulary=60)
    model = make()
    with pytest.raises(CheckpointError, match="tokenizer.json of the same run"):
        make(tokenizer=other).load_state_dict(model.state_dict())
    make().load_state_dict(model.state_dict())


def test_the_state_round_trips_through_a_checkpoint(make, samples, tmp_path):
    batch = collate(samples)
    model = make(summary=True, encoder=build_encoder("audio", "cnn", dim=16, frozen=True))
    with torch.no_grad():
        model.standardize(model.encoder(batch["audio"], batch["audio_lengths"]).sequence.flatten(0, 1))
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1 * parameter.requires_grad)
    state = trainable_state(model)
    assert not any(name.startswith("encoder.network") for name in state)
    save_checkpoint(tmp_path / "model.safetensors", state)
    fresh = make(summary=True, encoder=model.encoder)
    assert not torch.equal(fresh.embed(batch), model.embed(batch))
    fresh.load_state_dict(load_checkpoint(tmp_path / "model.safetensors"), strict=False)
    assert torch.equal(fresh.embed(batch), model.embed(batch))
    assert fresh(batch).frames == model(batch).frames
    assert torch.equal(fresh.train()(batch).logits, model.train()(batch).logits)


def test_the_model_can_overfit_four_utterances(samples, tokenizer):
    torch.manual_seed(0)
    model = SLUSeq2Seq(
        build_encoder("audio", "cnn", dim=32, dropout=0.0, spec_augment=False),
        tokenizer,
        dim=32,
        layers=1,
        heads=2,
        feedforward=64,
        summary=True,
        dropout=0.0,
    )
    batch = collate(samples)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(80):
        output = model(batch)
        loss = cross_entropy(output.logits.flatten(0, 1), output.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    output = model.eval()(batch)
    assert output.frames == model.frames(batch) and len({frame.intent for frame in output.frames}) == 4
    assert output.logits.argmax(1).tolist() == batch["label"].tolist()


KINDS = {"wav2vec2": (Wav2Vec2Config, Wav2Vec2Model), "hubert": (HubertConfig, HubertModel)}
SIZES = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8, 8),
    conv_stride=(10, 8, 4), conv_kernel=(10, 8, 5), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    feat_extract_norm="group", do_stable_layer_norm=False,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_pretrained_encoder_can_be_fine_tuned(kind, make, samples, tmp_path):
    config, model = KINDS[kind]
    torch.manual_seed(0)
    model(config(**SIZES)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    model = make(pretrained_audio(tmp_path, tune_from=0, subsampling=3)).train()
    batch = collate(samples)
    output = model(batch)
    cross_entropy(output.logits.flatten(0, 1), output.targets.flatten()).backward()
    trained = {name: parameter for name, parameter in model.encoder.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[3] for name in trained if ".layers." in name} == {"0", "1"}
    # A constant added to all keys does not change attention: the gradient of their bias is rounding noise.
    assert all(parameter.grad.abs().max() > 0 for parameter in trained.values())
    assert len(model.eval()(batch).frames) == 4


def test_cached_whisper_features_give_the_same_output(data_dir, weights_dir, tmp_path):
    orders = Barista(data_dir / "barista", "valid", words="slots")
    orders.utterances = orders.utterances[:2]
    orders.labels, orders.texts, orders.entities = (part[:2] for part in (orders.labels, orders.texts, orders.entities))
    encoder = build_encoder("audio", "openai/whisper-base", subsampling=8)
    cached = cached_features(orders, encoder, tmp_path, keep="sequence", half=False, progress=False)
    frames = [Frame(orders.classes[row[0]], *row[1:]) for row in zip(orders.labels, orders.entities, orders.texts)]  # noqa: B905
    tokenizer = FrameTokenizer.train(frames, orders.classes, dropout=0.0)
    model = SLUSeq2Seq(encoder, tokenizer, summary=True, **SMALL)
    batch = cached.batch(torch.tensor([1, 0]))
    direct = collate([orders[1], orders[0]])
    assert batch["features"].shape[2] == encoder.dim == 512 and 20 < batch["features_lengths"].min() < 100
    with torch.no_grad():
        assert (model.embed(batch) - model.embed(direct)).abs().max() < 1e-3
        assert (model(batch).logits - model(direct).logits).abs().max() < 1e-3
    assert model.frames(batch) == [
        tokenizer.frame(orders.labels[row], orders.entities[row], orders.texts[row]) for row in (1, 0)
    ]
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())


def test_texts_of_one_intent_have_the_same_projection(make):
    model = make()
    text = model.project_text(Batch(label=torch.tensor([3, 7, 3]), text=["a", "b", "c"]))
    assert text.shape == (3, 8) and torch.equal(text[0], text[2]) and not torch.allclose(text[0], text[1])
    embedding = model.transformer.get_input_embeddings().weight[model.tokenizer.intent_id(7)]
    assert torch.allclose(text[1], model.text_projection(embedding))
    assert model.project_audio(torch.zeros(5, 16)).shape == (5, 8)


def test_the_audio_text_space_trains_audio_and_tokens(make, samples):
    model, batch = make().train(), collate(samples)
    (model.project_audio(model.embed(batch)) - model.project_text(batch)).square().sum().backward()
    used = [model.tokenizer.intent_id(label) for label in batch["label"].tolist()]
    rows = model.transformer.get_input_embeddings().weight.grad.abs().sum(1).nonzero().flatten().tolist()
    assert rows == sorted(used)
    assert all(parameter.grad.any() for parameter in model.encoder.network.parameters())


def test_without_entities_the_target_has_none(make, samples):
    batch = collate(samples)
    assert make().frames(batch)[3] == Frame("six", (Entity("speaker", "george"),), "say six")
    assert make(entities=False).frames(batch)[3] == Frame("six", (), "say six")
    del batch["entities"]
    assert make().frames(batch)[3] == Frame("six", (), "say six")


def test_training_samples_the_segmentation_of_words(make, samples, tokenizer):
    sampling = FrameTokenizer(tokenizer._tokenizer, tokenizer.intents, dropout=0.5)
    model, batch = make(tokenizer=sampling).train(), collate(samples)
    assert len({tuple(model(batch).targets.flatten().tolist()) for _ in range(4)}) > 1


@pytest.mark.parametrize("tied", [True, False])
def test_tied_models_share_the_token_matrix(tied, make, tmp_path):
    model = make(tied=tied)
    one, other = model.transformer.get_input_embeddings().weight, model.transformer.get_output_embeddings().weight
    assert (one is other) == tied
    save_checkpoint(tmp_path / "model.safetensors", trainable_state(model))
    loaded = make(tied=tied)
    loaded.load_state_dict(load_checkpoint(tmp_path / "model.safetensors"), strict=False)
    weights = loaded.transformer.get_input_embeddings().weight, loaded.transformer.get_output_embeddings().weight
    assert (weights[0] is weights[1]) == tied and torch.equal(weights[0], one) and torch.equal(weights[1], other)


@pytest.mark.parametrize(
    "sizes",
    [{"dim": 18, "heads": 4}, {"dim": 15, "heads": 3}, {"layers": 0}, {"heads": 0}, {"feedforward": 0}]
    + [{"beams": 0}, {"max_tokens": 0}, {"dim": 0}, {"encoder_layers": -1}, {"projection": 0}],
    ids=str,
)
def test_incompatible_sizes_are_an_error(sizes, make):
    name, value = next(iter(sizes.items()))
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        make(**sizes)


def test_a_label_without_an_intent_is_an_error(make):
    make().grow(range(10))
    with pytest.raises(LabelError, match="label 10 .*0 to 9"):
        make().grow([3, 12, 10])
    with pytest.raises(LabelError, match="label -1 "):
        make().grow([-1])
