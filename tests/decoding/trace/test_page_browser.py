"""The page of a trace in a browser: headless Chromium, from a file, in a notebook's frame, without a network.

The browser and `visit` are in conftest.py. Pictures go to the folder in SCREENSHOTS, if it is set.
"""

import html
import os
import time
from pathlib import Path

import pytest
import torch

import decoding
from decoding import ContrastiveSearch, Greedy, NegativePrompt, Rerank, Trace
from decoding.trace.page import make_frame
from decoding.trace.records import Call, Candidate, Choice
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.judges import TOKENIZER, judges

EVIL = [
    "<script>window.pwned = 1</script>", "</script><script>window.pwned = 2</script>",
    '"><img src=x onerror="pwned=3">',
    "'\"`&lt;", "<!--", "]]>", "\u202eesrever", "\u2066isolated", "\x00\x07\x1b", "\n\n", "\t", "\u2028", "\ufeff",
    "{{ 7 * 7 }}", "\U0001f600", "\u05e9\u05dc\u05d5\u05dd", "</textarea></style>", "\\u003c", "a\u0301",
    "javascript:pwned=4",
]  # fmt: skip


def traced(*parts, prompts=PROMPTS, n=9, trace=None, **options):
    trace = trace or Trace(TOKENIZER)
    inputs = {**tiny.batch(prompts), "max_new_tokens": n, "generator": torch.Generator().manual_seed(3), **options}
    decoding.generate(tiny.gpt2(), **inputs, processors=parts, trace=trace)
    return trace


def evil_trace(length=20):
    """Tokens of every kind that could break a page, also as names."""
    texts = [EVIL[i % len(EVIL)] for i in range(length)]
    choices = []
    for i, text in enumerate(texts):
        tokens = tuple(
            Candidate(j, EVIL[j], (-1.0 - j, None if j == 3 else -0.5 - j), {EVIL[0]: 0.5, "score": -0.1 * j},
                      {EVIL[1]: i, "nearest": None})
            for j in (i % len(EVIL), (i + 1) % len(EVIL), (i + 2) % len(EVIL))
        )  # fmt: skip
        choices.append(
            Choice(0, i - 1 if i else None, i % len(EVIL), text, -0.1, 1 + i % 3, 1.5, tokens, {EVIL[0]: 0.5})
        )
    trace = Trace()
    prompt = [(0, EVIL[0]), (1, EVIL[6])]
    trace.calls = [Call(EVIL[0], EVIL[1], EVIL[2], {EVIL[0]: EVIL[1]}, [EVIL[0]], [prompt], choices, [length - 1])]
    return trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("traces")


@pytest.fixture
def open_trace(visit, folder):
    def open_trace(trace, name="trace.html", **options):
        (folder / name).write_text(trace.to_html(), encoding="utf-8", errors="replace")
        return visit(folder / name, **options)

    return open_trace


@pytest.fixture(scope="module")
def search():
    guide = NegativePrompt(torch.tensor([[5, 6, 7]]), gamma=1.5)
    return traced(guide, ContrastiveSearch(k=4, alpha=0.6))


@pytest.fixture(scope="module")
def reranked():
    return traced(Rerank(judges, 3, 3, 2, tokenizer=TOKENIZER), top_k=0)


def shot(page, name):
    """A picture, where SCREENSHOTS names a folder."""
    if place := os.environ.get("SCREENSHOTS"):
        Path(place).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(place) / f"trace-{name}.png", full_page=True)


def selected(page):
    return page.locator("#text [aria-selected=true]").evaluate_all("all => all.map((one) => Number(one.dataset.at))")


def show(value):
    """A number as the page writes it."""
    return f"{value:.3g}".replace("-", "\u2212")


def is_number(text, value):
    """Whether a cell says a value, in three digits."""
    try:
        return float(text.replace("\u2212", "-")) == float(f"{value:.3g}")
    except ValueError:
        return False


