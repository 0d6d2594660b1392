"""The page in a browser: headless Chromium, from a file, without a network.

The browser and `visit` are in conftest.py. Pictures go to the folder in SCREENSHOTS, if it is set.
"""

import itertools
import math
import os
import re
import time
from pathlib import Path

import pytest

from benchmarks.report.build import html
from tests.support.reports import AWKWARD, EVIL, HUMAN, METRICS, ODD, VALUES, make_generations, make_scores

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")

NAMES = list(VALUES)
SYSTEMS = make_scores()["systems"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(make_scores(), make_generations()), encoding="utf-8")
    return path


@pytest.fixture
def page(visit, file):
    return visit(file)


def rows(page):
    """The systems of the table, as they are seen."""
    found = page.locator("#table tbody tr[data-system]:visible").evaluate_all(
        "all => all.map((row) => row.dataset.system)"
    )
    return [NAMES[int(number)] for number in found]


def choose(page, name, on):
    """Show a system, or leave it out."""
    page.locator("#filter").evaluate("(filter) => (filter.open = true)")
    page.locator(f"[data-show='{NAMES.index(name)}']").set_checked(on)
    page.keyboard.press("Escape")


def cards(page):
    """The texts that are shown, by system."""
    found = page.locator("#sample article[data-system]").evaluate_all(
        "all => all.map((card) => [Number(card.dataset.system), card.querySelector('.text').textContent])"
    )
    return [(NAMES[system], text) for system, text in found]


# loading


def test_page_loads_from_the_disk_and_shows_everything(page):
    assert page.title() == "news <i>& more</i>: decoding compared"
    assert page.locator("h1").inner_text() == "news <i>& more</i>"
    for place in ("#plot-1 svg", "#plot-2 svg", "#plot-frontier svg", "#plot-isotropy svg", "#pairs-table td"):
        assert page.locator(place).first.is_visible(), place
    assert rows(page) == NAMES
    assert len(cards(page)) == len(NAMES)


def test_no_text_of_a_model_does_anything(page):
    for number in range(len(AWKWARD)):
        texts = dict(cards(page))
        wanted = AWKWARD[number].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        shown = texts["contrastive"].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        assert shown == (wanted or "(empty)"), number
        page.locator("#next").click()
    assert page.evaluate("window.pwned") is None
    assert page.locator("#table th[scope=row]").nth(5).inner_text().strip() == EVIL
    assert page.locator("img, iframe, object").count() == 0


def test_policy_stops_scripts_and_requests_that_get_in_nevertheless(visit, file):
    page = visit(file)
    failed = []
    page.on("requestfailed", lambda request: failed.append((request.url, request.failure)))
    blocked = page.evaluate("""async () => {
        const blocked = [];
        document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "window.pwned = 3";
        document.body.append(script);
        const holder = document.createElement("div");
        holder.innerHTML = "<img src='https://example.invalid/x.png' onerror='window.pwned = 4'>";
        holder.setAttribute("style", "background: url(https://example.invalid/y.png)");
        document.body.append(holder);
        await fetch("https://example.invalid/z").catch(() => {});
        new Image().src = "file:///etc/hostname";
        await new Promise((done) => setTimeout(done, 200));
        return [blocked, window.pwned ?? null];
    }""")
    assert blocked[1] is None
    assert {"script-src-elem", "style-src-attr", "connect-src", "img-src"} <= set(blocked[0])
    asked = {line for line in visit.trouble if line.startswith("http")}
    assert {(url, "csp") for url in asked} <= set(failed)  # never sent
    visit.trouble.clear()  # each of these is said on the console


def test_without_scripts_there_is_the_table(visit, file):
    page = visit(file, java_script_enabled=False)
    assert page.locator("noscript p").is_visible()
    assert page.locator("#table tbody tr").count() == 1 + len(NAMES)
    assert "0.938" in page.locator("#table").inner_text()


