"""Files of installed packages, found without importing those."""

import sys

import pytest

from scorers._common.packages import find_in_package


@pytest.fixture
def installed(tmp_path, monkeypatch):
    folder = tmp_path / "some_data"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ImportError('its own dependencies are missing')")
    (folder / "weights.bin").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_package_that_cannot_be_imported_is_found(installed):
    for requirement in ("some-data", "some-data==0.1.2", "some_data>=1", " some-data "):
        assert find_in_package(requirement, "weights.bin") == installed / "weights.bin"
    assert find_in_package("some-data") == installed
    assert "some_data" not in sys.modules


def test_what_is_not_there_is_none(installed):
    assert find_in_package("some-data", "other.bin") is None
    assert find_in_package("no-such-package-at-all") is None