def test_shows_the_text_and_why(open_trace, search):
    page = open_trace(search)
    call = search.calls[0]
    assert page.locator(".token").count() == len(call.row(0))
    assert page.locator("#text").text_content() == "".join(t for _, t in call.prompts[0]) + "".join(
        choice.text or choice.token.text for choice in call.row(0)
    )
    assert selected(page) == [0]
    page.locator(".token").nth(3).click()
    choice = call.row(0)[3]
    assert selected(page) == [3]
    answer = page.locator("#answer")
    assert "Of 4 candidates it has the best score" in answer.text_content()
    rows = answer.locator("tbody tr[data-candidate]")
    assert rows.count() == len(choice.candidates)
    weighed = sorted((c for c in choice.candidates if c.terms), key=lambda c: -c.terms["score"])
    assert answer.locator("tr.chosen th").text_content().strip() == f"{choice.token.text} ✓"
    for i, candidate in enumerate(weighed):
        cells = rows.nth(i).locator("td").all_text_contents()
        for name in ("confidence", "penalty", "score"):
            assert any(is_number(cell, candidate.terms[name]) for cell in cells), (name, cells)
    assert answer.locator("thead").text_content().startswith("tokenscoreconfidencepenaltynearestmodelNegativePrompt")
    place = choice.token.places["nearest"]
    near = page.locator("#text .near")
    assert near.count() == 1
    assert near.text_content() == ([t for _, t in call.prompts[0]] + [c.text for c in call.row(0)])[place]
    assert page.locator("#decoder").text_content() == call.decoder


def test_hover_previews_and_leaving_brings_back(open_trace, search):
    page = open_trace(search)
    page.locator(".token").nth(1).click()
    pinned = page.locator("#answer").text_content()
    page.locator(".token").nth(5).hover()
    assert page.locator("#answer").text_content() != pinned
    assert "token 6 of" in page.locator("#answer").text_content()
    assert selected(page) == [1]
    page.mouse.move(5, 5)
    assert page.locator("#answer").text_content() == pinned
    rows = page.locator("#answer tbody tr[data-candidate]")
    choice = search.calls[0].row(0)[1]
    weighed = sorted((c for c in choice.candidates if c.terms), key=lambda c: -c.terms["score"])
    for i, candidate in enumerate(weighed):  # a candidate's own nearest token is framed
        rows.nth(i).hover()
        texts = [t for _, t in search.calls[0].prompts[0]] + [c.text for c in search.calls[0].row(0)]
        assert page.locator("#text .near").text_content() == texts[candidate.places["nearest"]]


def test_keyboard_reaches_everything(open_trace, search):
    page = open_trace(search, width=700)
    page.locator(".token").first.focus()
    last = len(search.calls[0].row(0)) - 1
    for key, place in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", last),
        ("ArrowRight", last),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        assert selected(page) == [place], key
        assert page.evaluate("document.activeElement.dataset.at") == str(place)
    style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "TR"
    first = page.evaluate("document.activeElement.dataset.candidate")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.candidate") != first
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.candidate") == first
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.at") == "0"
    assert page.locator("#text [tabindex='0']").count() == 1
    assert page.locator("#answer tbody [tabindex='0']").count() == 1


MIDDLE = "(() => { const box = document.activeElement.getClientRects()[0]; return (box.left + box.right) / 2; })()"
LINE = """(() => {
    const here = document.activeElement.getClientRects()[0];
    return [...document.querySelectorAll(".token")].map((one) => one.getClientRects()[0])
        .filter((box) => box && Math.abs(box.top - here.top) < here.height / 2)
        .map((box) => (box.left + box.right) / 2);
})()"""


def test_lines_are_walked_up_and_down(open_trace):
    page = open_trace(evil_trace(120), "long.html", width=900)
    page.locator(".token").nth(60).click()
    top = lambda: page.evaluate("document.activeElement.getClientRects()[0].top + scrollY")
    here = top()
    middle = page.evaluate(MIDDLE)
    page.keyboard.press("ArrowUp")
    assert top() < here
    line = page.evaluate(LINE)
    assert len(line) > 2
    assert page.evaluate(MIDDLE) == min(line, key=lambda x: abs(x - middle))  # the one above, not just any
    page.keyboard.press("ArrowDown")
    assert abs(top() - here) < 8


