"""Reports say what the scores say, in three notations and on the terminal, whatever texts are in them."""

import base64
import configparser
import doctest
import fnmatch
import hashlib
import importlib
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from benchmarks.report import build as page
from benchmarks.report import plots, tables
from benchmarks.report.build import html, latex, markdown, report, show
from benchmarks.report.latex import tex
from tests.support.reports import AWKWARD, EVIL, HUMAN, METRICS, ODD, VALUES, WIDTHS, make_generations, make_scores

ROOT = Path(__file__).parents[3]
BEST = {  # by hand
    "mauve": {"nucleus 0.95", ODD},  # both read 0.880
    "energy": {"nucleus 0.95", ODD},  # both read 0.056
    "diversity": {ODD},  # 0.938: 0.002 from the humans' 0.936; 0.94 is 0.004
    "coherence": {"nucleus 0.95"},  # -2.98, 0.12 from -2.86
    "length": set(),  # no way is better
    "seconds": {"greedy"},
}
EMPTY = {"task": "nothing", "metrics": {}, "systems": []}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scores.json").write_text(json.dumps(make_scores()))
    rows = make_generations()
    (tmp_path / "generations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


# numbers


def markdown_cells(text):
    """The first table as (text, bold) cells, read by an independent parser."""
    rows, row, inside = [], [], False
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_close":
            break
        if token.type == "tr_open":
            row = []
        elif token.type in ("td_open", "th_open"):
            inside = True
        elif token.type == "inline" and inside:
            kinds = [child.type for child in token.children]
            assert "html_inline" not in kinds
            row.append(("".join(child.content for child in token.children), "strong_open" in kinds))
            inside = False
        elif token.type == "tr_close":
            rows.append(row)
    return rows


def test_markdown_has_every_number_and_the_best_in_bold():
    head, human, *rows = markdown_cells(markdown(make_scores()))
    titles = ["system", "MAUVE ↑", "energy distance ↓", "diversity ≈", "coherence ≈", "length (words)", "seconds (s) ↓"]
    assert [text for text, _ in head] == titles
    assert human[0][0] == "human"
    assert [name for (name, _), *_ in rows] == list(VALUES)
    for values, cells in zip([HUMAN, *VALUES.values()], [human, *rows], strict=True):
        for metric, (text, _) in zip(METRICS, cells[1:], strict=True):
            wanted = values.get(metric) if (metric, cells[0][0]) != ("length", EVIL) else None
            if wanted is None:
                assert text == "-"
                continue
            found = re.fullmatch(r"(\S+)(?: \[(\S+), (\S+)\])?", text)
            assert float(found[1]) == pytest.approx(wanted, abs=0.5 * 10 ** -len(found[1].partition(".")[2]) + 1e-12)
            if (metric, cells[0][0]) == ("energy", "contrastive"):
                assert found[2] is None
            else:
                assert float(found[2]) < wanted < float(found[3])
    for column, metric in enumerate(METRICS, 1):
        assert {row[0][0] for row in rows if row[column][1]} == BEST[metric], metric
        assert not human[column][1]


def test_markdown_compares_in_pairs_and_ends_with_the_signature():
    text = markdown(make_scores())
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    fence = next(token for token in tokens if token.type == "fence")
    assert fence.content == "model: SmolLM2@aa6012f9d1c4\nversions.torch: 2.13.0\nevil: </script><b>\n"
    details = text.partition("<details>")[2].partition("</details>")[0]
    head, *rows = markdown_cells(details)
    names = list(VALUES)
    assert [text for text, _ in head] == ["", *names]
    for i, row in enumerate(rows):
        for j, (text, _) in enumerate(row[1:]):
            if i == j:
                assert text == ""
                continue
            difference = VALUES[names[i]]["diversity"] - VALUES[names[j]]["diversity"]
            assert float(text.rstrip("*")) == pytest.approx(difference, abs=6e-4)
            assert text.endswith("*") == (0.02 * (1 + i + j) < 0.05)


@pytest.mark.parametrize(
    ("values", "width", "wanted"),
    [
        ([0.912, 0.05], 0.01, "0.912"), ([0.912, 0.05], 0.0004, "0.9120"), ([17.46], 0.7, "17.46"),
        ([148.84, 3.0], 1.1, "148.8"), ([2345.6], 20, "2346"), ([0.0023], None, "0.0023"), ([0.0], None, "0.000"),
        ([-2.861], 0.04, "-2.86"), ([-0.0001, 1.0], None, "0.000"), ([93.62], 0.65, "93.6"), ([1e-9], None, "0.000000"),
        ([0.6028], 1e-15, "0.603"), ([0.6028], 1.1e-5, "0.60280"),
    ],
)  # fmt: skip
def test_digits_follow_the_size_of_the_numbers_and_of_their_intervals(values, width, wanted):
    ends = [{} if width is None else {"low": value - width, "high": value + width} for value in values]
    systems = [
        {"decoder": str(i), "metrics": {"m": {"value": value, **end}}}
        for i, (value, end) in enumerate(zip(values, ends, strict=True))
    ]
    column = tables.make_columns({"task": "t", "metrics": {"m": {}}, "systems": systems})[0]
    assert column.cells[1].value == wanted


def test_half_an_interval_is_none_and_one_system_is_not_the_best():
    systems = [{"decoder": "a", "metrics": {"m": {"value": 1.0, "low": 0.5, "high": None}}}]
    cell = tables.make_columns({"task": "t", "metrics": {"m": {"better": "higher"}}, "systems": systems})[0].cells[1]
    assert (cell.low, cell.high, cell.best) == (None, None, False)


def test_nothing_is_nearest_to_humans_who_have_no_number():
    systems = [{"decoder": name, "metrics": {"m": {"value": value}}} for name, value in (("a", 1.0), ("b", 2.0))]
    column = tables.make_columns({"task": "t", "metrics": {"m": {"better": "reference"}}, "systems": systems})[0]
    assert not any(cell.best for cell in column.cells)


def test_isotropy_by_language_is_a_table_with_the_humans_first():
    scores = make_scores()
    assert "by language" not in markdown(scores)
    scores["human"]["isotropy_by_language"] = {"en": [[0, 0.9], [6, 0.81]]}
    scores["systems"][0]["isotropy_by_language"] = {"en": [[0, 0.9], [6, 0.5]], "a|b": [[6, 0.25]]}
    text = markdown(scores).partition("by language:")[2]
    head, *rows = markdown_cells(text)
    assert [cell for cell, _ in head] == ["system", "en", "a|b"]
    assert [[cell for cell, _ in row] for row in rows[:3]] == [
        ["human", "0.810", "-"], ["greedy", "0.500", "0.250"], ["beam 4", "-", "-"]
    ]  # fmt: skip
    del scores["human"]  # as in scores that were made before
    assert "human" not in markdown(scores).partition("by language:")[2]


def test_a_metric_that_nothing_has_is_no_column():
    scores = {**make_scores(), "metrics": {**METRICS, "nothing": {"title": "nothing"}}}
    assert [column.name for column in tables.make_columns(scores)] == list(METRICS)


# LaTeX


def tex_cells(text):
    """Rows of all tabulars as lists of cells."""
    bodies = re.findall(r"\\begin\{tabular\}\{(l(r+))\}(.*?)\\end\{tabular\}", text, re.DOTALL)
    for alignment, _, body in bodies:
        rows = [
            re.sub(r"\\(top|mid|bottom)rule|\\addlinespace\[2pt\]", "", row).strip()
            for row in re.split(r" \\\\\n", body)
        ]
        yield [re.split(r"(?<!\\) ?& ?", row) for row in rows if row], len(alignment)


def test_latex_has_every_number_and_the_best_in_bold():
    text = latex(make_scores())
    panels = list(tex_cells(text))
    assert [width for _, width in panels] == [5, 3]
    assert all(len(row) == width for rows, width in panels for row in rows)
    columns = {}
    for rows, _ in panels:
        head, *rest = rows
        named = [row for row in rest if row[0].strip()]
        assert named[0][0] == r"\emph{human}"
        for i, title in enumerate(head[1:], 1):
            columns[title] = [row[i] for row in named[1:]]
    assert next(iter(columns)) == r"MAUVE $\uparrow$"
    expected = markdown_cells(markdown(make_scores()))
    for j, (title, cells) in enumerate(columns.items(), 1):
        for row, cell in zip(expected[2:], cells, strict=True):
            value = row[j][0].split()[0]
            shown = cell.replace("$-$", "-").replace("--", "-")
            assert shown == (rf"\textbf{{{value}}}" if row[j][1] else value), title
    assert r"\scriptsize{[}0.932, 0.948{]}" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_latex_escapes_names():
    text = latex(make_scores())
    assert r"{[}red{]}a\textbar{}b\_c{*}{[}/red{]} \& 50\% \textasciitilde{}\textasciicircum{}" in text
    assert r"\textbackslash{}\{\}\$\#" in text
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:news-i-more-i", "tab:news-i-more-i-2"]
    assert r"\caption{news \textless{}i\textgreater{}\& more\textless{}/i\textgreater{}, part 2. $\downarrow$" in text
    assert tex("a--b---c") == "a-{}-b-{}-{}-c"
    for line in text.splitlines():  # a line after \\ that begins with [ or * would be its argument
        assert not line.strip().startswith(("[", "*"))


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex here")
def test_latex_compiles(tmp_path):
    source = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + latex(make_scores()) + r"\end{document}"
    (tmp_path / "table.tex").write_text(source)
    call = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 10_000


# the terminal


def shown(width, **options):
    file = io.StringIO()
    show(make_scores(), Console(file=file, width=width, legacy_windows=False, **options))
    return file.getvalue()


def test_elsewhere_than_on_a_terminal_there_is_a_plain_line_for_each_system():
    lines = shown(40).splitlines()
    assert len(lines) == 1 + 1 + 1 + len(VALUES) + 1
    assert lines.pop() == "signature: model:SmolLM2@aa6012f9d1c4|versions.torch:2.13.0|evil:</script><b>"
    assert "\x1b" not in "".join(lines)
    assert lines[0] == "news <i>& more</i>"
    assert [re.split(r"\s{2,}", line)[0] for line in lines[1:]] == ["system", "human", *VALUES]
    assert re.split(r"\s{2,}", lines[4])[1:4] == ["-", "0.390 [0.386, 0.394]", "0.090 [0.082, 0.098]"]
    assert "".join(lines).isascii()


def test_a_terminal_gets_colours_and_tables_no_wider_than_it_is():
    for width in (70, 100, 300):
        text = shown(width, force_terminal=True, color_system="standard")
        assert "\x1b[1;32m0.880" in text
        lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in text.splitlines()]
        assert max(map(len, lines)) <= width
        assert text.count("near human") == 2
        assert sum("[red]a|b_c*[/red]" in line for line in lines) == text.count("system")
        for value in ("0.951", "-2.98", "147.3", "19.80", "[0.386, 0.394]"):
            assert any(value in line for line in lines), value


