"""A trace as an HTML page: one file that needs no network, rendered from `page/`.

A model's text is never read as markup:

- jinja2 escapes what it inserts;
- the data are JSON without `<`;
- the page's script makes only text nodes;
- the page's policy allows only that script, by its hash.
"""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from markupsafe import Markup

from .html import load_template, make_policy, read_source, to_json

SCRIPTS = ("elements.js", "base.js", "text.js", "why.js", "tree.js", "start.js")


def make_page(trace: Mapping[str, Any], title: str) -> str:
    """Make the page that shows a trace, given as `Trace.to_dict` returns it.

    Example:
        >>> shown = make_page({"format": "decoding.trace", "version": 1, "calls": []}, "<b>")
        >>> "&lt;b&gt;" in shown, "<b>" in shown
        (True, False)
    """
    style, script = (
        read_source("decoding.trace", "page.css"),
        "\n".join(read_source("decoding.trace", name) for name in SCRIPTS),
    )
    return load_template("decoding.trace", "page.html").render(
        title=title, data=to_json(trace), texts=list(texts_of(trace)), style=Markup(style), script=Markup(script),
        policy=make_policy(style, script),
    )  # fmt: skip


def make_frame(page: str) -> str:
    """Make a frame that shows a page inside a notebook. It is a sandbox, so neither page can change the other.

    The frame gets the height that it asks for, and the theme of the notebook.
    """
    name = f"trace-{uuid4().hex}"
    script = Markup(read_source("decoding.trace", "frame.js"))
    return load_template("decoding.trace", "frame.html").render(page=page, name=name, script=script)


def texts_of(trace: Mapping[str, Any]) -> Any:
    """(decoder, prompt, continuation, index) of every row, for browsers that run no scripts."""
    for call in trace["calls"]:
        for index, last in enumerate(call["rows"]):
            chain, node = [], last
            while node is not None:
                chain.append(call["choices"][node]["text"])
                node = call["choices"][node]["parent"]
            prompt = 0 if last is None else call["choices"][last]["prompt"]
            head = "".join(text for _, text in call["prompts"][prompt]) if call["prompts"] else ""
            yield call["decoder"], head, "".join(reversed(chain)), index