def test_colours_say_what_is_asked(open_trace, search):
    page = open_trace(search)
    say = "all => all.map((one) => Number(one.style.getPropertyValue('--heat')))"
    heat = lambda: page.locator(".token").evaluate_all(say)
    options = page.locator("#colour option").evaluate_all("all => all.map((one) => one.value)")
    assert options == ["none", "probability", "model", "rank", "entropy", "guide-0",
                       "term-confidence", "term-penalty", "term-score"]  # fmt: skip
    choices = search.calls[0].row(0)
    logps = torch.tensor([choice.token.logps[-1] for choice in choices])
    assert heat() == pytest.approx(logps.exp().tolist(), abs=1e-3)
    page.locator("#colour").select_option("term-penalty")
    penalties = [choice.token.terms["penalty"] for choice in choices]
    low, high = min(penalties), max(penalties)
    assert heat() == pytest.approx([(penalty - low) / (high - low) for penalty in penalties], abs=2e-3)
    assert page.locator("#legend").text_content() == show(low) + show(high)
    page.locator("#colour").select_option("guide-0")
    shifts = [choice.token.shifts[0] for choice in choices]
    assert heat() == pytest.approx([abs(shift) / max(map(abs, shifts)) for shift in shifts], abs=2e-3)
    assert page.locator(".token.less").count() == sum(shift < 0 for shift in shifts)
    backgrounds = page.locator(".token").evaluate_all("all => all.map((one) => getComputedStyle(one).backgroundColor)")
    assert len(set(backgrounds)) > 2
    page.locator("#colour").select_option("none")
    assert set(heat()) == {0}
    assert page.locator(".token.departs").count() == sum(choice.rank > 1 for choice in choices)


def test_rows_of_a_batch_and_of_several_calls(open_trace):
    trace = traced(Greedy())
    traced(ContrastiveSearch(k=3), trace=trace)
    page = open_trace(trace, "two.html")
    assert page.locator("#which optgroup").count() == 2
    assert page.locator("#which option").count() == 6
    for i, (call, row) in enumerate((call, row) for call in trace.calls for row in range(3)):
        page.locator("#which").select_option(str(i))
        assert page.locator(".token").count() == len(call.row(row))
        assert page.locator("#text .prompt").count() == len(PROMPTS[row])
        assert page.locator("#decoder").text_content() == call.decoder
    assert "take" in page.locator("#answer").text_content() or "score" in page.locator("#answer").text_content()


def test_nothing_that_a_model_wrote_does_anything(open_trace):
    trace = evil_trace()
    page = open_trace(trace, "evil.html")
    page.locator(".token").evaluate_all("all => all.forEach((one) => one.click())")
    for value in page.locator("#colour option").evaluate_all("all => all.map((one) => one.value)"):
        page.locator("#colour").select_option(value)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img, iframe, object, textarea").count() == 0
    assert page.locator("script").count() == 2
    shown = page.locator(".token").all_text_contents()
    for text in EVIL:
        if text.isprintable():
            assert text in shown, text
    assert {"U+202Eesrever", "U+2066isolated", "U+0000U+0007U+001B", "⏎\n⏎\n", "⇥", "U+2028", "U+FEFF"} <= set(shown)
    assert (
        page.locator("#text").evaluate("(text) => /[\\u202a-\\u202e\\u2066-\\u2069]/.test(text.textContent)") is False
    )
    assert page.locator("#text .prompt").first.text_content() == EVIL[0]


def test_policy_stops_scripts_and_requests(open_trace, visit, search):
    page = open_trace(search)
    blocked = page.evaluate("""async () => {
        const blocked = [];
        document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "window.pwned = 3";
        document.body.append(script);
        await fetch("https://example.invalid/z").catch(() => {});
        new Image().src = "https://example.invalid/x.png";
        await new Promise((done) => setTimeout(done, 100));
        return [blocked, window.pwned ?? null];
    }""")
    assert blocked[1] is None
    assert {"script-src-elem", "connect-src", "img-src"} <= set(blocked[0])
    visit.trouble.clear()  # each of these is said on the console


