"""Handling of Ctrl-C, SIGTERM and SIGHUP: a command closes its files and exits with a one-line message.

The first signal raises :class:`Stopped` in the main thread. Further signals are ignored for two seconds, because
programs often send a signal twice. After that, a signal ends the process at once; the files of a run survive this.

An exception during an import may crash the imported library. During imports, the process ends at once if there are no
files to close, and otherwise after the import.
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

GRACE_SECONDS = 2.0  #: time to close files, in which further signals are ignored
_HANDLED = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """Raised when a signal asks this process to end."""


class _State:
    """The received signal and its time, the advice to print, and the process that handles signals."""

    received: signal.Signals | None = None
    since = 0.0
    advice = ""
    owner: int | None = None
    over = False


_state = _State()


def received() -> signal.Signals | None:
    """Return the signal that asked this process to end, or None."""
    return _state.received


def advise(text: str) -> None:
    """Set the advice to print after an interruption, such as ``resume with: mmcl run --resume FOLDER``."""
    from mmcl.text.escape import printable  # a folder's name may hold control characters

    _state.advice = printable(text)


@contextmanager
def handled(*, for_good: bool = False) -> Iterator[None]:
    """Context manager that raises :class:`Stopped` when a signal arrives. Ignored signals stay ignored.

    On exit the previous handlers are restored, unless the process is ending: after a signal, or with ``for_good``.
    """
    if _state.owner == os.getpid() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    _state.owner, _state.received, _state.over, _state.advice = os.getpid(), None, False, ""
    for name in _HANDLED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, _handle)
    try:
        yield
    finally:
        _state.over = True
        if _state.received is not None or for_good:
            atexit.register(_ignore)  # at exit Python restores the default handlers, which kill the process
        if _state.received is None and not for_good:
            _state.owner = None
            for number, handler in before.items():
                signal.signal(number, handler)


def end_by_signal(*, silent: bool = False) -> int:
    """Print that the command was interrupted, and return its exit code, 128 plus the number of the signal."""
    number = _state.received or signal.SIGINT
    if not silent:
        by = "" if number == signal.SIGINT else f" by {number.name}"
        advice = f"; {_state.advice}" if _state.advice else ""
        with suppress(OSError, ValueError, RuntimeError):  # stderr may be closed, or in use by the interrupted code
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
    for name in _HANDLED:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _handle(number: int, frame: FrameType | None) -> None:
    if os.getpid() != _state.owner:  # a forked process, such as a data-loading worker, ends silently
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
    elif time.monotonic() - _state.since > GRACE_SECONDS:
        os._exit(end_by_signal())
