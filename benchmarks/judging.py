"""The command `python -m benchmarks.judging`; its work is in `studies.judging`."""

import sys

from .studies.judging import main, make_parser

__all__ = ["main", "make_parser"]

if __name__ == "__main__":
    sys.exit(main())
