"""The command `python -m benchmarks.evidence`; its work is in `studies.evidence`."""

import sys

from .studies.evidence import main, make_parser

__all__ = ["main", "make_parser"]

if __name__ == "__main__":
    sys.exit(main())
