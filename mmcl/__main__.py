"""Entry point of the command ``mmcl`` and of ``python -m mmcl``; signal handlers are installed before slow imports."""

from __future__ import annotations

import sys

from mmcl.runs import signals


def main() -> None:
    """Run the command line."""
    with signals.handled(for_good=True):
        try:
            from mmcl.cli.main import main as run
        except KeyboardInterrupt:
            sys.exit(signals.end_by_signal())
        run()


if __name__ == "__main__":
    main()