@pytest.mark.parametrize("scores", [
    {"task": "nothing", "metrics": {}, "systems": []},
    {"task": "little", "metrics": {"m": {}}, "systems": [{"decoder": "a", "metrics": {"m": {"value": 1}}}]},
    {"task": "no humans", "metrics": {"m": {"better": "reference"}, "n": {}}, "systems": [
        {"decoder": name, "metrics": {"m": {"value": 1}, "n": {"value": 0}}} for name in "ab"]},
])  # fmt: skip
def test_pages_of_little_load_too(visit, tmp_path, scores):
    (tmp_path / "report.html").write_text(html(scores, []))
    page = visit(tmp_path / "report.html")
    assert page.locator("#texts .note").is_visible()
    for button in page.locator("#table [data-sort]").all():
        button.click()
    assert page.locator("#plot-1 svg").count() == (scores["task"] == "no humans")


# the table


def value_of(system, metric):
    value = system["metrics"].get(metric, {}).get("value")
    return None if value is None or value != value else value


def test_every_heading_sorts_the_best_first_then_the_other_ways(page):
    for metric, about in METRICS.items():
        there = [(value, s["decoder"]) for s in SYSTEMS if (value := value_of(s, metric)) is not None]
        missing = [s["decoder"] for s in SYSTEMS if value_of(s, metric) is None]
        up = [name for _, name in sorted(there, key=lambda one: one[0])]
        near = [name for _, name in sorted(there, key=lambda one: abs(one[0] - HUMAN.get(metric, 0)))]
        orders = {"lower": [("ascending", up), ("descending", up[::-1])],
                  "reference": [("other", near), ("descending", up[::-1]), ("ascending", up)]}.get(
                      about["better"], [("descending", up[::-1]), ("ascending", up)])  # fmt: skip
        button = page.locator(f"[data-sort='{metric}']")
        for order, wanted in [*orders, orders[0]]:
            button.click()
            assert page.locator("#table th[aria-sort]:not([aria-sort=none])").count() == 1
            assert button.locator("xpath=..").get_attribute("aria-sort") == order
            assert rows(page) == wanted + missing, (metric, order)
            assert page.locator("#table tbody tr").first.inner_text().startswith("human")
            assert about["title"] in page.locator("#sorted").text_content()


def test_keyboard_sorts_by_name(page):
    page.locator("[data-sort='decoder']").focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort=ascending]").inner_text() == "system"
    assert rows(page)[-4:] == ["beam 4", "contrastive", "greedy", "nucleus 0.95"]
    page.keyboard.press("Space")
    assert rows(page)[:4] == ["nucleus 0.95", "greedy", "contrastive", "beam 4"]


def test_systems_are_left_out_everywhere(page):
    choose(page, "greedy", False)
    choose(page, EVIL, False)
    left = [name for name in NAMES if name not in ("greedy", EVIL)]
    assert page.locator("#filtered").inner_text() == "4 of 6"
    assert rows(page) == left
    assert [name for name, _ in cards(page)] == left
    assert page.locator("#plot-1 g.series[data-series='0'], #plot-1 g.series[data-series='4']").count() == 0
    assert page.locator("#plot-frontier g.series").count() == 3  # beam 4 has none
    assert page.locator("[data-legend=isotropy] li").all_inner_texts() == [
        "human",
        "beam 4",
        "nucleus 0.95",
        "contrastive",
    ]
    assert page.locator("#pairs-table tbody tr").count() == 4
    page.locator("#filter summary").click()
    page.locator("#show-none").click()
    assert rows(page) == []
    assert page.locator("#plot-1").inner_text() == "No system that is shown has both metrics."
    page.locator("#show-all").click()
    assert rows(page) == NAMES
    assert page.locator("#plot-1 g.series:not(.human)").count() == len(NAMES)


