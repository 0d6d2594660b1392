"""Names that are imported when they are first asked for."""

import sys

import pytest

from scorers._common.lazy import lazy_names


def test_a_name_is_imported_when_it_is_asked_for_and_not_before():
    sys.modules.pop("json.tool", None)
    get, names = lazy_names("json", {"main": "tool", "JSONDecoder": "decoder"})
    assert names() == ["JSONDecoder", "main"]
    assert "json.tool" not in sys.modules
    assert get("main") is sys.modules["json.tool"].main


def test_a_name_that_is_not_there_is_an_attribute_error_that_names_the_package():
    get, _ = lazy_names("json", {})
    with pytest.raises(AttributeError, match="module 'json' has no attribute 'nothing'"):
        get("nothing")
