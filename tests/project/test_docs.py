"""What the pages and the docstrings show is what happens: every block is run, or read, as its language asks."""

import doctest
import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import decoding
from scorers._common.options import declared

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {
    str(file.relative_to(ROOT)): file.read_text() for file in (*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/**/*.md")))
}
MODULES = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for folder in ("decoding", "scorers", "benchmarks")
    for file in (ROOT / folder).rglob("*.py")
    if not file.stem.startswith("__")
)
WITH_EXAMPLES = [name for name in MODULES if ">>> " in (ROOT / name.replace(".", "/")).with_suffix(".py").read_text()]


def blocks(language: str, page: str | None = None) -> list[tuple[str, str]]:
    """(page, text) of every block in a language: "" for those that name none."""
    pages = PAGES if page is None else {page: PAGES[page]}
    return [
        (name, text)
        for name, content in pages.items()
        for found, text in re.findall(r"^(?:```|:::)([^\n]*)\n(.*?)^(?:```|:::)$", content, re.DOTALL | re.MULTILINE)
        if found == language
    ]


def check_scorers(names: dict) -> None:
    asked = ["The capital of France is"] * 2
    assert names["pmi"](asked, [" Paris.", " a city."]).argmax() == 0
    assert names["both"].setwise


def check_pickers(names: dict) -> None:
    assert len(set(names["texts"])) == 8
    assert names["again"] == names["text"]


CHECKS = {
    "docs/methods/pickers.md": check_pickers,
    "docs/methods/scorers.md": check_scorers,
}  # of what a page's code leaves
WITH_CODE = sorted({page for page, _ in blocks("python")})


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # a pipeline has its own, and pages run on few tokens
@pytest.mark.parametrize("page", WITH_CODE)
def test_code_of_the_page_runs(monkeypatch, tmp_path, default_model, page):
    monkeypatch.setattr(decoding, "load", lambda: default_model)
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "page"}
    for _, block in blocks("python", page):
        exec(compile(block, page, "exec"), names)
    CHECKS.get(page, lambda names: None)(names)


def test_every_language_is_looked_after():
    assert len(WITH_CODE) >= 5
    known = {"python", "console", "toml", "text", ""}  # the last two: output, formulas
    for page, content in PAGES.items():
        fences = re.findall(r"^(?:```|:::)(.*)$", content, re.MULTILINE)
        assert len(fences) % 2 == 0, page
        assert {fence for fence in fences[::2] if not fence.startswith("{")} <= known, page


COMMANDS = sorted(
    {
        line.partition("  ")[0].partition(" #")[0]
        for _, block in blocks("console")
        for line in re.findall(r"^\$ (.*)$", block.replace("\\\n", " "), re.MULTILINE)
    }
)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_that_pages_show_are_taken(line):
    """By the parser of the command, so its options exist; nothing is run."""
    for part in re.split(r" [|<>] | && ", line):
        started = r"(?:\S*python|(?:accelerate launch|torchrun)(?: --\S+(?: \d+)?)*)"
        if not (found := re.match(rf"{started} -m (\S+)(.*)", part)):
            assert re.match(r"make |pip |cat |cd |jupyter |git |[\w.]+$", part), part
            continue
        name, rest = found.groups()
        if name.partition(".")[0] in ("decoding", "scorers", "benchmarks"):
            module = importlib.import_module(name if "." in name else f"{name}.__main__")
            module.COMMAND.parse(shlex.split(rest.replace("...", "")))


@pytest.mark.parametrize(("page", "block"), blocks("toml"))
def test_toml_that_pages_show_is_toml(page, block):
    tomllib.loads(block)


