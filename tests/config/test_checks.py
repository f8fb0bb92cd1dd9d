"""Collection of the faults that several checks find."""

from __future__ import annotations

import pytest

from mmcl.config.checks import Checks
from mmcl.errors import DataError


def refuse(message="the file is empty"):
    raise DataError(message)


def test_faults_are_collected_without_duplicates():
    checks = Checks()
    assert checks.attempt("data", refuse) is None and checks.attempt("data", refuse) is None
    assert checks.attempt("data", lambda: 3) == 3
    assert checks.passes("data", lambda: None) and not checks.passes("size", lambda: refuse("size is 3, expected 4"))
    assert checks.faults == ["data: the file is empty", "size is 3, expected 4"]


@pytest.mark.parametrize("key", ["data", "data.name", "data.name.first"])
def test_checks_of_faulty_settings_are_skipped(key):
    checks = Checks(["data.name", "seeds[1]"])
    assert checks.attempt(key, refuse) is None and not checks.passes("seeds", refuse)
    assert checks.faults == [] and checks.attempt("data.root", lambda: 1) == 1


def test_other_errors_are_not_caught():
    with pytest.raises(ZeroDivisionError):
        Checks().attempt("data", lambda: 1 / 0)
