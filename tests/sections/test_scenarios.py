from types import SimpleNamespace

import pytest

from mmcl.config.tasks import load_task
from mmcl.sections.scenarios import scoring_plugins, stream_settings

BENCHMARK = SimpleNamespace(test_stream=[])


@pytest.mark.parametrize("online", [False, True])
def test_measures_are_those_of_the_model_and_of_online_learning(online):
    names = {}
    for model in ("classifier", "seq2seq"):
        config = SimpleNamespace(model=model, online=online, anytime_every=3)
        names[model] = [type(each).__name__ for each in scoring_plugins(config, BENCHMARK)]
    anytime = ["AnytimeAccuracy"] if online else []
    assert names == {"classifier": anytime, "seq2seq": ["FrameScores", *anytime]}


def test_training_on_all_data_at_once_has_one_experience():
    config = load_task("slu_incremental").Config(shots=3, domain="speakers", initial=2)
    assert stream_settings(config, "replay").items() >= {"shots": 3, "initial": 2, "experiences": 5}.items()
    settings = stream_settings(config, "offline")
    assert settings["experiences"] == 1 and settings["shots"] is None and settings["domain"] == "speakers"