def test_differences_are_row_less_column(page):
    table = page.locator("#pairs-table tbody tr").evaluate_all(
        "all => all.map((row) => [...row.cells].map((cell) => [cell.textContent, cell.className]))"
    )
    assert [row[0][0] for row in table] == NAMES
    for i, row in enumerate(table):
        for j, (text, kind) in enumerate(row[1:]):
            if i == j:
                assert text == ""
                continue
            difference = VALUES[NAMES[i]]["diversity"] - VALUES[NAMES[j]]["diversity"]
            assert float(text.replace("\N{MINUS SIGN}", "-")) == pytest.approx(difference, abs=6e-4)
            assert (kind == "sure") == (0.02 * (1 + i + j) < 0.05)
    tip = page.locator("#pairs-table td[data-tip]").nth(5).get_attribute("data-tip")
    assert tip.startswith("beam 4 less greedy: +0.036\ninterval +0.026 to +0.046\n")


# plots


def ticks(page, plot, axis):
    """(value, pixel) of an axis."""
    texts = page.locator(f"{plot} .tick text").evaluate_all(
        "all => all.map((text) => [text.textContent, text.getAttribute('text-anchor'), text.previousSibling"
        ".getAttribute('x1'), text.previousSibling.getAttribute('y1')])"
    )
    return [
        (float(text.replace("\N{MINUS SIGN}", "-")), float(x if axis == "x" else y))
        for text, anchor, x, y in texts
        if anchor == ("middle" if axis == "x" else "end")
    ]


def at(scale, value, logarithmic):
    """The pixel of a value, by its two farthest ticks."""
    there = math.log if logarithmic else float
    (a, from_), (b, to) = scale[0], scale[-1]
    return from_ + (there(value) - there(a)) / (there(b) - there(a)) * (to - from_)


@pytest.mark.parametrize(("plot", "x", "y"), [(1, "diversity", "coherence"), (2, "seconds", "mauve")])
def test_points_and_intervals_lie_where_their_numbers_are(page, plot, x, y):
    place = f"#plot-{plot}"
    scales = {axis: ticks(page, place, axis) for axis in "xy"}
    assert all(len(scale) >= 3 for scale in scales.values())
    titles = page.locator(f"{place} .axis").all_text_contents()
    assert METRICS[x]["title"] in titles[0]
    assert METRICS[y]["title"] in titles[1]
    assert ["logarithmic" in title for title in titles] == [x == "seconds", False]
    drawn = 0
    for number, system in enumerate(SYSTEMS):
        entries = [system["metrics"].get(name) for name in (x, y)]
        group = page.locator(f"{place} g.series[data-series='{number}']")
        assert group.count() == all(entries)
        if not all(entries):
            continue
        drawn += 1
        point = group.locator("circle.point")
        lines = group.locator("line.error").evaluate_all(
            "all => all.map((line) => ['x1', 'x2', 'y1', 'y2'].map((name) => Number(line.getAttribute(name))))"
        )
        for axis, entry, ends in zip("xy", entries, [lines[0][:2], lines[1][2:]], strict=True):
            logarithmic = axis == "x" and x == "seconds"
            found = [float(point.get_attribute(f"c{axis}")), *ends]
            for pixel, key in zip(found, ("value", "low", "high"), strict=True):
                assert pixel == pytest.approx(at(scales[axis], entry[key], logarithmic), abs=0.6)
    assert drawn == (6 if plot == 1 else 4)
    humans = {1: 2, 2: 1}[plot]  # the humans have no seconds
    assert page.locator(f"{place} line.reference").count() == humans
    assert page.locator(f"{place} .human").count() == humans - 1


