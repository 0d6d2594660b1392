"""The command `python -m benchmarks.languages`; its work is in `studies.languages`."""

import sys

from .studies.languages import main, make_parser

__all__ = ["main", "make_parser"]

if __name__ == "__main__":
    sys.exit(main())
