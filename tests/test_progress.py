import io

import pytest
from rich.console import Console

from mmcl import progress as progress_module
from mmcl.progress import LineProgress, progress_display


def test_bars_show_counts_and_remaining_time(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    progress = progress_display()
    task = progress.add_task("training", total=4, completed=1, note="loss 0.53")
    text = Console(file=io.StringIO(), width=100)
    text.print(progress.make_tasks_table([progress.tasks[task]]))
    shown = text.file.getvalue()
    assert all(each in shown for each in ("training", "1/4", "left", "loss 0.53"))


def test_without_a_terminal_plain_lines_are_printed(capsys, monkeypatch):
    monkeypatch.setattr(progress_module, "_PAUSE", 0.0)
    with progress_display() as progress:
        bar = progress.add_task("replay, seed 0", total=3)
        for epoch in range(3):
            progress.update(bar, completed=epoch + 1, note=f"loss 0.{epoch}")
        progress.update(bar, note="accuracy 90.0 %")
    assert isinstance(progress, LineProgress)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(", after ")[0] for line in lines] == [
        "replay, seed 0: 1/3, loss 0.0",
        "replay, seed 0: 2/3, loss 0.1",
        "replay, seed 0: 3/3, loss 0.2",
    ]
    assert all(" left " in line for line in lines)


def test_lines_are_a_second_apart_and_the_last_is_always_printed(capsys):
    progress = progress_display()
    bar = progress.add_task("training", total=100)
    for _ in range(100):
        progress.advance(bar)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["training: 100/100"]


@pytest.mark.parametrize("name", ["[bold]x[/]", "x\x1b[31m"])
def test_names_are_escaped_in_lines(name, capsys, monkeypatch):
    monkeypatch.setattr(progress_module, "_PAUSE", 0.0)
    progress = progress_display()
    progress.advance(progress.add_task(name, total=2))
    printed = capsys.readouterr().err
    assert "\x1b" not in printed and printed.startswith(("[bold]x[/]: 1/2", "x\\x1b[31m: 1/2"))


def test_disabled_display_prints_nothing(capsys):
    with progress_display(disable=True) as progress:
        progress.advance(progress.add_task("training", total=1))
    assert capsys.readouterr().err == ""


def test_an_interrupted_operation_prints_how_far_it_came(capsys):
    with pytest.raises(RuntimeError), progress_display() as progress:
        bar = progress.add_task("training", total=100)
        progress.advance(bar)
        raise RuntimeError
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["training: 1/100"]


def test_large_counts_are_whole_numbers(capsys):
    progress = progress_display()
    progress.update(progress.add_task("encoding", total=1_234_567), completed=1_234_567)
    assert capsys.readouterr().err.startswith("encoding: 1234567/1234567, ")
