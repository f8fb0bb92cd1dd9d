"""Signals: Ctrl-C, SIGTERM and SIGHUP end a command in one line, after it has put its files in order.

The first signal raises :class:`Stopped` where the program is. Programs like to send a signal twice, so further ones are
ignored for two seconds; after that the process ends at once, as if it was killed, which files of mmcl survive.

An exception within an import may crash the library that is imported. There the process ends at once if it has nothing
to put in order, and otherwise when the import is done.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

PATIENCE = 2.0  #: seconds in which further signals are ignored, while files are put in order
_HEEDED = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end."""


class _State:
    """What was received, when, and what to say then."""

    received: signal.Signals | None = None
    since = 0.0
    advice = ""
    owner: int | None = None
    over = False


_state = _State()


def received() -> signal.Signals | None:
    """Return the signal that asked this process to end, None if there was none."""
    return _state.received


def advise(text: str) -> None:
    """Say from now on what to do after an interruption, such as ``go on with: mmcl run --resume FOLDER``."""
    _state.advice = text


@contextmanager
def heeded(*, for_good: bool = False) -> Iterator[None]:
    """Raise :class:`Stopped` in the body when a signal arrives; a signal that the caller ignores stays ignored.

    Handlers are those of before afterwards, unless the process is ending: after a signal, or with ``for_good``.
    """
    if _state.owner == os.getpid() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    _state.owner, _state.received, _state.over, _state.advice = os.getpid(), None, False, ""
    for name in _HEEDED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, _handle)
    try:
        yield
    finally:
        _state.over = True
        if _state.received is not None or for_good:
            atexit.register(_ignore)  # as it ends, Python puts the system's own handlers back, which kill
        if _state.received is None and not for_good:
            _state.owner = None
            for number, handler in before.items():
                signal.signal(number, handler)


def end_by_signal(*, silent: bool = False) -> int:
    """Say in one line that the command was interrupted, and return its exit code: 128 and the number of the signal."""
    number = _state.received or signal.SIGINT
    if not silent:
        by = "" if number == signal.SIGINT else f" by {number.name}"
        advice = f"; {_state.advice}" if _state.advice else ""
        with suppress(OSError, ValueError, RuntimeError):  # nobody may be there to read, or it was just being written
            print(f"\ninterrupted{by}{advice}", file=sys.stderr, flush=True)
    return 128 + number


def _stop_when_imported(number: int, frame: FrameType | None) -> None:
    if not _is_importing(frame):
        raise Stopped
    signal.signal(signal.SIGALRM, _stop_when_imported)
    signal.setitimer(signal.ITIMER_REAL, 0.05)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _ignore() -> None:
    for name in _HEEDED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _handle(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _state.owner:  # a process that was forked, such as a worker that loads data: it ends quietly
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    if _state.over:
        os._exit(128 + (_state.received or number))
    if _state.received is None:
        _state.received, _state.since = signal.Signals(number), time.monotonic()
        if _is_importing(frame) and not _state.advice:
            os._exit(end_by_signal(silent=os.environ.get("LOCAL_RANK", "0") != "0"))
        _stop_when_imported(signal.SIGALRM, frame)
    elif time.monotonic() - _state.since > PATIENCE:
        os._exit(end_by_signal())
