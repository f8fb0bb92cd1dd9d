"""Every task on the device: its metrics are finite and near those of the CPU, and a killed run resumes to the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from killed import kill_after, rows
from small_runs import SmallRun, assert_finite, assert_near

pytestmark = pytest.mark.gpu


def test_metrics_are_near_those_of_the_cpu(small_run: SmallRun, device: str, run) -> None:
    there, here = (
        rows(run(*small_run.arguments, *small_run.plain, f"device={name}", name=f"run{place}"))
        for place, name in enumerate((device, "cpu"))
    )
    assert_finite(there)
    assert_near(there, here, 0.02)  # convolutions use TF32


def test_mixed_precision_is_near_float32(small_run: SmallRun, device: str, run) -> None:
    if not small_run.has_precision:
        pytest.skip("the task has no precision")
    mixed, whole = (
        rows(run(*small_run.arguments, *small_run.plain, f"device={device}", *precision, name=f"run{len(precision)}"))
        for precision in (("precision=bf16-mixed",), ())
    )
    assert_finite(mixed)
    assert_near(mixed, whole, 0.1)


def test_killed_run_resumes_to_the_same_metrics(
    small_run: SmallRun, device: str, run, environment: dict[str, str], tmp_path: Path
) -> None:
    arguments = (*small_run.arguments, f"device={device}")
    whole = rows(run(*arguments, name="whole"))
    kill_after(small_run.lines, tmp_path / "run", environment, *arguments)
    resumed = rows(run())
    assert [row["kind"] for row in resumed] == [row["kind"] for row in whole]
    assert_near(resumed, whole, 5e-3)  # some sums on a GPU have no fixed order
