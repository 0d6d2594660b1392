"""The command `python -m benchmarks.guides`; its work is in `speed.second_prompts`."""

import sys

from .speed.second_prompts import main, make_parser

__all__ = ["main", "make_parser"]

if __name__ == "__main__":
    sys.exit(main())