# folders


def test_report_writes_four_files_and_leaves_what_was_there(folder, tmp_path):
    before = {file: file.read_bytes() for file in folder.iterdir()}
    output = tmp_path / "new" / "deep"
    files = report(folder, output)
    assert [file.name for file in files] == ["report.md", "report.tex", "report.svg", "report.html"]
    assert sorted(output.iterdir()) == sorted(files)
    scores = page.read_scores(folder)
    assert files[0].read_text() == markdown(scores)
    assert files[1].read_text() == latex(scores)
    assert ElementTree.parse(files[2]).getroot().tag.endswith("svg")
    assert files[3].read_text() == html(scores, make_generations())
    assert {file: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "score it first"), ("{", "is not JSON"), ("[]", "holds no scores"), ("{}", "have no 'task'"),
        ('{"task": "t", "metrics": {}}', "have no 'systems'"), ("[" * 100_000, "is not JSON"),
    ],
)  # fmt: skip
def test_folders_without_scores_are_refused_in_a_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "scores.json").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        report(tmp_path, tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("report*"))


def test_texts_are_read_as_they_are_being_written(folder):
    file = folder / "generations.jsonl"
    rows = make_generations()
    assert page.read_generations(folder) == rows
    torn = file.read_bytes() + b'{"key": "half a li'
    file.write_bytes(torn)
    assert page.read_generations(folder) == rows
    assert file.read_bytes() == torn
    file.write_text(json.dumps(rows[0]))  # whole, without an end
    assert page.read_generations(folder) == rows[:1]
    again = {**rows[0], "continuation": "made again"}
    file.write_text(f"{json.dumps(rows[0])}\n\n{json.dumps(again)}\n")
    (folder / "generations.00001.jsonl").write_text(json.dumps(rows[1]) + "\n")
    assert page.read_generations(folder) == [rows[1], again]
    (folder / "task.json").write_text(json.dumps({"keys": [rows[0]["key"], "another"]}))
    assert page.read_generations(folder) == [again]