SHOWN = {  # the headings of the first table of the two front pages, and the calls that make what stands below them
    "greedy search": (decoding.Greedy(), {}),
    "nucleus sampling, p = 0.95": (decoding.Sample(), {"top_k": 0, "top_p": 0.95}),
    "contrastive search, k = 5, alpha = 0.6": (decoding.ContrastiveSearch(k=5, alpha=0.6), {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("column", range(3), ids=list(SHOWN))
def test_output_of_the_readme_is_real(default_model, column):
    model, tokenizer = default_model
    heading, (picker, options) = list(SHOWN.items())[column]
    inputs = tokenizer("The night was", return_tensors="pt")
    generator = torch.Generator().manual_seed(0)
    rows = decoding.generate(model, **inputs, processors=[picker], max_new_tokens=64, generator=generator, **options)
    text = tokenizer.decode(rows[0], skip_special_tokens=True)
    for page in ("README.md", "docs/index.md"):
        table = re.findall(r"^\|(.*)\|$", PAGES[page], re.MULTILINE)[:3]
        head, shown = ([cell.strip() for cell in table[i].split("|")] for i in (0, 2))
        assert head == list(SHOWN), page
        assert shown[column].replace("<br>", "\n").split() == text.split(), (page, heading)


@pytest.mark.slow
@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_docstring_examples_run(default_model, monkeypatch, module):
    monkeypatch.setattr(decoding, "load", lambda: default_model)
    found = doctest.testmod(importlib.import_module(module))
    assert (found.failed, found.attempted > 0) == (0, True)


def test_nothing_stops_being_run():
    """A page, a module or an example that is no longer found would fail nothing else."""
    examples = {name: doctest.DocTestFinder().find(importlib.import_module(name)) for name in WITH_EXAMPLES}
    counts = {
        "modules": len(MODULES),
        "modules with examples": len(WITH_EXAMPLES),
        "docstrings with examples": sum(bool(each.examples) for found in examples.values() for each in found),
        "pages": len(PAGES),
        "pages with code": len(WITH_CODE),
        "blocks of Python": len(blocks("python")),
        "commands shown": len(COMMANDS),
    }
    least = {  # as many as there are: raise them with what is added, lower them for what is taken out on purpose
        "modules": 153,
        "modules with examples": 81,
        "docstrings with examples": 150,
        "pages": 53,
        "pages with code": 25,
        "blocks of Python": 76,
        "commands shown": 52,
    }
    assert {name: count for name, count in counts.items() if count < least[name]} == {}


@pytest.mark.parametrize("package", ["decoding", "scorers"])
def test_public_names_are_documented(package):
    package = importlib.import_module(package)
    for name in package.__all__:
        found = getattr(package, name)
        assert not callable(found) or len(found.__doc__) > 60, name


def test_every_metric_module_is_in_the_reference():
    there = re.findall(r"automodule:: (\S+)", PAGES["docs/reference/metrics.md"])
    assert sorted(there) == [module for module in MODULES if module.startswith("benchmarks.metrics.")]


@pytest.mark.slow
def test_results_are_shown_when_they_are_there_and_missed_in_a_line_when_not(tmp_path):
    """By Sphinx, strict; the report is one as the benchmarks write it, with tables, details and blocks."""
    pytest.importorskip("sphinx")

    from benchmarks.report.build import markdown
    from benchmarks.report.plots import draw
    from tests.support.reports import make_scores

    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "report.md").write_text(markdown(make_scores()))
    (folder / "summary.json").write_text("{}")
    draw(make_scores(), folder / "report.svg")
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text((ROOT / "docs/conf.py").read_text().replace('["_static"]', "[]"))
    page = "# {0}\n\n```{{comparison}} ../{0}\n```\n"
    (source / "index.md").write_text(page.format("results") + "\n```{toctree}\nother\n```\n")
    (source / "other.md").write_text(page.format("nothing"))
    call = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(source), str(tmp_path / "built")]
    done = subprocess.run(call, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    shown, missed = ((tmp_path / "built" / name).read_text() for name in ("index.html", "other.html"))
    assert shown.count("<h1>") == 1
    assert "0.938" in shown
    assert "<details><summary>diversity" in shown
    assert "<script>window.pwned" not in shown
    assert (tmp_path / "built" / "_images" / "report.svg").is_file()
    assert re.search(r'href="_downloads/\w+/summary.json"', shown)
    assert "is not in this copy" in missed
    assert "<img" not in missed


LISTED = re.findall(r"\{command-help\} (\S+)", PAGES["docs/reference/commands.md"])


def test_every_command_is_in_the_reference():
    commands = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for folder in ("decoding", "scorers", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        if 'if __name__ == "__main__":' in file.read_text()
    }
    assert set(LISTED) == commands


@pytest.mark.parametrize("name", LISTED)
def test_every_command_has_examples_that_it_takes(name):
    command = importlib.import_module(name).COMMAND
    assert command.examples.startswith("examples:\n")
    called = command.call
    lines = [line for line in command.examples.splitlines() if re.match(rf"  {re.escape(called)}( |$)", line)]
    assert lines
    for line in lines:
        call = re.split(r"   +| < ", line.strip())[0].removeprefix(called)
        assert command.parse(shlex.split(call)) is not None
    for options in command.kinds.values():
        assert options.__doc__
        assert [name for name, (_, about) in declared(options).items() if not about.help] == []


def test_make_targets_that_pages_name_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for page, content in PAGES.items():
        for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", content):
            assert f"\n{target}:" in makefile, (page, target)