def test_filled_points_are_those_that_no_other_beats(page):
    gains = {"higher": lambda v, _: v, "lower": lambda v, _: -v, "reference": lambda v, human: -abs(v - human)}
    for x, y in itertools.permutations(METRICS, 2):
        page.locator("[data-plot='1'][data-axis=x]").select_option(x)
        page.locator("[data-plot='1'][data-axis=y]").select_option(y)
        points = {
            i: [value_of(system, x), value_of(system, y)]
            for i, system in enumerate(SYSTEMS)
            if value_of(system, x) is not None and value_of(system, y) is not None
        }
        filled = page.locator("#plot-1 g.series.filled:not(.human)").evaluate_all(
            "all => all.map((one) => Number(one.dataset.series))"
        )
        if "length" in (x, y):  # no way is better
            assert sorted(filled) == sorted(points)
            continue
        scored = {
            i: [gains[METRICS[m]["better"]](v, HUMAN.get(m)) for m, v in zip((x, y), values, strict=True)]
            for i, values in points.items()
        }
        front = [
            i for i, (a, b) in scored.items()
            if not any(c >= a and d >= b and (c, d) != (a, b) for c, d in scored.values())
        ]  # fmt: skip
        assert sorted(filled) == sorted(front), (x, y)


def test_crowded_points_are_told_apart_and_one_that_is_equal_beats_by_the_other_axis(visit, tmp_path):
    values = {
        "worse": (1, 1),
        "better": (1, 2),
        "its twin": (1, 2),
        "fourth": (1.001, 1.999),
        "high": (0, 3),
        "low": (0, 2),
    }
    metrics = {name: {"title": name, "better": "higher"} for name in ("diversity", "coherence")}
    systems = [
        {"decoder": name, "metrics": {metric: {"value": v} for metric, v in zip(metrics, pair, strict=True)}}
        for name, pair in values.items()
    ]
    (tmp_path / "report.html").write_text(html({"task": "t", "metrics": metrics, "systems": systems}, []))
    page = visit(tmp_path / "report.html")
    filled = page.locator("#plot-1 g.filled").evaluate_all("all => all.map((one) => Number(one.dataset.series))")
    assert [list(values)[i] for i in filled] == ["better", "its twin", "fourth", "high"]
    check_labels(page, "#plot-1", 6, 1280)


def test_shares_are_not_drawn_on_a_logarithmic_scale_and_times_are(visit, tmp_path):
    metrics = {"diversity": {"title": "share", "unit": "%"}, "coherence": {"title": "time", "unit": "s"}}
    systems = [{"decoder": str(v), "metrics": {name: {"value": v} for name in metrics}} for v in (3.0, 40.0, 90.0)]
    (tmp_path / "report.html").write_text(html({"task": "t", "metrics": metrics, "systems": systems}, []))
    titles = visit(tmp_path / "report.html").locator("#plot-1 .axis").all_text_contents()
    assert titles == ["share (%)", "time (s) (logarithmic)"]


@pytest.mark.parametrize("width", [1280, 600, 360])
def test_labels_are_inside_and_do_not_cover_each_other(visit, file, width):
    page = visit(file, width=width)
    check_labels(page, "#plot-1", 7, width)
    check_labels(page, "#plot-2", 4, width)


def check_labels(page, plot, number, width):
    boxes = page.locator(f"{plot} text.label").evaluate_all(
        "all => all.map((one) => { const box = one.getBoundingClientRect(); "
        "return [one.textContent, box.left, box.top, box.right, box.bottom]; })"
    )
    assert len(boxes) == number
    for name, left, _, right, _ in boxes:
        assert left >= 0, name
        assert right <= width, name
    for a, b in itertools.combinations(boxes, 2):
        across = min(a[3], b[3]) - max(a[1], b[1])
        down = min(a[4], b[4]) - max(a[2], b[2])
        assert across <= 3 or down <= 4, (width, plot, a[0], b[0])  # letters have room above and below


def check_curves(page, name, wanted):
    """The plot has these curves and no other: points by system, -1 for the human texts; the legend names them."""
    curves = page.locator(f"#plot-{name} g.series")
    assert curves.evaluate_all("all => all.map((one) => Number(one.dataset.series))") == list(wanted)
    names = ["human" if number < 0 else NAMES[number] for number in wanted]
    assert page.locator(f"[data-legend={name}] li").all_text_contents() == names
    scales = {axis: ticks(page, f"#plot-{name}", axis) for axis in "xy"}
    for number, curve in zip(wanted, curves.all(), strict=True):
        path = curve.locator(".curve").get_attribute("d")
        points = [tuple(map(float, pair.split())) for pair in re.findall(r"[ML]([\d.]+ [\d.]+)", path)]
        assert len(points) == len(wanted[number])
        for (x, y), value in zip(points, wanted[number], strict=True):
            assert x == pytest.approx(at(scales["x"], value[0], False), abs=0.6)
            assert y == pytest.approx(at(scales["y"], value[1], False), abs=0.6)


