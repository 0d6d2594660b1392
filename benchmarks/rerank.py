"""The command `python -m benchmarks.rerank`; its work is in `speed.reranking`."""

import sys

from .speed.reranking import main, make_parser

__all__ = ["main", "make_parser"]

if __name__ == "__main__":
    sys.exit(main())
