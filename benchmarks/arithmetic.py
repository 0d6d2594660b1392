"""The command `python -m benchmarks.arithmetic`; its work is in `studies.arithmetic`."""

import sys

from .studies.arithmetic import main, make_parser

__all__ = ["main", "make_parser"]

if __name__ == "__main__":
    sys.exit(main())