def test_curves_are_those_of_the_scores(page):
    check_curves(page, "frontier", {i: system["frontier"] for i, system in enumerate(SYSTEMS) if system["frontier"]})
    humans = {-1: make_scores()["human"]["isotropy"]}
    check_curves(page, "isotropy", humans | {i: one["isotropy"] for i, one in enumerate(SYSTEMS) if one["isotropy"]})
    assert page.locator("#isotropy-language").count() == 0  # there is one language


def test_isotropy_is_shown_of_the_language_that_is_chosen(visit, tmp_path):
    scores = make_scores()
    shift = {"en": 0.0, "<b>de</b>": 0.2, "mi": 0.4}
    move = lambda curve, by: [[layer, value - by] for layer, value in curve]
    humans, systems = scores["human"], scores["systems"][:4]
    humans["isotropy_by_language"] = {name: move(humans["isotropy"], shift[name]) for name in ("en", "<b>de</b>")}
    for number, system in enumerate(systems):  # the first has no third language
        own = list(shift)[: 2 + (number > 0)]
        system["isotropy_by_language"] = {name: move(system["isotropy"], shift[name]) for name in own}
    (tmp_path / "report.html").write_text(html(scores, []))
    page = visit(tmp_path / "report.html")
    select = page.locator("#isotropy-language")
    assert select.locator("option").all_text_contents() == ["all languages", *shift]
    whole = {-1: humans["isotropy"]} | {i: system["isotropy"] for i, system in enumerate(systems)}
    check_curves(page, "isotropy", whole)
    for name in shift:
        select.select_option(name)
        own = {i: system["isotropy_by_language"].get(name) for i, system in enumerate(systems)}
        own = {-1: humans["isotropy_by_language"].get(name)} | own
        check_curves(page, "isotropy", {i: curve for i, curve in own.items() if curve})
    first, last = systems[3]["isotropy_by_language"]["mi"][:: len(systems[3]["isotropy"]) - 1]
    tip = page.locator("#plot-isotropy g.series[data-series='3']").get_attribute("data-tip")
    assert tip == f"contrastive\nfirst: {first[1]:.3f}, last: {last[1]:.3f}"
    choose(page, "contrastive", False)  # stays in the language
    check_curves(page, "isotropy", {i: systems[i]["isotropy_by_language"]["mi"] for i in (1, 2)})
    select.select_option("")
    del whole[3]
    check_curves(page, "isotropy", whole)


def test_a_point_under_the_mouse_or_with_the_focus_says_its_numbers_and_stands_out(page):
    point = page.locator("#plot-1 g.series[data-series='2']")
    said = "nucleus 0.95\ndiversity: 0.940 [0.932, 0.948]\ncoherence: -2.98 [-3.03, -2.93]\non the front"
    tip = page.locator("#tip")
    point.scroll_into_view_if_needed()
    page.wait_for_timeout(100)  # scrolling hides tips
    point.locator(".point").hover()
    assert tip.text_content() == said
    assert tip.is_visible()
    assert page.locator("#plot-1 g.series.faint").count() == len(NAMES) - 1
    assert page.locator("#plot-isotropy g.series.faint").count() == 3
    box = page.locator("#plot-1").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)  # away, without scrolling
    assert tip.is_hidden()
    assert page.locator(".faint").count() == 0
    page.locator("#plot-1 g.series[data-series='1']").focus()
    page.keyboard.press("Tab")
    assert point.evaluate("(one) => one === document.activeElement")
    assert tip.text_content() == said
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_plots_follow_the_width_and_keep_their_letters(visit, file):
    page = visit(file)
    wide = page.locator("#plot-1 svg").bounding_box()["width"]
    page.set_viewport_size({"width": 600, "height": 800})
    sync_api.expect(page.locator("#plot-1")).not_to_have_attribute("data-width", str(round(wide)))
    for plot in ("#plot-1", "#plot-2", "#plot-frontier", "#plot-isotropy"):
        box = page.locator(f"{plot} svg").evaluate("(svg) => [svg.viewBox.baseVal.width, svg.clientWidth]")
        assert box[0] == pytest.approx(box[1], abs=1)


