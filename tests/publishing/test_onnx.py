"""ONNX graphs on real speech; slow exports are marked as slow."""

import pytest
import torch
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError, ExportError, MissingDataError
from mmcl.models import SLUClassifier, TwoTower
from mmcl.models.heads import HeadOptions
from mmcl.models.readouts import FeCAM, RanPAC, StreamingLDA
from mmcl.publishing import onnx as onnx_export
from mmcl.publishing.onnx import (
    SpeechTower,
    check_graph,
    check_listens,
    export_onnx,
    max_audio_seconds,
    real_recordings,
)

onnxruntime = pytest.importorskip("onnxruntime", reason="graphs need the extra 'onnx'")


def towers(encoder, head="mlp", **options):
    torch.manual_seed(0)
    head = HeadOptions(head, 32, **options)
    return TwoTower(encoder, build_encoder("text", "words"), first_head=head, dim=16).eval()


@pytest.fixture(scope="module")
def recordings(data_dir):
    found = real_recordings({})
    if len(found) < 8:
        pytest.skip("MMCL_DATA has not both spoken digits and coffee orders")
    return found


@pytest.fixture(scope="module")
def exported(recordings, tmp_path_factory):
    torch.manual_seed(0)
    model = towers(build_encoder("audio", "cnn", dim=16, pooling="mean_max"), "attention", layers=1)
    return model, export_onnx(model, tmp_path_factory.mktemp("graph"), recordings)


def test_recordings_have_several_lengths(recordings):
    seconds = [len(each) / 16000 for each in recordings]
    assert len(set(seconds)) == 8 and min(seconds) < 0.5 and max(seconds) > 5
    short = real_recordings({}, max_seconds=1.0)
    assert max(map(len, short)) <= 16000


def test_recordings_of_the_run_are_the_fallback(tmp_path, monkeypatch):
    import soundfile

    monkeypatch.setenv("MMCL_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "nothing"))
    with pytest.raises(MissingDataError, match="MMCL_DATA"):
        real_recordings({"pairs": {"name": "captions", "valid": "valid", "options": {}}})
    for number, size in enumerate((9000, 5000, 300)):  # the last is too short for any encoder
        soundfile.write(tmp_path / f"{number}.wav", torch.randn(size).numpy() / 9, 16000)
        (tmp_path / f"{number}.txt").write_text("hello")
    own = {"name": "captions", "valid": "valid", "options": {"valid": str(tmp_path)}}
    assert {len(each) for each in real_recordings({"pairs": own})} == {9000, 5000}


@pytest.mark.slow
def test_graph_equals_the_speech_tower_for_any_batch(exported, recordings):
    model, graph = exported
    assert graph.path.name == "speech_tower.onnx" and graph.difference <= onnx_export.TOLERANCE
    assert graph.recordings == 9 and graph.shortest == 0.025 and graph.longest > 5
    session = onnxruntime.InferenceSession(str(graph.path))
    assert [each.name for each in session.get_inputs()] == ["audio", "lengths"]
    assert session.get_modelmeta().custom_metadata_map["sample_rate"] == "16000"
    for count in (1, 3, 8):
        audio, lengths = onnx_export._batch(recordings[:count])
        (found,) = session.run(["speech_embedding"], {"audio": audio.numpy(), "lengths": lengths.numpy()})
        with torch.no_grad():
            expected = model.first({"audio": audio, "audio_lengths": lengths})
        assert found.shape == (count, 16)
        cosines = torch.cosine_similarity(torch.from_numpy(found), expected)
        assert (cosines - 1).abs().max() < 1e-5
        assert torch.from_numpy(found).norm(dim=1) == pytest.approx([1.0] * count, abs=1e-5)


@pytest.mark.slow
@pytest.mark.ci
def test_graph_of_another_model_is_refused(exported, recordings):
    model, graph = exported
    with torch.no_grad():
        model.first.head.network.output[1].weight[0, 0] += 0.05
        try:
            with pytest.raises(ExportError, match=r"on .* s, expected at most 0.0001"):
                check_graph(SpeechTower(model), graph.path, recordings)
        finally:
            model.first.head.network.output[1].weight[0, 0] -= 0.05
    assert check_graph(SpeechTower(model), graph.path, recordings) <= onnx_export.TOLERANCE


@pytest.mark.slow
@pytest.mark.ci
def test_export_restores_global_settings(exported):
    model, _ = exported
    assert not model.training and torch.backends.mha.get_fastpath_enabled() and not torch.compiler.is_exporting()


@pytest.mark.slow
def test_classifier_outputs_probabilities(recordings, tmp_path):
    torch.manual_seed(0)
    model = SLUClassifier(build_encoder("audio", "cnn", dim=16), hidden=8).eval()
    model.grow([0, 3])
    graph = export_onnx(model, tmp_path, recordings)
    audio, lengths = onnx_export._batch(recordings[:2])
    session = onnxruntime.InferenceSession(str(graph.path))
    (found,) = session.run(["probabilities"], {"audio": audio.numpy(), "lengths": lengths.numpy()})
    assert graph.path.name == "classifier.onnx" and found.shape == (2, 4)
    assert found.sum(1) == pytest.approx([1.0, 1.0], abs=1e-5) and not found[:, 1:3].any()


@pytest.mark.slow
@pytest.mark.parametrize("readout", [StreamingLDA(), RanPAC(projections=20), FeCAM(), FeCAM(covariance="diagonal")])
def test_a_read_out_is_a_part_of_the_graph(readout, recordings, tmp_path):
    torch.manual_seed(0)
    model = SLUClassifier(build_encoder("audio", "cnn", dim=16), hidden=8, readout=readout)
    for part in (model, readout):
        part.grow(range(3))
    readout.add(torch.randn(60, 8).relu(), torch.arange(60) % 3)
    readout.solve()
    assert export_onnx(model.eval(), tmp_path, recordings).output == "probabilities"


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"silence": 0.5, "subsampling": 4}, {"tune_from": 1, "pooling": "mean_max"}])
def test_whisper_takes_waveforms(options, recordings, small_whisper, tmp_path):
    model = towers(build_encoder("audio", small_whisper(tmp_path), **options))
    assert max_audio_seconds(model) == (29.0 if "silence" in options else 30.0)
    assert export_onnx(model, tmp_path, recordings).difference <= onnx_export.TOLERANCE


