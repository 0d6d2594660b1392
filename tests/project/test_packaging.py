"""What a wheel would hold, by setup.cfg: every module, and every file that the packages read."""

import configparser
from pathlib import Path

import pytest

from tests.support.imports import PACKAGES, ROOT

CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg", encoding="utf-8")

# In a package's folder, but no part of the package: figures that the documentation shows.
NOT_SHIPPED = ("benchmarks/results/",)


def listed(section: str, option: str) -> list[str]:
    """The values of a list in setup.cfg, written with commas or a line each."""
    return [value.strip() for value in CONFIG[section][option].replace(",", "\n").splitlines() if value.strip()]


def shipped(package: str) -> set[Path]:
    """The data files that setup.cfg gives to the wheel."""
    return {file for pattern in listed("options.package_data", package) for file in (ROOT / package).glob(pattern)}


def data(package: str) -> set[Path]:
    """The files in a package's folder that are no Python."""
    return {
        file
        for file in (ROOT / package).rglob("*")
        if file.is_file()
        and file.suffix not in (".py", ".pyc")
        and not file.relative_to(ROOT).as_posix().startswith(NOT_SHIPPED)
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_every_data_file_is_shipped(package):
    assert data(package) - shipped(package) == set()
    assert ROOT / package / "py.typed" in shipped(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_pattern_finds_something(package):
    """A pattern that finds nothing was left behind by a move."""
    found = {pattern: list((ROOT / package).glob(pattern)) for pattern in listed("options.package_data", package)}
    assert [pattern for pattern, files in found.items() if not files] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_with_modules_is_a_package(package):
    """setuptools leaves out a folder without __init__.py, and everything in it."""
    folders = {file.parent for file in (ROOT / package).rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
    assert f"{package}*" in listed("options.packages.find", "include")


def test_kinds_of_data_that_the_packages_cannot_do_without():
    kinds = {file.suffix for package in PACKAGES for file in shipped(package)}
    assert kinds >= {".js", ".css", ".html", ".safetensors", ".json", ".toml", ".jsonl"}