# the texts


def found(page):
    page.wait_for_timeout(200)  # the search waits for the end of typing
    return page.locator("#found").inner_text()


def matching(query, seed="0"):
    """The prompts with a text, of seed 0 where there are several, that has these words."""
    wanted = " ".join(query.split()).lower()
    hits = {}
    for row in make_generations():
        if row["decoder"] in ("nucleus 0.95",) and str(row["seed"]) != seed:
            continue
        for text in (row["prefix"], row["continuation"]):
            hits[row["prompt"]] = hits.get(row["prompt"]) or wanted in " ".join(text.split()).lower()
    references = {}
    for row in make_generations():
        references.setdefault(row["prompt"], row["reference"])  # the first is the prompt's
    for prompt, text in references.items():
        hits[prompt] = hits[prompt] or wanted in text.lower()
    return [int(prompt.partition("/")[2]) for prompt, hit in hits.items() if hit]


@pytest.mark.parametrize(
    "query", ["prefix 3", "Storm of", "a+b (c) [d]", "pattern.*", "<script>", "NUCL seed0", "\\ really", "door"]
)
def test_search_finds_what_is_there(page, query):
    wanted = matching(query)
    assert wanted
    page.locator("#query").fill(query)
    assert found(page) == f"of 12; match 1 of {len(wanted)}"
    seen = []
    for rank in range(len(wanted)):
        seen.append(int(page.locator("#number").input_value()) - 1)
        assert page.locator("#found").inner_text() == f"of 12; match {rank + 1} of {len(wanted)}"
        marks = page.locator("#sample mark").all_text_contents()
        assert marks
        assert query.lower()[0] == marks[0].lower()[0]
        page.keyboard.press("Enter")
    assert seen == wanted
    assert page.locator("#next").is_disabled()
    page.keyboard.press("Shift+Enter")
    assert int(page.locator("#number").input_value()) - 1 == ([None, *wanted][-2:][0] if len(wanted) > 1 else wanted[0])
    page.keyboard.press("Escape")
    assert found(page) == "of 12"
    assert page.locator("mark").count() == 0


def test_search_looks_at_the_texts_that_are_shown(page):
    page.locator("#query").fill("nucl seed1")
    assert found(page) == "nothing found"
    assert cards(page) == []
    page.locator("#seed").select_option("1")
    assert found(page) == "of 12; match 1 of 12"
    assert [name for name, _ in cards(page)] == NAMES  # those that do not draw are there under every seed
    choose(page, "nucleus 0.95", False)
    assert found(page) == "nothing found"
    choose(page, "nucleus 0.95", True)
    page.locator("#seed").select_option("")
    assert found(page) == "of 12; match 1 of 12"
    assert [name for name, _ in cards(page)].count("nucleus 0.95") == 2
    assert page.locator("#sample article", has_text="seed 1 ·").count() == 1


