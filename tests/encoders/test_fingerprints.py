"""Encoders with equal fingerprints compute equal features, whichever option differs."""

from dataclasses import replace
from inspect import signature
from itertools import chain, combinations

import pytest
import torch
import torchaudio
from transformers import BertConfig, BertModel, BertTokenizerFast, ViTConfig, ViTModel, Wav2Vec2Config, Wav2Vec2Model

from mmcl.encoders import build_encoder
from mmcl.encoders.build import _HUB, _LIBRARIES, _SCRATCH, builder_of
from mmcl.encoders.pretrained import quiet

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
CONVOLUTIONS = {"conv_dim": [8, 8], "conv_stride": [20, 16], "conv_kernel": [20, 16], "num_feat_extract_layers": 2}
POSITIONS = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
BUNDLE = {
    "extractor_conv_layer_config": [(8, 10, 10), (8, 8, 8), (8, 5, 4)], "encoder_embed_dim": 16,
    "encoder_pos_conv_kernel": 16, "encoder_pos_conv_groups": 2, "encoder_num_layers": 2, "encoder_num_heads": 2,
    "encoder_ff_interm_features": 16,
}  # fmt: skip

POOLINGS = ["mean", "max", "mean_max"]
OWN = ["own", *POOLINGS]
TRAINING = {"frozen": [True, False], "tune_from": [None, 0, 1]}
# The values of each option; the first is the default of the comparison.
OPTIONS = {
    ("audio", "cnn"): {
        "dim": [16, 32], "blocks": [1, 2], "mels": [40, 64], "dropout": [0.0, 0.5], "spec_augment": [True, False],
        "pooling": POOLINGS,
    },
    ("audio", "conformer"): {
        "dim": [16, 32], "layers": [1, 2], "heads": [1, 2], "kernel": [3, 5], "mels": [40, 64], "dropout": [0.0, 0.5],
        "spec_augment": [True, False], "pooling": POOLINGS,
    },
    ("image", "cnn"): {
        "channels": [1, 3], "size": [32, 28, None], "dim": [16, 32], "blocks": [2, 3], "dropout": [0.0, 0.5],
        "pooling": POOLINGS,
    },
    ("tabular", "mlp"): {
        "features": [6], "hidden": [8, 16], "dim": [16, 8], "dropout": [0.0, 0.5], "pooling": POOLINGS,
    },
    ("text", "words"): {"dim": [16, 32], "buckets": [64, 32], "pooling": POOLINGS},
    ("audio", "speechbrain:ecapa"): {
        "channels": [8, 16], "dim": [8, 16], "mels": [40, 80], "pooling": OWN, **TRAINING,
    },
    ("audio", "speechbrain:wav2vec2"): {"source": ["wav2vec2"], "pooling": POOLINGS, "subsampling": [1, 2], **TRAINING},
    ("audio", "torchaudio:WAV2VEC2_BASE"): {
        "pretrained": [False], "pooling": POOLINGS, "subsampling": [1, 2], **TRAINING,
    },
    ("image", "open_clip:ViT-S-32-alt"): {"pretrained": [None], "pooling": OWN, **TRAINING},
    ("image", "timm:test_vit"): {"weights": [None], "pooling": OWN, **TRAINING},
    ("image", "torchvision:resnet18"): {"weights": [None], "pooling": OWN, **TRAINING},
    ("text", "open_clip:ViT-S-32-alt"): {"pretrained": [None], "pooling": OWN, **TRAINING},
    ("audio", "whisper"): {
        "tune_from": [None, 0, 1], "pooling": POOLINGS, "subsampling": [1, 2], "silence": [0.0, 0.1],
    },
    ("audio", "wav2vec2"): {
        "tune_from": [None, 0, 1], "pooling": POOLINGS, "subsampling": [1, 2], "silence": [0.0],
    },
    ("image", "vit"): {"pooling": OWN, **TRAINING},
    ("text", "bert"): {"tune_from": [None, 0, 1], "pooling": [*POOLINGS, "cls"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(small_whisper, tmp_path_factory):
    """Paths of small models in the layout of transformers, by type."""
    root = tmp_path_factory.mktemp("models")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "turn", "on", "the", "lights"]
    (root / "bert").mkdir()
    (root / "bert" / "vocab.txt").write_text("\n".join(words))
    with quiet():
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=20, **SIZES)).save_pretrained(root / "bert")
        BertTokenizerFast(vocab=str(root / "bert" / "vocab.txt")).save_pretrained(root / "bert")
        ViTModel(ViTConfig(image_size=16, patch_size=8, **SIZES)).save_pretrained(root / "vit")
        Wav2Vec2Model(Wav2Vec2Config(**CONVOLUTIONS, **POSITIONS, **SIZES)).save_pretrained(root / "wav2vec2")
        (root / "wav2vec2" / "preprocessor_config.json").write_text('{"do_normalize": true, "feature_size": 1}')
    whisper = small_whisper(tmp_path_factory.mktemp("whisper"))
    return {"whisper": whisper, **{name: root / name for name in ("bert", "vit", "wav2vec2")}}


