import pytest
from pydantic import ValidationError

from mmcl.config.tasks import load_task
from mmcl.sections.incremental import strategy_settings
from mmcl.sections.strategy_names import REHEARSAL

TASKS = ("slu_incremental", "class_incremental")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("given", "size"), [({"memory_size": 30}, 30), ({"memory_share": 0.02}, 14), ({"memory_share": 0.0}, 0)]
)
def test_memory_size_is_a_number_or_a_share_of_the_training_data(task, given, size):
    config = load_task(task).Config(**given)
    for base in ("replay", "coconut", "icarl"):
        assert strategy_settings(config, base, 700)["memory_size"] == size


@pytest.mark.parametrize("task", TASKS)
def test_a_memory_in_bytes_reaches_every_strategy_with_a_memory(task):
    config = load_task(task).Config(memory_bytes=600_000)
    for base in ("replay", "coconut", "icarl", *REHEARSAL):
        assert strategy_settings(config, base, 700)["memory_bytes"] == 600_000
    with pytest.raises(ValidationError, match=r"memory_bytes is 600000 and memory_share 0\.02"):
        load_task(task).Config(memory_bytes=600_000, memory_share=0.02)


@pytest.mark.parametrize("task", TASKS)
def test_settings_of_a_strategy_are_those_of_its_section(task):
    config = load_task(task).Config(epochs=4, readout={"slda": {"shrinkage": 0.2}}, rehearsal={"der": {"alpha": 0.3}})
    assert strategy_settings(config, "slda", 10)["shrinkage"] == 0.2 and "epochs" not in strategy_settings(
        config, "slda", 10
    )
    assert strategy_settings(config, "der", 10)["alpha"] == 0.3 and strategy_settings(config, "naive", 10) == {
        "epochs": 4
    }
    online = load_task(task).Config(epochs=4, online=True)
    assert strategy_settings(online, "naive", 10) == {"epochs": 1}


@pytest.mark.parametrize("task", TASKS)
def test_all_leaves_out_closed_forms_if_the_encoder_is_trained(task):
    frozen = load_task(task).Config(strategy="all", encoder={"frozen": True})
    assert {"slda"} == {*frozen.strategy} - {*load_task(task).Config(strategy="all").strategy} - {
        "ncm",
        "ranpac",
        "fecam",
    }
