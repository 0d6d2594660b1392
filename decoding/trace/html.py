"""Pages that are safe to open: templates that escape, scripts known by their hash, JSON that ends no element."""

import base64
import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup


@cache
def load_template(package: str, name: str) -> Template:
    """A template in the folder `page` of a package."""
    environment = Environment(
        loader=PackageLoader(package, "page"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)


@cache
def read_source(package: str, name: str) -> str:
    """The text of a file there."""
    return (files(package) / "page" / name).read_text(encoding="utf-8")


def make_policy(style: str, script: str) -> str:
    """A content security policy: nothing is fetched or sent, and nothing runs but these two."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def to_json(value: Any) -> Markup:
    """JSON for a script element: nothing in it ends the element, and halves of surrogate pairs are written out."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text))