def test_tree_of_a_reranker(open_trace, reranked):
    page = open_trace(reranked, "tree.html")
    call = reranked.calls[0]
    for prompt in range(3):
        page.locator("#which").select_option(str(prompt))
        wanted = kept = 0
        for selection in call.selections:
            own = [i for i, last in enumerate(selection.choices) if call.choices[last].prompt == prompt]
            wanted += len(own)
            kept += sum(i in own for i in selection.kept)
        assert page.locator("#tree .node").count() == wanted
        assert page.locator("#tree .node.kept").count() == kept
        assert page.locator("#tree .edge").count() == wanted
        assert page.locator("#tree .node.best").count() == len(call.selections)
        labels = page.locator("#tree .node").evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
        for selection in call.selections:
            for i, last in enumerate(selection.choices):
                if call.choices[last].prompt == prompt:
                    state = "kept" if i in selection.kept else "dropped"
                    assert any(label.startswith(state) and show(selection.scores[i]) in label for label in labels)
    page.locator("#which").select_option("0")
    final = page.locator("#text").text_content()
    current = page.locator("#tree [aria-current=true]")
    assert current.count() == 1  # the text that is read is marked, and it is the one that won
    assert int(current.get_attribute("data-node")) == call.rows[0]
    assert "best" in current.get_attribute("class").split()
    dropped = page.locator("#tree .node:not(.kept)").first
    dropped.click()
    assert page.locator("#branch").is_visible()
    assert page.locator("#text").text_content() != final
    assert dropped.get_attribute("aria-label").endswith(
        "".join(page.locator(".token").all_text_contents()).replace("<eos>", "")
    )
    assert page.locator("#tree [aria-current=true]").count() == 1
    page.locator("#tree .node[tabindex='0']").focus()
    before = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") != before
    page.keyboard.press("Enter")
    assert page.locator("#branch").is_visible()
    page.locator("#which").select_option("1")
    page.locator("#which").select_option("0")
    assert not page.locator("#branch").is_visible()


def decided(guides, candidates, chosen, **options):
    """A trace of one token, chosen from candidates that are told by hand."""
    tokens = tuple(Candidate(i, text, logps, terms) for i, (text, logps, terms) in enumerate(candidates))
    choice = Choice(0, None, chosen, candidates[chosen][0], None, 1, 0.5, tokens, **options)
    trace = Trace()
    trace.calls = [Call("by hand", "none", "", {}, guides, [[(9, "so")]], [choice], [0])]
    return trace


def test_a_guide_that_forbids_or_allows_says_so_and_one_that_does_nothing_has_no_column(open_trace):
    candidates = [("A", (-0.5, None, None), {}), ("B", (-1.0, -0.4, -0.4), {}), ("C", (None, -2.0, -2.0), {})]
    page = open_trace(decided(["Ban(1)", "Idle()"], candidates, 1), "forbids.html")
    assert page.locator("#answer thead th").all_text_contents() == ["token", "model", "Ban", "after guides"]
    cells = page.locator("#answer tbody tr[data-candidate]").evaluate_all(
        "all => all.map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"
    )
    assert cells == [["B ✓", "36.8 %", "\N{MULTIPLICATION SIGN}1.82", "67 %"], ["C", "forbidden", "allows", "13.5 %"],
                     ["A", "60.7 %", "forbids", "forbidden"]]  # fmt: skip
    said = page.locator("#answer").text_content()
    assert "The model alone preferred A (60.7 %); after the guides B leads (67 %)." in said
    assert page.locator("#answer dt").all_text_contents() == ["Ban", "Idle"]
    assert page.locator("#answer dd").nth(1).text_content() == "changed nothing here"


