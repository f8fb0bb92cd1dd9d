import json

import open_clip
import pytest
import torch

from mmcl.encoders.open_clip_models import model_config, model_tokenizer, model_weights, one_tower
from mmcl.errors import ConfigError, DataError, MissingDataError


def weights(name, pretrained=None, download=False):
    return model_weights(name, model_config(name), pretrained, download)


def test_default_preprocessing_is_common_to_all_tags():
    none, clip = weights("ViT-B-32")
    assert none is None and clip["mean"] == open_clip.OPENAI_DATASET_MEAN and clip["resize_mode"] == "shortest"
    siglip = weights("ViT-B-16-SigLIP")[1]
    assert siglip["mean"] == (0.5, 0.5, 0.5) and siglip["resize_mode"] == "squash"
    tags = open_clip.list_pretrained_tags_by_model("ViT-L-14")
    assert len({open_clip.get_pretrained_cfg("ViT-L-14", tag)["mean"] for tag in tags}) == 2
    assert weights("ViT-L-14")[1]["mean"] == open_clip.OPENAI_DATASET_MEAN, "where they differ, open_clip's own"


def test_preprocessing_from_the_config_next_to_a_file(tmp_path):
    torch.save({"visual.proj": torch.ones(1)}, tmp_path / "weights.pt")
    assert weights("ViT-B-32", tmp_path / "weights.pt")[1]["mean"] == open_clip.OPENAI_DATASET_MEAN
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": {"mean": [0.1, 0.2, 0.3]}}))
    read, prepared = weights("ViT-B-32", str(tmp_path / "weights.pt"))
    assert list(read) == ["visual.proj"] and prepared["mean"] == [0.1, 0.2, 0.3] and prepared["std"]
    (tmp_path / "open_clip_config.json").write_text("[1]")
    with pytest.raises(DataError, match="open_clip_config.json"):
        weights("ViT-B-32", tmp_path / "weights.pt")


def test_a_tag_with_another_activation_raises():
    sent = 0
    for name, tag in open_clip.list_pretrained():
        try:
            weights(name, tag)
        except MissingDataError:
            continue
        except ConfigError as error:
            sent += 1
            other = str(error).rpartition("open_clip:")[2].rstrip("'")
            quick = open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False)
            assert model_config(other).get("quick_gelu", False) == quick != model_config(name).get("quick_gelu", False)
            with pytest.raises(MissingDataError):
                weights(other, tag)
    assert sent >= 8, "those of OpenAI"


def test_tags_are_read_from_the_cache_of_the_hub(tmp_path, monkeypatch):
    asked = []

    def get(repository, filename):
        asked.append((repository, filename))
        return str(tmp_path / "weights.pt")

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", get)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", get)
    torch.save({"visual.proj": torch.ones(1)}, tmp_path / "weights.pt")
    read, prepared = weights("ViT-B-32", "laion2b_s34b_b79k")
    assert list(read) == ["visual.proj"] and prepared["interpolation"] == "bicubic"
    weights("ViT-L-14", "datacomp_xl_s13b_b90k", download=True)
    assert asked[0] == ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip_model.safetensors")


def test_missing_models_and_weights_raise():
    with pytest.raises(ConfigError, match="'ViT-B32'.*'ViT-B-32'"):
        model_config("ViT-B32")
    with pytest.raises(ConfigError, match="'open_clip:ViT-B-32'.*'openai'"):
        weights("ViT-B-32", "openia")
    with pytest.raises(MissingDataError, match="'open_clip:ViT-B-32 laion2b_s34b_b79k'.*download=True"):
        weights("ViT-B-32", "laion2b_s34b_b79k")
    with pytest.raises(MissingDataError, match="'timm/ViT-B-16-SigLIP'.*download=True"):
        model_tokenizer("ViT-B-16-SigLIP", model_config("ViT-B-16-SigLIP"), False)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_other_tower_is_small(modality):
    model = one_tower(model_config("ViT-S-32-alt"), modality)
    wanted, other = (model.visual, model.text) if modality == "image" else (model.text, model.visual)
    assert sum(p.numel() for p in other.parameters()) < 20_000 < 1_000_000 < sum(p.numel() for p in wanted.parameters())
