"""Files of a model cannot run code, access the network, or name paths outside its folder."""

import copy
import json
import os
import pickle
import socket
from pathlib import Path

import pytest
import soundfile
import torch
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    CLIPVisionConfig,
    CLIPVisionModel,
    T5Config,
    T5ForConditionalGeneration,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from mmcl.encoders import build_encoder
from mmcl.encoders.gate import (
    before_weights,
    described_by,
    hub_folder,
    local_file,
    local_path,
    model_file,
    weights_are_read,
    without_weights,
    wrap_errors,
)
from mmcl.encoders.pretrained import pretrained_text, pretrained_text_to_text, quiet
from mmcl.encoders.saved import rebuild_encoder
from mmcl.errors import CheckpointError, ConfigError, DataError, MissingDataError, MMCLError
from mmcl.models import SLUClassifier, TwoTower, from_pretrained
from mmcl.models.saved import save_slu
from mmcl.models.text_to_text import TextToText

TINY = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.fixture
def alarm(tmp_path, monkeypatch):
    """Yield the path of a file that hostile code would create, and check that nothing used the network."""
    tried = []

    def refuse(*arguments, **_):
        tried.append(arguments)
        raise OSError("a test accessed the network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("transformers.utils.hub.is_offline_mode", lambda: False)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("MMCL_WEIGHTS", str(tmp_path / "weights"))
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "code of a model ran"
    assert tried == [], "the network was used"


class Harm:
    """Object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def poison(folder: Path, canary: Path) -> None:
    """Add files and settings to a model's folder that make some library run code or follow names."""
    code = f"open({str(canary)!r}, 'w')\nclass Model: pass\nclass Tok: pass\nclass Conf: pass\n"
    for name in ("tok.py", "model.py", "custom.py", "handler.py", "custom_generate/generate.py", "hubconf.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    auto = {"AutoConfig": "model.Conf", "AutoModel": "model.Model", "AutoTokenizer": ["tok.Tok", "tok.Tok"]}
    auto |= {"AutoModelForSeq2SeqLM": "model.Model", "AutoFeatureExtractor": "model.Model"}
    remote = {"auto_map": auto, "trust_remote_code": True, "custom_pipelines": {"x": {"impl": "model.Model"}}}
    remote |= {"name_or_path": "evil/model", "attn_implementation": "evil/kernel", "_attn_implementation": "evil/k"}
    remote |= {
        "experts_implementation": "evil/kernel",
        "use_kernels": True,
        "quantization_config": {"quant_method": "x"},
    }
    remote |= {"vocab_file": "/etc/hostname", "tokenizer_file": "/etc/hostname", "init_inputs": ["/etc/hostname"]}
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json", "generation_config.json"):
        path = folder / name
        if name != "generation_config.json" or path.exists():
            path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **remote}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"vocab_file": "/etc/hostname", **remote}))
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "evil/base", **remote}))
    (folder / "modules.json").write_text(json.dumps([{"idx": 0, "type": "custom.Model", "path": ""}]))
    (folder / "hyperparams.yaml").write_text(f"a: !apply:os.system ['touch {canary}']\nb: !new:custom.Model\n")
    (folder / "optimizer.ckpt").write_bytes(pickle.dumps(Harm(canary)))
    if (folder / "model.safetensors").exists():
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harm(canary)))


