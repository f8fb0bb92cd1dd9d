import io

from rich.console import Console

from mmcl.progress import progress_display


def test_bars_show_counts_and_remaining_time():
    progress = progress_display()
    task = progress.add_task("training", total=4, completed=1)
    text = Console(file=io.StringIO(), width=100)
    text.print(progress.make_tasks_table([progress.tasks[task]]))
    shown = text.file.getvalue()
    assert "training" in shown and "1/4" in shown and "left" in shown