def test_prompts_side_by_side_by_keyboard(page):
    page.locator("#texts-title").scroll_into_view_if_needed()
    everything = {}
    for row in make_generations():
        if row["seed"] == 0:
            everything.setdefault(row["prompt"], [row["prefix"], row["reference"]]).append(row["continuation"])
    number = page.locator("#number")
    assert page.locator("#previous").is_disabled()
    for step, (prompt, texts) in enumerate(everything.items(), 1):
        assert number.input_value() == str(step)
        assert page.locator(".prefix .facts").inner_text() == f"prompt {prompt}"
        if step > len(AWKWARD):
            assert page.locator("#sample .text").all_text_contents() == texts
        page.keyboard.press("ArrowRight")
    assert number.input_value() == "12"
    page.keyboard.press("ArrowLeft")
    assert number.input_value() == "11"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("/")  # in the field it is a letter
    assert page.locator("#query").input_value() == "/"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    assert number.input_value() == "11"
    for typed, wanted in (("5", "5"), ("99", "12"), ("-3", "1"), ("", "1")):
        number.fill(typed)
        number.press("Enter")
        assert number.input_value() == wanted
    page.locator("#scores").scroll_into_view_if_needed()
    page.evaluate("window.scrollTo(0, 0)")
    page.locator("#theme").focus()
    page.keyboard.press("ArrowRight")  # the texts are out of sight
    assert number.input_value() == "1"


def test_repeated_words_are_marked(page):
    page.locator("#number").fill("4")
    page.locator("#number").press("Enter")
    card = page.locator("article", has=page.get_by_role("heading", name="contrastive", exact=True))
    assert card.locator(".again").count() == 0
    page.locator("#repeats").check()
    words = AWKWARD[3].split()
    again, seen = set(), set()
    for i in range(len(words) - 3):
        gram = tuple(words[i : i + 4])
        again |= set(range(i, i + 4)) if gram in seen else set()
        seen.add(gram)
    assert again == set(range(4, 11))  # not the last: it has no comma
    assert " ".join(card.locator(".again").all_text_contents()) == " ".join(words[4:11])
    page.locator("#query").fill("three")
    found(page)
    assert card.locator("mark").all_text_contents() == ["three"] * 3
    assert card.locator(".text").text_content() == AWKWARD[3]


@pytest.mark.slow
def test_thousands_of_texts_stay_quick(visit, tmp_path):
    rows = make_generations(3000, NAMES)
    (tmp_path / "report.html").write_text(html(make_scores(), rows), encoding="utf-8")
    start = time.perf_counter()
    page = visit(tmp_path / "report.html")
    page.locator("#sample article").first.wait_for()
    loaded = time.perf_counter() - start
    start = time.perf_counter()
    page.locator("#query").fill("prefix 2999")
    sync_api.expect(page.locator("#found")).to_have_text("of 3000; match 1 of 1")
    searched = time.perf_counter() - start
    assert page.locator("*").count() < 2000
    assert len(rows) == 21_000
    assert loaded < 10, loaded  # 1 s on a quiet machine
    assert searched < 5, searched


# for everybody


def test_theme_follows_the_system_or_the_button(visit, file):
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = (visit(file, color_scheme=scheme) for scheme in ("light", "dark"))
    assert light.evaluate(ground) != dark.evaluate(ground)
    button = dark.locator("#theme")
    seen = []
    for _ in range(4):
        seen.append((button.inner_text(), dark.evaluate(ground)))
        button.press("Enter")
    night, day = dark.evaluate(ground), light.evaluate(ground)
    assert [text for text, _ in seen] == ["Theme: as the system", "Theme: light", "Theme: dark", "Theme: as the system"]
    assert seen[0][1] == seen[2][1] == seen[3][1] != seen[1][1] == day == night


