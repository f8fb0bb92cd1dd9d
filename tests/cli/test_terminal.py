"""Terminal output and log records."""

import io
import logging
import sys

import pytest
from rich.console import Console
from rich.text import Text

from mmcl.cli.terminal import LogFormatter, prepare_terminal, print_table, say


def test_say_prints_to_the_chosen_stream(capsys):
    say("caf\udce9\x1b[31m\nforged: line", colour="red")
    say("one\ntwo\r", lines=True, err=True, end="")
    assert capsys.readouterr() == ("caf\\udce9\\x1b[31m\\nforged: line\n", "one\ntwo\\r")


@pytest.mark.parametrize(("logger", "shown"), [("mmcl.data.base", "a\\nb \\x1b[0m"), ("other", "a\nb \\x1b[0m")])
def test_log_records_of_mmcl_are_one_line(logger, shown):
    record = logging.LogRecord(logger, logging.WARNING, __file__, 1, "a\nb %s", ("\x1b[0m",), None)
    assert LogFormatter().format(record) == shown


def test_tracebacks_keep_lines_and_are_escaped():
    try:
        raise ValueError("\x1b]0;title\x07")
    except ValueError:
        record = logging.LogRecord("mmcl", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    shown = LogFormatter().format(record)
    assert shown.count("\n") >= 3 and "\\x1b]0;title\\x07" in shown and "\x1b" not in shown


def test_records_without_handler_are_escaped(capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    prepare_terminal()
    logging.getLogger("mmcl.anything").warning("lost %s", "\u202efile\n.wav")
    assert capsys.readouterr().err == "lost \\u202efile\\n.wav\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_streams_with_any_encoding(monkeypatch, encoding):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    prepare_terminal()
    for stream in streams:
        print("caf\udce9 音", file=stream, flush=True)
        assert stream.buffer.getvalue().startswith(b"caf\\udce9 ")
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # such as in a notebook
    prepare_terminal()


@pytest.mark.parametrize(("width", "lines"), [(80, 4), (40, 7), (20, 14)])
def test_no_cell_of_a_table_is_cut(monkeypatch, capsys, width, lines):
    monkeypatch.setattr("mmcl.cli.terminal.console", lambda: Console(width=width))
    rows = [("a/very/long/name/of/a/run", "12.5", "words that take several lines"), ("b", "3.0", "few")]
    print_table([tuple(map(Text, row)) for row in rows], ("run", "MB", "status"))
    shown = capsys.readouterr().out
    assert "…" not in shown and max(map(len, shown.splitlines())) <= width and len(shown.splitlines()) <= lines
    assert all(cell in shown for row in rows for cell in row[:2]) or width < 26
    assert "".join(rows[0][0]) in shown.replace("\n", "") and "12.5" in shown


def test_cells_below_a_long_name_keep_their_order(monkeypatch, capsys):
    monkeypatch.setattr("mmcl.cli.terminal.console", lambda: Console(width=40))
    row = tuple(map(Text, ("a/very/long/name/of/a/run", "slu", "finished", "12.5 MB")))
    print_table([row], ("run", "task", "status", "size"), wrapped=2)
    name, below = capsys.readouterr().out.splitlines()
    assert name.split() == [row[0].plain] and below.split() == ["slu", "finished", "12.5", "MB"]


def test_a_table_without_rows_is_empty(capsys):
    print_table([], ("run", "status"))
    assert "…" not in capsys.readouterr().out
