from types import SimpleNamespace

import pytest

from mmcl.strategies.accuracy_matrix import AccuracyMatrix
from mmcl.strategies.after_training import AfterTraining
from mmcl.strategies.frame_scores import FrameScores


@pytest.mark.parametrize("plugin", [AfterTraining, AccuracyMatrix, FrameScores])
def test_the_last_trained_experience_and_the_scored_stream(plugin):
    own = plugin("valid")
    assert own.trained == -1 and plugin().stream == "test"
    for number in (0, 2):
        own.before_training_exp(SimpleNamespace(experience=SimpleNamespace(current_experience=number)))
        assert own.trained == number
    streams = {name: SimpleNamespace(origin_stream=SimpleNamespace(name=name)) for name in ("valid", "test")}
    assert own.is_scored(streams["valid"]) and not own.is_scored(streams["test"])
    assert own.is_scored(SimpleNamespace(origin_stream=None))
