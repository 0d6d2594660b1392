"""The command `python -m benchmarks.steer`; its work is in `studies.steer`."""

import sys

from .studies.steer import main, make_parser

__all__ = ["main", "make_parser"]

if __name__ == "__main__":
    sys.exit(main())