@pytest.fixture(autouse=True)
def small_bundle(monkeypatch):
    bundle = torchaudio.pipelines.WAV2VEC2_BASE
    monkeypatch.setattr(torchaudio.pipelines, "WAV2VEC2_BASE", replace(bundle, _params={**bundle._params, **BUNDLE}))


@pytest.fixture(scope="module")
def inputs():
    torch.manual_seed(1)
    return {
        "audio": torch.randn(2, 8000), "image": torch.rand(2, 1, 40, 32), "tabular": torch.randn(2, 6),
        "text": ["turn on the lights", "lights"],
    }  # fmt: skip


def variants(options):
    """Yield the default options, and every change of one option, with and without training."""
    default = {name: values[0] for name, values in options.items()}
    for frozen in [True, False] if "tune_from" not in options else [None]:
        training = {} if frozen is None else {"frozen": frozen}
        yield default | training
        for name, values in options.items():
            for value in values[1:]:
                chosen = default | training | {name: value}
                if chosen.get("tune_from") is not None and "frozen" in chosen:
                    chosen["frozen"] = None  # frozen=True contradicts tune_from
                yield chosen


@torch.no_grad()
def cached(encoder, inputs):
    """Return the features that the cache stores."""
    features, _ = encoder.eval().frozen_features(inputs)
    return [encoder(inputs).pooled, features] if encoder.frozen else [features]


@pytest.mark.parametrize(("modality", "name"), OPTIONS)
def test_equal_fingerprints_mean_equal_features(modality, name, folders, inputs):
    built = []
    for options in variants(OPTIONS[modality, name]):
        chosen = {key: folders.get(value, value) if key == "source" else value for key, value in options.items()}
        torch.manual_seed(0)  # so that weights differ only if the options change their shapes
        encoder = build_encoder(modality, folders.get(name, name), **chosen)
        built.append((options, encoder.fingerprint(), cached(encoder, inputs[modality])))
    assert len({fingerprint for _, fingerprint, _ in built}) > 1
    for (one, first, features), (other, second, others) in combinations(built, 2):
        if first == second:
            assert all(torch.equal(*pair) for pair in zip(features, others, strict=True)), (one, other)


@pytest.mark.parametrize(("modality", "name"), OPTIONS)
def test_all_options_are_compared(modality, name, folders):
    known = set(signature(builder_of(modality, str(folders.get(name, name)))).parameters) - {"name", "download"}
    assert known - {"weights", "pretrained", "source"} <= set(OPTIONS[modality, name])


def test_the_scaling_of_a_frozen_table_is_part_of_its_fingerprint():
    encoder = build_encoder("tabular", "mlp", features=3, frozen=True)
    vectors = torch.randn(8, 3)
    before, pooled = encoder.fingerprint(), encoder(vectors).pooled
    encoder.scale(vectors)
    assert not torch.equal(encoder(vectors).pooled, pooled)
    assert encoder.fingerprint() != before


def test_all_builders_are_compared(folders):
    libraries = [
        models.values() if isinstance(models, dict) else [models]
        for each in _LIBRARIES.values()
        for models in each.values()
    ]
    known = {builder for each in _SCRATCH.values() for builder in each.values()} | {*_HUB.values(), *chain(*libraries)}
    compared = {builder_of(modality, str(folders.get(name, name))) for modality, name in OPTIONS}
    assert {builder.load("") for builder in known} == compared