@pytest.mark.parametrize(
    "line", ["{", "[]", "3", '{"key": 1}', '{"decoder": "a", "prompt": 1, "prefix": "", "key": 2}']
)
def test_a_line_that_is_no_text_is_named(folder, line):
    file = folder / "generations.jsonl"
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"line 85 is no text of a benchmark"):
        page.read_generations(folder)


# the page


class Reader(HTMLParser):
    """Elements with their attributes, what stands in scripts and styles, and the text of the table."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.raw, self.cells, self.open, self.cell = [], {}, [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        self.open.append(attributes.get("id", tag) if tag == "script" else tag)
        if tag == "tr":
            self.cells.append([])
        self.cell = tag in ("td", "th") or (self.cell and tag in ("span", "button"))
        if tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag):
        self.open.pop() if tag in ("script", "style") else None
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style", "data"):
            self.raw[self.open[-1]] = self.raw.get(self.open[-1], "") + data
        elif self.cell:
            self.cells[-1][-1] += data


def read_page(scores=None, rows=None):
    text = html(make_scores() if scores is None else scores, make_generations() if rows is None else rows)
    return text, Reader(text)


def test_page_carries_every_text_and_every_number():
    _, reader = read_page()
    data = json.loads(reader.raw["data"])
    rows = [
        (data["systems"][system], seed, prompt["id"], prompt["prefix"], prompt["reference"], text, tokens, finished)
        for prompt in data["prompts"]
        for system, seed, text, tokens, finished, _ in prompt["texts"]
    ]
    names = ("decoder", "seed", "prompt", "prefix", "reference", "continuation", "tokens", "finished")
    wanted = [tuple(row[name] for name in names) for row in make_generations()]
    assert len(rows) == len(wanted) == 12 * 7
    assert {row[:4] + row[5:] for row in rows} == {row[:4] + row[5:] for row in wanted}
    assert {text[5] for text in rows} >= set(AWKWARD)
    for metric in METRICS:
        for system, entry in zip(make_scores()["systems"], data["entries"][metric][1:], strict=True):
            known = system["metrics"].get(metric)
            assert entry.get("value") == (None if known is None or known["value"] != known["value"] else known["value"])
    assert data["entries"]["diversity"][0]["value"] == HUMAN["diversity"]
    assert data["frontier"][1] is None
    assert data["isotropy"][0][6] == [6, pytest.approx(0.6)]
    assert "-" not in data["entries"]["mauve"]


def test_texts_of_a_prompt_are_in_the_order_of_the_systems_and_prompts_are_told_by_their_words():
    rows = make_generations(2)
    other = [{**row, "prefix": "Another. " + row["prefix"]} for row in rows]
    data = json.loads(read_page(rows=[*reversed(rows), *other])[1].raw["data"])
    assert [prompt["id"] for prompt in data["prompts"]] == ["news/1", "news/0", "news/0", "news/1"]
    for prompt in data["prompts"]:
        assert [text[0] for text in prompt["texts"]] == [0, 1, 2, 2, 3, 4, 5]


def test_numbers_that_json_lacks_are_none_on_the_page():
    scores = make_scores()
    scores["systems"][0]["frontier"] = [[0.0, float("nan")], [1.0, float("inf")]]
    scores["paired"][0]["low"] = float("-inf")
    text = read_page(scores)[1].raw["data"]
    data = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert data["frontier"][0] == [[0.0, None], [1.0, None]]
    assert data["paired"][0]["low"] is None


def test_marks_in_the_table_lie_on_one_line_for_a_column():
    _, reader = read_page()
    circles = [float(a["cx"].rstrip("%")) for tag, a in reader.elements if tag == "circle"]
    bars = [[float(a[name].rstrip("%")) for name in ("x1", "x2")] for tag, a in reader.elements
            if tag == "line" and a["class"] == "bar"]  # fmt: skip
    there = [[values.get(metric) for metric in METRICS] for values in [HUMAN, *VALUES.values()]]
    there[5][4] = None  # not a number, as its system has it
    diversity = [row[2] for row in there]
    low, high = min(diversity) - 0.008, max(diversity) + 0.008
    places = iter(circles)
    found = [[None if value is None else next(places) for value in row] for row in there]
    assert next(places, None) is None
    for value, place in zip(diversity, [row[2] for row in found], strict=True):
        assert place == pytest.approx(2 + 96 * (value - low) / (high - low), abs=0.01)
    assert min(bar[0] for bar in bars) == 2
    assert max(bar[1] for bar in bars) == 98


def test_page_has_the_table_without_scripts():
    _, reader = read_page()
    rows = [[" ".join(cell.split()) for cell in row] for row in reader.cells]
    assert [row[0] for row in rows] == [
        "system",
        "human",
        "greedy",
        "beam 4",
        "nucleus 0.95 2 seeds",
        *list(VALUES)[3:],
    ]
    assert rows[1][3] == "0.936 [0.928, 0.944]"
    assert rows[3][1] == "\N{EN DASH}"


def test_nothing_that_a_model_says_is_markup():
    text, reader = read_page()
    scripts = [attributes for tag, attributes in reader.elements if tag == "script"]
    assert [script.get("id") for script in scripts] == ["data", None]
    assert "pwned" not in re.sub(
        r'(?s)<script type="application/json".*?</script>|&lt;script&gt;window.pwned', "", text
    )
    assert not {tag for tag, _ in reader.elements} & {"i", "img", "iframe", "object", "embed", "base"}
    assert not [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]
    assert "<" not in reader.raw["data"]
    assert "\u2028" not in text
    text.encode()  # no halves of surrogate pairs


def test_page_asks_for_nothing_and_allows_nothing_but_itself():
    _, reader = read_page()
    places = [value for _, attributes in reader.elements for name, value in attributes.items()
              if name in ("src", "href", "action", "srcset", "data", "poster")]  # fmt: skip
    assert all(place.startswith("#") or place == "data:," for place in places)
    assert not [attributes for _, attributes in reader.elements if "style" in attributes]  # the policy forbids these
    code = reader.raw["style"] + reader.raw["script"]
    assert set(re.findall(r"\w+://[^\"'\s]+", code)) == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert not re.search(
        r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|innerHTML|outerHTML|insertAdjacentHTML|eval\(", code
    )
    policy = next(a["content"] for tag, a in reader.elements if tag == "meta" and "http-equiv" in a)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(reader.raw[kind].encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert set(rules) == {"default-src", "style-src", "script-src", "img-src", "base-uri", "form-action"}


def test_pages_of_nothing_and_of_little():
    for scores in (
        EMPTY,
        {**EMPTY, "systems": [{"decoder": "a", "metrics": {}}], "reference": None, "paired": None, "signature": None},
        {**EMPTY, "metrics": {"m": {}}, "systems": [{"decoder": "a", "metrics": {"m": {"value": 1}}}]},
    ):
        text, reader = read_page(scores, [])
        assert json.loads(reader.raw["data"])["prompts"] == []
        assert "there is no generations.jsonl" in text
        assert "undefined" not in re.sub("(?s)<script.*?</script>", "", text)
        assert markdown(scores)
        assert latex(scores)
        show(scores, Console(file=io.StringIO(), force_terminal=True))


def test_texts_without_scores_are_counted_not_shown():
    rows = [*make_generations(2), {"decoder": "new <one>", "prompt": "p", "prefix": "x", "continuation": "y"}]
    text, reader = read_page(rows=rows)
    assert "Not shown, because they have no scores: new &lt;one&gt;." in text
    assert len(json.loads(reader.raw["data"])["prompts"]) == 2


def test_speed_is_told_by_the_texts_where_the_scores_do_not():
    scores = make_scores()
    scores["metrics"] = {name: about for name, about in METRICS.items() if name != "seconds"}
    data = json.loads(read_page(scores)[1].raw["data"])
    assert data["entries"]["speed"] == [{}, *[{"value": 32.0}] * 6]
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in make_generations()]
    assert "speed" not in json.loads(read_page(scores, rows)[1].raw["data"])["entries"]


# whatever texts


@settings(deadline=None, max_examples=40)
@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.text(st.characters(exclude_categories=[]), max_size=60),
)
def test_any_name_and_any_text_come_through(name, text):
    system = {"decoder": name, "metrics": {"m": {"value": 1.0}}}
    scores = {"task": "t", "metrics": {"m": {"title": name or "m"}}, "systems": [system]}
    cells = markdown_cells(markdown(scores))
    assert " ".join(cells[2][0][0].split()) == " ".join(name.split())
    row = {"decoder": name, "prompt": text, "prefix": text, "continuation": text}
    found = json.loads(re.search('(?s)id="data">(.*?)</script>', html(scores, [row]))[1])
    assert found["prompts"][0] | {"texts": None} == {"id": text, "prefix": text, "reference": None, "texts": None}
    assert found["prompts"][0]["texts"][0][2] == text
    assert found["systems"] == [name]


# the package


def test_files_of_the_page_are_package_data_and_agree():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = [pattern.strip() for pattern in config["options.package_data"]["benchmarks"].split(",")]
    files = list((ROOT / "benchmarks" / "report" / "page").iterdir())
    assert {file.name for file in files} == {"page.html", "page.css", *page.SCRIPTS}
    assert all(any(fnmatch.fnmatch(f"report/page/{file.name}", pattern) for pattern in patterns) for file in files)
    assert sorted(
        map(int, re.findall(r'\[data-colour="(\d+)"\]', page.read_source("benchmarks.report", "page.css")))
    ) == list(range(page.COLOURS))
    assert f"const COLOURS = {page.COLOURS};" in page.read_source("benchmarks.report", "base.js")
    for file in files:
        assert "</" not in file.read_text() or file.name == "page.html"
        assert b"\r" not in file.read_bytes()  # a browser would read another text than was hashed


def test_pictures_have_every_number_where_it_belongs():
    scores = make_scores()
    panels = plots.paint(scores).axes
    across = ["diversity (near human)", "seconds (s) (lower)", "exp(-c KL(Q|R))", "layer"]
    assert [panel.get_xlabel() for panel in panels] == across
    for panel, x, y in ((panels[0], "diversity", "coherence"), (panels[1], "seconds", "mauve")):
        points = {one.get_label(): one for one in panel.containers}
        found = {"human": HUMAN, **VALUES}
        there = [name for name, values in found.items() if None not in (values.get(x), values.get(y))]
        assert [*points] == [plots.tame(name) for name in there]
        for name, (line, _, [across, up]) in zip(there, points.values(), strict=True):
            assert [*line.get_xydata()[0]] == [found[name][x], found[name][y]]
            ends = [bars.get_segments()[0][:, axis].tolist() for axis, bars in enumerate((across, up))]
            assert ends == [pytest.approx([found[name][m] - WIDTHS[m], found[name][m] + WIDTHS[m]]) for m in (x, y)]
    for panel, name in ((panels[2], "frontier"), (panels[3], "isotropy")):
        curves = [line.get_xydata().tolist() for line in panel.lines]
        humans = [scores["human"][name]] if name in scores["human"] else []
        assert curves == humans + [system[name] for system in scores["systems"] if system[name]]


def test_pictures_of_little_and_of_odd_names(tmp_path):
    for number, name in enumerate(["_x", "$a", "half \ud83d", "עולם", ""]):
        metrics = {"diversity": {"value": 0.5, "low": 0.6, "high": 0.7}, "coherence": {"value": 1.0}}  # low is not low
        systems = [{"decoder": name, "metrics": metrics, "isotropy": [[0, 0.1]]}]
        scores = {"task": "t", "metrics": {"diversity": {}, "coherence": {}}, "systems": systems}
        plots.draw(scores, tmp_path / f"{number}.svg")
        plots.draw(scores, tmp_path / "again.svg")
        text = (tmp_path / f"{number}.svg").read_text()
        assert text == (tmp_path / "again.svg").read_text()
        assert plots.tame(name).replace("\\$", "$") in "".join(ElementTree.fromstring(text).itertext())
    plots.draw({"task": "t", "metrics": {}, "systems": []}, tmp_path / "none.png")
    assert (tmp_path / "none.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["build", "markdown", "latex", "terminal", "plots"])
def test_docstring_examples_run(name):
    result = doctest.testmod(importlib.import_module(f"benchmarks.report.{name}"))
    assert result.failed == 0
    assert result.attempted >= 3


NOTED = {
    "task": "t",
    "metrics": {"mauve": {"title": "MAUVE", "better": "higher"}, "auroc": {"title": "AUROC_5", "better": "lower"}},
    "reference": {"mauve": {"value": 0.979, "low": 0.979, "high": 0.979}},
    "systems": [
        {"decoder": "a", "metrics": {"mauve": {"value": 0.994, "low": 0.99, "high": 0.998}}},
        {"decoder": "b", "metrics": {"mauve": {"value": 0.8, "low": 0.7, "high": 0.9}}},
    ],
    "notes": [
        {"metric": "mauve", "text": "MAUVE of 12 texts tells little", "few": True, "of": ["a", "b"]},
        {"metric": "auroc", "text": "left out: <5 texts & a fold", "few": False, "of": ["a"]},
    ],
}


def test_of_too_few_prompts_nothing_is_the_best_and_no_interval_has_width_zero():
    mauves, aurocs = tables.make_columns(NOTED)
    assert [cell.best for cell in mauves.cells] == [False] * 3
    assert [tables.bracketed(cell) for cell in mauves.cells] == [
        "0.979", "0.994† [0.990, 0.998]", "0.800† [0.700, 0.900]",
    ]  # fmt: skip
    assert [cell.value for cell in aurocs.cells] == ["-"] * 3  # a metric that was left out keeps its column
    enough = NOTED | {"notes": []}
    assert [cell.best for cell in tables.make_columns(enough)[0].cells] == [False, True, False]
    assert len(tables.make_columns(enough)) == 1


def test_notes_stand_at_the_foot_of_every_notation():
    page = markdown(NOTED)
    assert "* **MAUVE**: MAUVE of 12 texts tells little." in page
    assert "* **AUROC\\_5**: left out: &lt;5 texts &amp; a fold (a)." in page
    assert "†: of fewer prompts than it needs." in page
    paper = latex(NOTED)
    assert r"\par\smallskip\footnotesize AUROC\_5: left out: \textless{}5 texts \& a fold (a)." in paper
    assert r"0.994$^\dagger$" in paper
    assert "†" not in paper
    shown = html(NOTED, [])
    assert '<p class="note">AUROC_5: left out: &lt;5 texts &amp; a fold (a).</p>' in shown
    assert "† is of fewer prompts than the metric needs" in shown
    assert "† is of fewer" not in html(NOTED | {"notes": []}, [])
    printed = io.StringIO()
    show(NOTED, Console(file=printed, width=200))
    assert "note: MAUVE: MAUVE of 12 texts tells little." in printed.getvalue()