def bert(folder):
    """Save a small text encoder in the layout of transformers."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "turn", "on", "the", "lights"]
    (folder / "vocab.txt").write_text("\n".join(words))
    with quiet():
        BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(words) + 10, **TINY)).save_pretrained(folder)
    return folder


def clip(folder):
    torch.manual_seed(0)
    CLIPVisionModel(CLIPVisionConfig(image_size=16, patch_size=8, **TINY)).save_pretrained(folder)
    return folder


def wav2vec2(folder):
    torch.manual_seed(0)
    sizes = {"conv_dim": [8, 8], "conv_stride": [20, 16], "conv_kernel": [20, 16], "num_conv_pos_embeddings": 8}
    config = Wav2Vec2Config(num_conv_pos_embedding_groups=2, num_feat_extract_layers=2, **sizes, **TINY)
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def student(folder):
    torch.manual_seed(0)
    TextToText.from_scratch(["one and one is two"] * 3, vocabulary=60, dim=16, layers=1, heads=2).save(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["mmcl_digests"]
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("make", "load", "answer"),
    [
        (bert, lambda at: build_encoder("text", at), lambda it: it(["turn on the lights", "on"]).pooled),
        (clip, lambda at: build_encoder("image", at), lambda it: it(torch.full((1, 3, 16, 16), 0.5)).pooled),
        (wav2vec2, lambda at: build_encoder("audio", at), lambda it: it(torch.ones(1, 4000).cumsum(1).sin()).pooled),
        (
            wav2vec2,
            lambda at: build_encoder("audio", "speechbrain:wav2vec2", source=at),
            lambda it: it(torch.ones(1, 4000).cumsum(1).sin()).pooled,
        ),
        (student, from_pretrained, lambda it: it(it.batch(["one and"], ["two"])).logits),
    ],
    ids=["bert", "clip", "wav2vec2", "speechbrain", "t5"],
)
def test_a_poisoned_folder_gives_the_same_output(make, load, answer, tmp_path, alarm):
    folder = make(tmp_path / "model")
    with torch.no_grad():
        expected = answer(load(folder).eval())
        poison(folder, alarm)
        assert torch.equal(answer(load(folder).eval()), expected)


@pytest.mark.parametrize("download", [False, True])
def test_a_model_defined_by_code_raises(download, tmp_path, alarm):
    folder = bert(tmp_path / "model")
    poison(folder, alarm)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "their_own"}))
    with pytest.raises(DataError, match="'their_own'"):
        build_encoder("text", folder, download=download)


@pytest.mark.parametrize(
    ("modality", "name", "option"),
    [
        ("audio", "speechbrain:ecapa", "weights"),
        ("audio", "torchaudio:WAV2VEC2_BASE", "pretrained"),
        ("image", "timm:test_vit", "weights"),
        ("image", "torchvision:resnet18", "weights"),
        ("image", "open_clip:ViT-S-32-alt", "pretrained"),
        ("text", "open_clip:ViT-S-32-alt", "pretrained"),
    ],
)
@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_pickled_code_raises_in_every_library(modality, name, option, suffix, tmp_path, alarm):
    (tmp_path / f"weights{suffix}").write_bytes(pickle.dumps({"state_dict": Harm(alarm)}))
    sidecar = {
        "model_cfg": {"text_cfg": {"hf_tokenizer_name": "evil/x", "tokenizer_kwargs": {"trust_remote_code": True}}}
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(sidecar))
    with pytest.raises(DataError, match="cannot be read"):
        build_encoder(modality, name, **{option: str(tmp_path / f"weights{suffix}")})


def test_pickled_code_in_the_layout_of_transformers_raises(tmp_path, alarm):
    folder = bert(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"embeddings": Harm(alarm)}))
    with pytest.raises(DataError, match="cannot be read"):
        build_encoder("text", folder)


def test_only_the_weights_of_a_speechbrain_folder_are_read(tmp_path, alarm):
    folder = tmp_path / "ecapa"
    folder.mkdir()
    poison(folder, alarm)
    (folder / "embedding_model.ckpt").write_bytes(pickle.dumps(Harm(alarm)))
    with pytest.raises(DataError, match="cannot be read"):
        build_encoder("audio", "speechbrain:ecapa", weights=folder)


def hostile_names(tmp_path):
    """Yield hostile descriptions of encoders."""
    elsewhere = bert(tmp_path / "elsewhere" / "bert")
    (tmp_path / "elsewhere" / "weights.pt").write_bytes(b"")
    (elsewhere / "open_clip_config.json").write_text(
        json.dumps(
            {
                "model_cfg": {
                    "embed_dim": 8,
                    "vision_cfg": {},
                    "text_cfg": {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}},
                }
            }
        )
    )
    yield "text", {"name": f"open_clip:local-dir:{elsewhere}"}
    yield "text", {"name": "open_clip:local-dir:./inside"}
    yield "text", {"name": "open_clip:hf-hub:evil/model"}
    yield "image", {"name": f"open_clip:local-dir:{elsewhere}"}
    yield "image", {"name": "timm:hf-hub:evil/model"}
    yield "image", {"name": "timm:hf_hub:evil/model"}
    yield "image", {"name": f"timm:local-dir:{elsewhere}"}
    yield "text", {"name": str(elsewhere)}
    yield "text", {"name": f"{elsewhere.parent.parent}/./elsewhere/bert"}
    yield "text", {"name": "../elsewhere/bert"}
    yield "text", {"name": "./../elsewhere/bert"}
    yield "text", {"name": "./link"}
    yield "text", {"name": "~/bert"}
    yield "text", {"name": "elsewhere/bert"}  # a folder in the working directory, or a model of the hub
    yield "text", {"name": "elsewhere/.."}
    yield "text", {"name": "bert"}
    yield "text", {"name": "evil/model", "download": True}
    yield "audio", {"name": "evil/model", "download": True}
    yield "audio", {"name": "torchaudio:WAV2VEC2_BASE", "download": True}
    yield "audio", {"name": "speechbrain:ecapa", "weights": "evil/model", "download": True}
    yield "audio", {"name": "speechbrain:wav2vec2", "source": "evil/model", "download": True}
    yield "audio", {"name": "speechbrain:wav2vec2", "source": str(elsewhere)}
    yield "image", {"name": "torchvision:resnet18", "weights": "DEFAULT", "download": True}
    yield "image", {"name": "timm:resnet18", "weights": "a1_in1k", "download": True}
    yield "image", {"name": "open_clip:ViT-B-32", "pretrained": "openai", "download": True}
    yield "text", {"name": "open_clip:ViT-B-16-SigLIP", "download": True}
    for file in (str(tmp_path / "elsewhere" / "weights.pt"), "../elsewhere/weights.pt", "./link/weights.pt"):
        yield "audio", {"name": "speechbrain:ecapa", "weights": file}
        yield "audio", {"name": "torchaudio:WAV2VEC2_BASE", "pretrained": file}
        yield "image", {"name": "torchvision:resnet18", "weights": file}
        yield "image", {"name": "timm:test_vit", "weights": file}
        yield "image", {"name": "open_clip:ViT-B-32", "pretrained": file}


def test_a_description_cannot_name_other_paths(tmp_path, alarm, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "model"
    folder.mkdir()
    os.symlink(tmp_path / "elsewhere", folder / "link")
    for modality, spec in hostile_names(tmp_path):
        poison(tmp_path / "elsewhere" / "bert", alarm)
        described = {"encoder": {"modality": modality, **spec}, "fingerprint": "x"}
        with pytest.raises((CheckpointError, ConfigError, MissingDataError)):
            rebuild_encoder(described, folder)


@pytest.mark.parametrize("name", ["open_clip:local-dir:{}", "{}", "words"])
def test_a_hostile_model_folder_raises_or_loads_unchanged(name, tmp_path, alarm):
    model = TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16), dim=8)
    model.save(tmp_path / "towers")
    classifier = SLUClassifier(build_encoder("audio", "cnn", dim=16), hidden=8)
    classifier.grow([0, 1])
    save_slu(classifier.eval(), tmp_path / "slu", ["on", "off"])
    evil = bert(tmp_path / "evil")
    poison(evil, alarm)
    for path, at in ((tmp_path / "towers" / "model.json", "second"), (tmp_path / "slu" / "config.json", None)):
        whole = json.loads(path.read_text())
        for keep in (True, False):  # with and without digests that detect the change
            content = copy.deepcopy(whole)
            encoder = (content[at] if at else content)["encoder"]
            encoder |= {"download": True} if name == "words" else {"name": name.format(evil), "download": True}
            if not keep:
                del content["mmcl_digests"]
            path.write_text(json.dumps(content))
            if name == "words":
                assert from_pretrained(path.parent) is not None
            else:
                with pytest.raises((CheckpointError, ConfigError)):
                    from_pretrained(path.parent)


def test_the_command_line_runs_no_code_of_a_model(tmp_path, alarm, mmcl_):
    soundfile.write(tmp_path / "order.wav", torch.linspace(0, 200, 8000).sin().numpy() * 0.5, 16000)
    TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16), dim=8).save(
        tmp_path / "dir"
    )
    told = mmcl_("predict", tmp_path / "dir", tmp_path / "order.wav", "--intents", "lights on", "lights off")
    assert told.code == 0 and "lights on" in told.out
    poison(bert(tmp_path / "evil"), alarm)
    path = tmp_path / "dir" / "model.json"
    content = json.loads(path.read_text())
    content["second"]["encoder"] = {"modality": "text", "name": f"open_clip:local-dir:{tmp_path / 'evil'}"}
    path.write_text(json.dumps(content))
    told = mmcl_("predict", tmp_path / "dir", tmp_path / "order.wav", "--intents", "lights on", "lights off")
    assert told.code in (1, 2) and told.err.startswith("error: ") and told.err.count("\n") == 1


def test_a_local_encoder_is_found_in_mmcl_weights_or_passed(tmp_path, monkeypatch):
    monkeypatch.delenv("MMCL_WEIGHTS", raising=False)
    own = bert(tmp_path / "mine" / "bert")
    text = build_encoder("text", own)
    model = TwoTower(build_encoder("audio", "cnn", dim=16), text, second_head="none").eval()
    model.save(tmp_path / "towers")
    with pytest.raises(CheckpointError, match="'/.*mine/bert'.*MMCL_WEIGHTS .*'bert'"):
        TwoTower.load(tmp_path / "towers")
    for found in (
        TwoTower.load(tmp_path / "towers", encoders=[build_encoder("text", own)]),
        from_pretrained(tmp_path / "towers", encoders=[build_encoder("text", own)]),
    ):
        assert found.second.encoder.fingerprint() == text.fingerprint()
    other = build_encoder("text", "words")
    with pytest.raises(CheckpointError, match="mine/bert'"):
        TwoTower.load(tmp_path / "towers", encoders=[other])
    monkeypatch.setenv("MMCL_WEIGHTS", str(own.parent))
    assert TwoTower.load(tmp_path / "towers").second.encoder.fingerprint() == text.fingerprint()
    (tmp_path / "elsewhere").mkdir()
    os.rename(own.parent, tmp_path / "elsewhere" / "all")
    monkeypatch.setenv("MMCL_WEIGHTS", str(tmp_path / "elsewhere" / "all"))
    assert TwoTower.load(tmp_path / "towers").second.encoder.fingerprint() == text.fingerprint()


def test_an_encoder_within_the_folder_of_its_model(tmp_path, monkeypatch):
    monkeypatch.delenv("MMCL_WEIGHTS", raising=False)
    bert(tmp_path / "towers" / "bert")
    text = build_encoder("text", tmp_path / "towers" / "bert")
    text.spec["name"] = "./bert"
    monkeypatch.chdir(tmp_path / "towers")
    TwoTower(build_encoder("audio", "cnn", dim=16), text, second_head="none").save(tmp_path / "towers")
    monkeypatch.chdir(tmp_path)
    os.rename(tmp_path / "towers", tmp_path / "moved")
    assert TwoTower.load(tmp_path / "moved").second.encoder.fingerprint() == text.fingerprint()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"])
def test_a_link_out_of_the_folder_raises(name, tmp_path):
    folder = bert(tmp_path / "model")
    if not (folder / name).exists():
        pytest.skip(f"this transformers writes no {name}")
    os.rename(folder / name, tmp_path / "outside")
    os.symlink(tmp_path / "outside", folder / name)
    with pytest.raises(DataError, match=f"{name} .*link"):
        pretrained_text(folder)
    os.unlink(folder / name)
    os.rename(tmp_path / "outside", folder / "within")
    os.symlink("within", folder / name)
    assert pretrained_text(folder).frozen


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "open_clip_config.json"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "circle", "nothing"])
def test_a_file_that_is_not_regular_raises(name, kind, tmp_path):
    {
        "fifo": os.mkfifo,
        "folder": os.mkdir,
        "circle": lambda path: os.symlink(path, path),
        "nothing": lambda path: os.symlink("nowhere", path),
    }[kind](tmp_path / name)
    with pytest.raises(DataError, match=name):
        model_file(tmp_path, name)


def test_links_within_the_cache_of_the_hub_are_followed(tmp_path, monkeypatch):
    monkeypatch.delenv("MMCL_WEIGHTS", raising=False)
    repository = tmp_path / "models--me--bert"
    folder = bert(repository / "snapshots" / "0123abc")
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    for path in list(folder.iterdir()):
        os.rename(path, repository / "blobs" / f"x{path.name}")
        os.symlink(f"../../blobs/x{path.name}", path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert build_encoder("text", "me/bert").fingerprint() == pretrained_text(folder).fingerprint()
    os.unlink(folder / "config.json")
    os.symlink("/etc/hostname", folder / "config.json")
    with pytest.raises(DataError, match="config.json .*link"):
        build_encoder("text", "me/bert")


def test_errors_name_the_model_as_given(tmp_path):
    folder = wav2vec2(tmp_path / "model")
    with pytest.raises(ConfigError, match=f"tune_from is 7.*'{folder}'"):
        build_encoder("audio", folder, tune_from=7)


def test_the_caller_may_name_any_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some").write_text("")
    assert (
        local_path("some") == Path("some")
        and local_path("~/some") == tmp_path / "some"
        and local_path("./some").is_file()
    )
    assert (
        local_path("nowhere") is None
        and local_path("~nobody/x") is None
        and local_path("x" * 5000) is None
        and local_path("\0") is None
    )
    with pytest.raises(MissingDataError, match="'nowhere'"):
        local_file("nowhere")


@pytest.mark.parametrize(
    "name", ["/", "..", ".", "~", "a/b/c", "./..", "a\\b", "\0", "x/../y", "/etc/..", "//", "./\0"]
)
def test_a_path_in_a_description_raises(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_WEIGHTS", str(tmp_path))
    with described_by(tmp_path / "model"), pytest.raises((CheckpointError, MissingDataError)):
        local_path(name)


@pytest.mark.parametrize("name", ["", "DEFAULT", "a1_in1k", "x" * 5000, "owner/model"])
def test_other_names_in_a_description_are_not_paths(name, tmp_path):
    with described_by(tmp_path):
        assert local_path(name) is None


def test_only_names_of_the_hub_are_looked_up(monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("looked up"))
    for name in ("bert", "a/b/c", "../x", "a/..", "/etc", "a/.b", "https://x/y"):
        assert hub_folder(name, ["*"], download=True) is None


def test_errors_of_libraries_are_converted():
    for error in (IndexError("x"), RecursionError("x"), MemoryError("x"), BaseException("a panic")):
        message = f"x.json .*{type(error).__name__}"
        with pytest.raises(DataError, match=message), wrap_errors("x.json"):
            raise error
    for kept in (KeyboardInterrupt, SystemExit):
        with pytest.raises(kept), wrap_errors("x.json"):
            raise kept
    with pytest.raises(ConfigError), wrap_errors("x.json"):
        raise ConfigError("already converted")


def test_a_model_without_tokenizer_raises(tmp_path):
    T5ForConditionalGeneration(
        T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    ).save_pretrained(tmp_path)
    with pytest.raises(MMCLError):
        pretrained_text_to_text(tmp_path)


def test_the_body_without_weights_ends_before_they_are_read():
    reached = []
    before_weights()
    with without_weights():
        assert not weights_are_read()
        before_weights()
        reached.append("read")
    assert reached == [] and weights_are_read()
    with pytest.raises(MissingDataError), without_weights():
        local_file("nowhere.pt")
    assert weights_are_read()