LUMINANCE = """(pairs) => pairs.map(([selector, property]) => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const element = document.querySelector(selector);
    let below = element.parentElement;
    if (property !== "backgroundColor") below = element;
    let ground = parse(getComputedStyle(below).backgroundColor);
    while (ground[3] === 0) { below = below.parentElement; ground = parse(getComputedStyle(below).backgroundColor); }
    const [a, b] = [light(parse(getComputedStyle(element)[property])), light(ground)];
    return [selector, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_told_from_what_is_behind_it(visit, file, scheme):
    page = visit(file, color_scheme=scheme)
    page.locator("#query").fill("prefix")
    found(page)
    text = [(selector, "color") for selector in (
        "h1", ".muted", "nav a", ".best", "#table .interval", "tbody.human .interval", ".note, #found", ".unit", "mark",
        "#pairs-table td:not(.sure)[data-tip]", "#pairs-table td.sure", ".facts", "article.human .facts", "#tip",
        "thead button", ".more summary",
    )]  # fmt: skip
    text += [(".plot .tick text", "fill"), (".plot .label", "fill")]
    for selector, ratio in page.evaluate(LUMINANCE, text):
        assert ratio >= 4.5, (selector, ratio)
    page.evaluate("""() => { for (let i = 0; i < 12; i += 1) {
        const dot = document.createElement("span");
        dot.className = "dot"; dot.dataset.colour = i; dot.id = `dot${i}`;
        document.querySelector("figure").append(dot); } }""")
    dots = page.evaluate(LUMINANCE, [[f"#dot{i}", "backgroundColor"] for i in range(12)])
    for selector, ratio in dots:
        assert ratio >= 3, (selector, ratio)  # what figures need


@pytest.mark.parametrize("width", [1280, 600, 360])
def test_page_is_no_wider_than_the_window(visit, file, width):
    page = visit(file, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#filter summary").click()
    box = page.locator("#filter fieldset").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_everything_is_reached_by_tab_and_the_focus_is_seen(page):
    order, unseen = [], []
    page.locator("#filter").evaluate("(filter) => (filter.open = true)")
    for _ in range(200):
        page.keyboard.press("Tab")
        state = page.evaluate("""() => {
            const e = document.activeElement, style = getComputedStyle(e), point = e.querySelector?.(".point, .curve");
            if (e === document.body) return null;
            const seen = style.outlineStyle !== "none" || (point && getComputedStyle(point).strokeWidth === "5px");
            const name = e.id || e.dataset.sort || e.dataset.show || e.dataset.axis || e.getAttribute("aria-label");
            return [name || e.textContent.trim(), seen];
        }""")
        if state is None:
            break
        order.append(state[0])
        unseen += [] if state[1] else [state[0]]
    assert order[0] == "Skip to the scores"
    wanted = ["Scores", "show-all", "0", "theme", "Table of scores", "decoder", "mauve", "x", "y", "pairs-metric",
              "Table of differences", "query", "seed", "repeats", "number", "next"]  # fmt: skip
    places = [order.index(name) for name in wanted]
    assert places == sorted(places)
    assert sum(name.startswith(ODD) for name in order) == 2  # its point, and its frontier
    assert unseen == []


def test_filter_closes_and_gives_the_focus_back(page):
    page.locator("#filter summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert rows(page) == NAMES[1:]
    page.keyboard.press("Escape")
    assert not page.locator("#filter").evaluate("(filter) => filter.open")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.locator("#filter summary").click()
    page.locator("h1").click()
    assert not page.locator("#filter").evaluate("(filter) => filter.open")


def test_everything_that_is_operated_has_a_name(page):
    page.locator("#filter").evaluate("(filter) => (filter.open = true)")
    for role in ("button", "checkbox", "combobox", "searchbox", "spinbutton", "link", "region", "columnheader"):
        places = page.get_by_role(role)
        assert places.count(), role
        assert places.count() == page.get_by_role(role, name=re.compile(r"\S")).count(), role
    for name in ("Next prompt", "Previous prompt"):  # not only an arrow
        assert page.get_by_role("button", name=name, exact=True).count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 600])
def test_pictures(visit, file, tmp_path, scheme, width):
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    page = visit(file, width=width, color_scheme=scheme)
    page.screenshot(path=folder / f"report-{scheme}-{width}.png", full_page=True)
    page.locator("#query").fill("storm of")
    page.locator("#repeats").check()
    found(page)
    page.locator("#texts-title").evaluate("(title) => title.scrollIntoView()")
    page.screenshot(path=folder / f"report-{scheme}-{width}-texts.png")
    assert (folder / f"report-{scheme}-{width}.png").stat().st_size > 50_000
