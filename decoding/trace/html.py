"""HTML pages that are safe to open, whatever text they show.

Templates escape what they insert, scripts run only if their hash is known, and JSON cannot end a script element.
"""

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
    """The text of a file in the folder `page` of a package."""
    return (files(package) / "page" / name).read_text(encoding="utf-8")


def make_policy(style: str, script: str) -> str:
    """A content security policy: nothing is fetched or sent, and only this style and this script are used."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def to_json(value: Any) -> Markup:
    """JSON for a script element. Nothing in it ends the element, and lone surrogates are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text))