def test_a_copy_that_takes_the_second_best_says_why(open_trace):
    candidates = [("A", (-0.5,), {"score": 0.9, "x": 0.9}), ("B", (-1.0,), {"score": 0.4, "x": 0.4})]
    for chosen in (0, 1):
        page = open_trace(decided([], candidates, chosen, weights={"x": 1.0}), "copy.html")
        said = page.locator("#answer").text_content()
        assert ("the best score" if chosen == 0 else "the 2nd best score") in said
        assert ("each copy takes another" in said) is (chosen == 1)
        assert page.locator("#answer tbody th").first.text_content().startswith("A")  # by score, whichever was taken


def test_escape_in_the_text_takes_the_frame_away(open_trace, search):
    page = open_trace(search)
    page.locator(".token").nth(3).click()
    page.mouse.move(2, 2)
    assert page.locator("#text .near").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("#text .near").count() == 0


def test_a_level_of_the_tree_is_in_the_order_of_the_scores_and_walked_by_the_arrows(open_trace, reranked):
    page = open_trace(reranked, "level.html")
    call = reranked.calls[0]
    first = call.selections[0]
    own = [i for i, last in enumerate(first.choices) if call.choices[last].prompt == 0]
    wanted = [first.choices[i] for i in sorted(own, key=lambda i: -first.scores[i])]
    nodes = page.locator("#tree .node")
    places = nodes.evaluate_all(
        "all => all.map((one) => { const box = one.querySelector('.box').getBBox(); "
        "return [box.x, box.y, Number(one.dataset.node)]; })"
    )
    left = min(x for x, _, _ in places)
    assert [node for _, _, node in sorted(one for one in places if one[0] == left)] == wanted
    focused = "Number(document.activeElement.dataset.node)"
    page.locator(f"#tree .node[data-node='{wanted[0]}']").first.focus()
    for node in wanted[1:]:
        page.keyboard.press("ArrowDown")
        assert page.evaluate(focused) == node
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == wanted[-2]


def test_of_several_texts_that_were_kept_the_best_is_the_one_in_blue(open_trace, reranked):
    trace = Trace.from_dict(reranked.to_dict())
    call = trace.calls[0]
    call.selections.pop()  # as in a call that was interrupted: the last look kept two of each prompt
    last = call.selections[-1]
    for prompt in range(len(PROMPTS)):
        own = [i for i, choice in enumerate(last.choices) if call.choices[choice].prompt == prompt]
        kept = sorted(i for i in last.kept if i in own)
        last.kept[:] = [i for i in last.kept if i not in own] + kept[::-1]
        call.rows[prompt] = last.choices[kept[-1]]
        page = open_trace(trace, "several.html")
        page.locator("#which").select_option(str(prompt))
        best = page.locator("#tree .node.best").evaluate_all("all => all.map((one) => Number(one.dataset.node))")
        assert len(kept) == 2
        assert best[-1] == last.choices[kept[1]]
        assert page.locator("#tree [aria-current=true].best").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_can_be_read(open_trace, search, scheme):
    """Text on every background that the page gives it has a contrast of at least 4.5."""
    page = open_trace(search, color_scheme=scheme)
    dark = "(() => getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)[0] < 128)()"
    assert page.evaluate(dark) is (scheme == "dark")
    for _ in range(2):
        page.locator("#theme").click()
    assert page.evaluate(dark) is True
    page.locator("#theme").click()
    for value in ("probability", "guide-0", "term-score"):
        page.locator("#colour").select_option(value)
        assert page.evaluate(CONTRAST) == [], value


CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const read = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const bad = [];
    const all = ".token, td, th, p, dt, dd, label, .chip, .mark, .prompt, .fact, .value, kbd";
    for (const element of document.querySelectorAll(all)) {
        if (!element.textContent.trim() || !element.checkVisibility()) continue;
        const layers = [];
        for (let at = element; at; at = at.parentElement) layers.push(read(getComputedStyle(at).backgroundColor));
        let back = [255, 255, 255];
        for (const [r, g, b, a] of layers.reverse()) back = back.map((c, i) => c * (1 - a) + [r, g, b][i] * a);
        const [x, y] = [light(read(getComputedStyle(element).color)), light(back)].sort((p, q) => q - p);
        const contrast = (x + 0.05) / (y + 0.05);
        if (contrast < 4.5) bad.push([element.className || element.tagName, element.textContent, contrast]);
    }
    return bad;
}"""


def test_two_traces_in_one_notebook_do_not_meet(visit, folder, search, reranked):
    """Frames with the same ids inside; each takes the theme around it, and asks for its height."""
    outputs = "".join(f"<div>{trace._repr_html_()}</div>" for trace in (search, reranked))
    page_html = (
        f"<!doctype html><body style='background: rgb(17, 17, 17)'><p id=text>the notebook's own</p>{outputs}</body>"
    )
    (folder / "notebook.html").write_text(page_html, encoding="utf-8")
    page = visit(folder / "notebook.html", width=1000)
    frames = [page.frame_locator("iframe").nth(i) for i in range(2)]
    for inner in frames:
        inner.locator("html[data-theme=dark]").wait_for()
    for inner, trace in zip(frames, (search, reranked), strict=True):
        inner.locator(".token").nth(2).click()
        assert inner.locator(".token").count() == len(trace.calls[0].row(0))
        assert inner.locator("[aria-selected=true]").get_attribute("data-at") == "2"
    assert page.locator("#text").text_content() == "the notebook's own"
    inside = [one for one in page.frames if one.parent_frame]
    heights = page.locator("iframe").evaluate_all("all => all.map((one) => one.clientHeight)")
    assert all(320 <= height <= 900 for height in heights)
    page.evaluate("document.body.style.background = 'rgb(250, 250, 250)'")
    for inner in frames:
        inner.locator("html[data-theme=light]").wait_for()
    for one in inside:
        assert one.evaluate("(() => { try { return parent.document.title } catch { return 'apart' } })()") == "apart"
    shot(page, "notebook")


def test_frame_escapes_the_page():
    assert "<script>evil" not in make_frame("<script>evil</script>")
    assert html.escape("<script>evil</script>") in make_frame("<script>evil</script>")


def test_without_scripts_there_are_the_texts(visit, folder, search):
    (folder / "plain.html").write_text(search.to_html(), encoding="utf-8")
    page = visit(folder / "plain.html", java_script_enabled=False)
    text = "".join(choice.text for choice in search.calls[0].row(1))
    assert text in page.locator("noscript").text_content()


def test_empty_and_odd_traces_load(open_trace):
    page = open_trace(Trace(), "empty.html")
    assert page.locator("#nothing").is_visible()
    assert not page.locator("#why").is_visible()
    started = Trace(TOKENIZER)
    decoding.Decoder(Greedy()).stream(tiny.gpt2(), **tiny.batch(PROMPTS), max_new_tokens=3, trace=started)
    started.calls[0].rows = [None] * 3
    page = open_trace(started, "started.html")
    assert "No token was chosen here" in page.locator("#answer").text_content()

    class Fixed(decoding.Picker):
        def __call__(self, hypotheses):
            hypotheses.append(torch.full_like(hypotheses.owners, 9))

    page = open_trace(traced(Fixed(), n=2), "fixed.html")
    assert "did not ask for the distribution" in page.locator("#answer").text_content()


def test_a_thousand_tokens_are_quick(open_trace):
    page = open_trace(evil_trace(1000), "thousand.html")
    start = time.perf_counter()
    page.locator("#colour").select_option("rank")
    page.locator(".token").nth(990).click()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    assert selected(page) == [970]
    assert time.perf_counter() - start < 30  # some tenths of a second, on a quiet machine


def test_pictures(open_trace, search, reranked):
    if not os.environ.get("SCREENSHOTS"):
        pytest.skip("no folder in SCREENSHOTS for pictures")
    for scheme in ("light", "dark"):
        for name, trace in (("search", search), ("tree", reranked), ("evil", evil_trace())):
            page = open_trace(trace, f"{name}.html", color_scheme=scheme)
            page.locator(".token").nth(3).click()
            page.mouse.move(2, 2)
            shot(page, f"{name}-{scheme}")
    page = open_trace(search, "narrow.html", width=400, height=800)
    shot(page, "narrow")
