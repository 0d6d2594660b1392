"""Pages that are safe to open: nothing in the data ends its element, and only the scripts that are there run."""

import base64
import hashlib
import json

import pytest
from jinja2 import UndefinedError

from decoding.trace.html import load_template, make_policy, read_source, to_json


@pytest.mark.parametrize("text", ["</script><b>", "<!--", "a & b", "\u2028\u2029", "half \ud800", "é 漢"])
def test_any_text_comes_through_and_none_is_markup(text):
    written = str(to_json({"text": text}))
    assert json.loads(written) == {"text": text}
    assert not set("<>&\u2028\u2029") & set(written)
    written.encode("utf-8")


def test_what_is_no_json_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        to_json(float("nan"))


def test_the_policy_lets_these_two_run_and_nothing_be_fetched():
    found = make_policy("p {}", "start()")
    assert found.startswith("default-src 'none'; ")
    for kind, text in (("style", "p {}"), ("script", "start()")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in found
    assert "unsafe" not in found


def test_templates_escape_and_want_every_name():
    assert "page.html" in load_template("decoding.trace", "page.html").name
    with pytest.raises(UndefinedError):
        load_template("decoding.trace", "page.html").render()
    assert read_source("decoding.trace", "page.css")
