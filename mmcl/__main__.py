"""Entry point of the command ``mmcl`` and of ``python -m mmcl``; signal handlers are installed before slow imports."""

from __future__ import annotations

import gc
import os
import sys

from mmcl.runs import signals


def main() -> None:
    """Run the command line."""
    # Threads of OpenMP that wait actively slow down other processes on the same cores many times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with signals.handled(for_good=True):
        try:
            from mmcl.cli.main import main as run
        except KeyboardInterrupt:
            sys.exit(signals.end_by_signal())
        try:
            run()
        finally:
            gc.freeze()  # a collection at exit would take a second to find nothing


if __name__ == "__main__":
    main()
