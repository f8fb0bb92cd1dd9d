"""A task and its config on the command line."""

from __future__ import annotations

import pytest

from mmcl.cli.arguments import find_experiment, load_experiment
from mmcl.errors import ConfigError


def test_a_config_is_named_with_its_task_or_apart():
    module, path, task = find_experiment("text_incremental/tiny")
    assert (path.stem, task, hasattr(module, "main")) == ("tiny", "text_incremental", True)
    assert find_experiment("text_incremental", "tiny")[1:] == (path, task)
    assert find_experiment("text_incremental")[1].stem == "demo"


def test_a_config_that_is_named_twice_is_refused():
    with pytest.raises(ConfigError, match=r"text_incremental/tiny.*'tiny'.*demo\.yaml"):
        find_experiment("text_incremental/tiny", "demo.yaml")


def test_the_config_is_loaded_with_its_settings():
    _, config, task, name = load_experiment("text_incremental/tiny", "demo", ["epochs=7"])
    assert (config.epochs, task, name) == (7, "text_incremental", "tiny")
