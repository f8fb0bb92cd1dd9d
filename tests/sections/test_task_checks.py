"""Checks of the tasks. Their messages are tested in cli/test_validate.py."""

from __future__ import annotations

from mmcl.config.tasks import load_task, tasks
from mmcl.sections import task_checks


def test_every_task_names_its_check():
    for name in tasks():
        check = load_task(name).check
        assert callable(check) and getattr(task_checks, name).__doc__.startswith(
            f"Check a config of the task ``{name}``"
        )
