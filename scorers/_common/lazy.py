"""Lazy imports: public names of a package that are imported when they are first asked for (PEP 562)."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make `__getattr__` and `__dir__` for a package.

    torch and transformers take seconds to import. A command that only refuses a bad option must not wait for them.

    Args:
        package: the full name of the package.
        homes: for each public name, the module of the package that defines it, such as "guides.steer".

    Example:
        >>> get, names = lazy_names("json", {"JSONDecoder": "decoder"})
        >>> get("JSONDecoder").__name__, names()
        ('JSONDecoder', ['JSONDecoder'])
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return get, lambda: sorted(homes)
