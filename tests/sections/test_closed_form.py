import pytest

from mmcl.errors import ConfigError
from mmcl.models.readouts import FeCAM, StreamingLDA
from mmcl.sections.closed_form import ReadOutSection, check_frozen_encoder, trains_encoder
from mmcl.sections.encoders import AudioSection
from mmcl.sections.strategy_names import CLOSED_FORM


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_each_read_out_is_built_with_its_settings(name):
    section = ReadOutSection(slda={"shrinkage": 0.3}, ranpac={"projections": 7, "ridges": [1.0]})
    assert section.build(name).settings == section.settings(name) | ({"ridges": [1.0]} if name == "ranpac" else {})


def test_a_read_out_after_an_at_is_a_plugin():
    plugin = ReadOutSection(old_classes="exemplars", fecam={"covariance": "shared"}).plugin("fecam")
    assert plugin.old_classes == "exemplars" and isinstance(plugin.readout, FeCAM)
    assert plugin.readout.covariance == "shared"


def test_first_session_takes_its_read_out_as_an_argument():
    section = ReadOutSection(fecam={"covariance": "shared"})
    assert section.argument("first_session@fecam")["readout"].covariance == "shared"
    assert isinstance(section.argument("first_session+sup_con")["readout"], StreamingLDA)
    assert section.argument("naive@fecam") == section.argument("slda") == {}


@pytest.mark.parametrize(
    ("section", "trained"),
    [
        ({"name": "cnn"}, True),
        ({"name": "cnn", "frozen": True}, False),
        ({"name": "openai/whisper-base"}, False),
        ({"name": "openai/whisper-base", "frozen": False}, True),
        ({"name": "openai/whisper-base", "tune_from": 3}, True),
        ({"name": "openai/whisper-base", "lora": {"rank": 4}}, True),
        ({"name": "openai/whisper-base", "prompts": {"size": 8}}, True),
        ({"name": "torchaudio:WAV2VEC2_BASE"}, False),
    ],
)
def test_a_config_says_whether_the_encoder_is_trained(section, trained):
    assert trains_encoder(AudioSection(**section)) == trained


def test_closed_form_strategies_need_a_frozen_encoder():
    check_frozen_encoder(["naive", "coconut@slda", "first_session"], is_trained=True)
    with pytest.raises(ConfigError, match=r"'slda'.*encoder\.frozen.*encoder\.tune_from.*naive@slda"):
        check_frozen_encoder(["naive", "slda"], is_trained=True)
    check_frozen_encoder(["slda"], is_trained=False)
