"""How the documentation site is built (`make docs`). It needs no network, neither to be built nor to be read."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.insert(0, str(Path(__file__).parents[1]))

project = "decoding toolkit"
html_title = "Decoding toolkit"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
default_role = "py:obj"  # `Name` in a docstring links to what has that name
autodoc_member_order = "groupwise"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
suppress_warnings = ["misc.highlighting_failure"]  # console blocks hold words, and words apostrophes


class CommandHelp(SphinxDirective):
    """What `python -m MODULE --help` says, as its `COMMAND` says it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A literal block for the command, and one for each of its subcommands."""
        texts = importlib.import_module(self.arguments[0]).COMMAND.help()
        return [nodes.literal_block(text, text, language="none") for text in texts]


class Comparison(SphinxDirective):
    """What lies in a folder of results: report.md, pictures, the numbers to download; or how to make them."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The content of a page, or a paragraph."""
        path = self.arguments[0]
        folder = Path(self.env.doc2path(self.env.docname)).parent / path
        report = folder / "report.md"
        if not report.is_file():
            lines = [f"`{path.lstrip('./')}` is not in this copy. To make the figures, in some hours:", "",
                     "```console", "$ python -m benchmarks run comparison --output results", "```"]  # fmt: skip
            return self.parse_text_to_nodes("\n".join(lines))
        self.env.note_dependency(str(report))
        text = re.sub(r"\A# .*\n", "", report.read_text(encoding="utf-8"))  # this page has a title
        pictures = [f"![{file.stem} of the comparison]({path}/{file.name})" for file in sorted(folder.glob("*.svg"))]
        others = [f"{{download}}`{file.name} <{path}/{file.name}>`" for file in sorted(folder.glob("*.json"))]
        kept = ["The numbers, for programs: " + ", ".join(others)] if others else []
        return self.parse_text_to_nodes("\n\n".join([*pictures, text, *kept]))


def write_block(self, node: nodes.math_block) -> None:
    """A displayed formula; browsers draw MathML themselves, so no script is needed."""
    self.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def write_inline(self, node: nodes.math) -> None:
    """A formula in a line."""
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def escape(app: Sphinx, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `names` and examples: what else means something to Sphinx is meant literally."""
    if kind in ("attribute", "data", "property"):
        lines.insert(0, "\\")  # nothing to a reader; without it napoleon takes what stands before a colon for a type
    example, plain, listed = False, False, False
    for i, line in enumerate(lines):
        if not line.startswith(" "):  # a paragraph outside of sections such as Args
            listed = line.startswith("- ")
            section = re.fullmatch(r"\w+:", line.strip()) or line.startswith(">>>")
            plain = bool(line.strip()) and not listed and not section
        elif plain:
            lines[i] = line = line.lstrip()  # a hanging indent there is the reader's
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example:
            parts = re.split(r"(`[^`]*`)", line)
            parts[::2] = [re.sub(r"[|*]|(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
            lines[i] = "".join(parts)


def setup(app: Sphinx) -> None:
    """Register what Sphinx does not bring."""
    app.connect("autodoc-process-docstring", escape, priority=400)  # before napoleon makes sections of them
    app.add_directive("command-help", CommandHelp)
    app.add_directive("comparison", Comparison)
    app.add_html_math_renderer("mathml", (write_inline, None), (write_block, None))