@pytest.mark.slow
def test_pretrained_whisper_with_an_attention_head(recordings, weights_dir, tmp_path):
    model = towers(build_encoder("audio", "openai/whisper-base", subsampling=4, silence=0.5), "attention")
    graph = export_onnx(model, tmp_path, recordings)
    assert graph.difference <= onnx_export.TOLERANCE and 8e7 < graph.path.stat().st_size < 1e8


@pytest.mark.slow
def test_conformer(recordings, tmp_path):
    model = towers(build_encoder("audio", "conformer", dim=16, layers=1))
    assert export_onnx(model, tmp_path, recordings).difference <= onnx_export.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("config", [Wav2Vec2Config, WavLMConfig])
@pytest.mark.parametrize("large", [False, True])
def test_waveform_networks(config, large, recordings, tmp_path):
    torch.manual_seed(0)
    sizes = dict(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8, 8),
        conv_stride=(10, 8, 4), conv_kernel=(10, 8, 5), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer" if large else "group", do_stable_layer_norm=large, conv_bias=large,
    )  # fmt: skip
    kind = {Wav2Vec2Config: Wav2Vec2Model, WavLMConfig: WavLMModel}[config]
    kind(config(**sizes)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    model = towers(build_encoder("audio", tmp_path))
    assert export_onnx(model, tmp_path, recordings).difference <= onnx_export.TOLERANCE


@pytest.mark.slow
def test_data_dependent_encoder_is_refused(recordings, tmp_path, capfd):
    model = towers(build_encoder("audio", "speechbrain:ecapa", channels=16, dim=8, frozen=True))
    capfd.readouterr()
    with pytest.raises(ExportError, match="ONNX"):
        export_onnx(model, tmp_path, recordings)
    assert capfd.readouterr() == ("", "") and not list(tmp_path.iterdir())


def test_unsupported_models_are_refused(recordings, tmp_path, monkeypatch):
    images = TwoTower(build_encoder("image", "cnn"), build_encoder("text", "words"))
    with pytest.raises(ConfigError, match="audio"):
        export_onnx(images, tmp_path, recordings)
    with pytest.raises(ConfigError, match="Linear"):
        export_onnx(torch.nn.Linear(1, 1), tmp_path, recordings)
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ConfigError, match=r"needs onnxscript, .*: pip install 'mmcl\[onnx\]'"):
        export_onnx(images, tmp_path, recordings)


def test_models_of_other_modalities_are_refused():
    check_listens(SLUClassifier(build_encoder("audio", "cnn", dim=8)))
    with pytest.raises(ConfigError, match="image"):
        check_listens(SLUClassifier(build_encoder("image", "cnn", dim=8)))
