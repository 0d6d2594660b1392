"""A trace as a page: one file that needs no network, rendered from `page/`.

No text of a model is ever read as markup: jinja2 escapes what it writes, the data are JSON without `<`, the page's
script makes text nodes alone, and its policy runs no script but that one, known by its hash.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import uuid4

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

SCRIPTS = ("elements.js", "base.js", "text.js", "why.js", "tree.js", "start.js")


def page(trace: Mapping[str, Any], title: str) -> str:
    """The page of what `Trace.to_dict` gives.

    Example:
        >>> shown = page({"format": "decoding.trace", "version": 1, "calls": []}, "<b>")
        >>> "&lt;b&gt;" in shown, "<b>" in shown
        (True, False)
    """
    style, script = source("decoding", "page.css"), "\n".join(source("decoding", name) for name in SCRIPTS)
    return template("decoding", "page.html").render(
        title=title, data=to_json(trace), texts=list(texts_of(trace)), style=Markup(style), script=Markup(script),
        policy=policy(style, script),
    )  # fmt: skip


def frame(page: str) -> str:
    """A page inside another one, as notebooks show it: a sandbox, so that neither touches the other.

    The frame gets the height that it asks for, and the theme of what is around it.
    """
    name = f"trace-{uuid4().hex}"
    script = Markup(source("decoding", "frame.js"))
    return template("decoding", "frame.html").render(page=page, name=name, script=script)


@cache
def template(package: str, name: str) -> Template:
    """A template in the folder `page` of a package."""
    environment = Environment(
        loader=PackageLoader(package, "page"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(name)


@cache
def source(package: str, name: str) -> str:
    """The text of a file there."""
    return (files(package) / "page" / name).read_text(encoding="utf-8")


def texts_of(trace: Mapping[str, Any]) -> Any:
    """(decoder, prompt, continuation) of every row, for readers without scripts."""
    for call in trace["calls"]:
        for index, last in enumerate(call["rows"]):
            chain, node = [], last
            while node is not None:
                chain.append(call["choices"][node]["text"])
                node = call["choices"][node]["parent"]
            prompt = 0 if last is None else call["choices"][last]["prompt"]
            head = "".join(text for _, text in call["prompts"][prompt]) if call["prompts"] else ""
            yield call["decoder"], head, "".join(reversed(chain)), index


def policy(style: str, script: str) -> str:
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
