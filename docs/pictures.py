"""The pictures of the documentation: `python docs/pictures.py [NAME ...]` makes all of them, or those that are named.

Each comes from a run of the embedded model, but for `report`, which shows benchmarks/results/comparison. Make a picture
again when what it shows has changed. All of them take a few minutes on two cores. `trace` and `report` are pages in a
browser: they need playwright, and Chromium, whose path the variable CHROMIUM may name.

They are kept in docs/explanation/pictures (drawings) and docs/pictures (pages).
"""

import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from PIL import Image

import decoding
import scorers
from benchmarks.metrics.diversity import rep
from benchmarks.metrics.likelihood import coherence, log_likelihoods
from benchmarks.report.build import html

FOLDER = Path(__file__).parent / "explanation" / "pictures"
PAGES = Path(__file__).parent / "pictures"
COMPARISON = Path(__file__).parents[1] / "benchmarks" / "results" / "comparison" / "summary.json"
BLUE, RED, GREY, GREEN = "#2757dd", "#c8442c", "#8a8f98", "#2e8b57"
PROMPTS = ["The night was", "My neighbour keeps bees because", "The old house on the hill", "In the deep sea",
           "The history of the town", "She opened the letter and"]  # fmt: skip


def contrastive(model: Any, tokenizer: Any) -> None:
    """Confidence, penalty and score of the candidates, at the beginning of a text and where a loop begins."""
    texts = ["The night was", "The night was dark. The night was dark. The night was"]
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained")
    for axis, text in zip(axes, texts, strict=True):
        words, p, penalty = candidates(model, tokenizer, text, k=5)
        gains, losses = 0.4 * p, 0.6 * penalty
        scores = gains - losses
        axis.barh(words, gains, color=BLUE, label="0.4 p")
        axis.barh(words, -losses, color=RED, alpha=0.55, label="-0.6 penalty")
        axis.plot(scores, words, "k|", markersize=13, label="score")
        best = int(scores.argmax())
        axis.annotate("chosen", (0.16, best), va="center", ha="left", fontsize=9)
        axis.set(xlim=(-0.65, 0.3), title=shorten(text))
        axis.invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    save(figure, "contrastive")


@torch.no_grad()
def candidates(model: Any, tokenizer: Any, text: str, k: int) -> tuple[list[str], torch.Tensor, torch.Tensor]:
    """The k most probable tokens: what they say, their p (k,), and the penalty of each (k,)."""
    ids = tokenizer(text, return_tensors="pt").input_ids
    p, tokens = model(ids).logits[0, -1].softmax(-1).topk(k)
    ahead = torch.cat([ids.expand(k, -1), tokens[:, None]], 1)
    states = F.normalize(model(ahead, output_hidden_states=True).hidden_states[-1], dim=-1)
    penalty = (states[:, :-1] @ states[:, -1:].mT).amax((1, 2))
    return [tokenizer.decode(token) for token in tokens], p, penalty


def alpha(model: Any, tokenizer: Any) -> None:
    """What alpha does to six texts of 48 tokens: the part of the 4-grams that is new, and mean log p."""
    values = [0, 0.2, 0.4, 0.6, 0.8, 1]
    inputs = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    new, likely = [], []
    for value in values:
        search = decoding.ContrastiveSearch(k=5, alpha=value)
        output = decoding.generate(model, **inputs, processors=[search], max_new_tokens=48, min_new_tokens=48)
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :])
        new.append(1 - rep(texts, 4).value)
        likely.append(coherence(log_likelihoods(model, tokenizer, PROMPTS, texts)).value)
    figure, axis = plt.subplots(figsize=(5, 2.8), layout="constrained")
    other = axis.twinx()
    axis.plot(values, new, "o-", color=BLUE)
    other.plot(values, likely, "s--", color=RED)
    axis.set(xlabel="alpha, at k = 5", ylim=(0, 1.05))
    axis.set_ylabel("part of the 4-grams that are new", color=BLUE)
    other.set_ylabel("mean log p of a token, nats", color=RED)
    save(figure, "alpha")


@torch.no_grad()
def next_log_p(model: Any, tokenizer: Any, text: str) -> torch.Tensor:
    """(V,) log-probabilities of the token after a text."""
    return model(tokenizer(text, return_tensors="pt").input_ids).logits[0, -1].log_softmax(-1)


def debias(model: Any, tokenizer: Any) -> None:
    """Without evidence, with it, and debiased: alpha = 1, beta = 0.1."""
    question, story = "The sky is", "The sky is green in this story. "
    with_it = next_log_p(model, tokenizer, story + question)
    without = next_log_p(model, tokenizer, question)
    scores = 2 * with_it - without
    scores[with_it < with_it.max() + torch.tensor(0.1).log()] = -torch.inf
    debiased = scores.log_softmax(-1)
    rows = {"without the evidence": without, "with it": with_it, "debiased": debiased}
    tokens = list(dict.fromkeys(int(i) for row in (with_it, without, debiased) for i in row.topk(4).indices))
    figure, axis = plt.subplots(figsize=(6.5, 2.6), layout="constrained")
    for i, ((name, row), colour) in enumerate(zip(rows.items(), (GREY, BLUE, GREEN), strict=True)):
        places = [place + (i - 1) * 0.27 for place in range(len(tokens))]
        axis.bar(places, row[tokens].exp(), 0.25, label=name, color=colour)
    axis.set_xticks(range(len(tokens)), [tokenizer.decode(token) for token in tokens])
    axis.set(ylabel="probability", title=f"{story}{question} ...")
    axis.legend(frameon=False)
    save(figure, "debias")


def negative(model: Any, tokenizer: Any) -> None:
    """The probabilities of the next token as gamma moves away from a negative prompt."""
    prompt = "Her friends say that she is very"
    main = next_log_p(model, tokenizer, prompt)
    other = next_log_p(model, tokenizer, "She is rude and nobody likes her. " + prompt)
    gammas = torch.linspace(0, 3, 31)
    p = torch.stack([(other + gamma * (main - other)).softmax(-1) for gamma in gammas])  # (31, V)
    tokens = p[[0, 10, 15, 30]].topk(2).indices.flatten().unique()
    figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
    for token in tokens:
        axis.plot(gammas, p[:, token], label=tokenizer.decode(token))
    axis.axvline(1, color=GREY, linestyle=":")
    axis.annotate("the prompt alone", (1.03, float(p.max()) * 0.97), fontsize=8, color=GREY)
    axis.set(xlabel="gamma", ylabel="probability", title=f"{prompt} ...")
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, "negative")


def plausible(model: Any, tokenizer: Any) -> None:
    """What the difference to an amateur prefers, and what the mask leaves: the amateur reads the last word alone."""
    text = "The ship left the harbour at dawn, and by noon the crew could no longer see the"
    main, amateur = next_log_p(model, tokenizer, text), next_log_p(model, tokenizer, " the")
    difference = main - amateur
    bound = float(main.max()) + float(torch.tensor(0.1).log())
    few = torch.cat([main.topk(60).indices, difference.topk(40).indices, torch.arange(0, len(main), 500)]).unique()
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    axis.scatter(main[few], difference[few], s=7, color=GREY)
    kept = [int(token) for token in few if main[token] >= bound]
    axis.scatter(main[kept], difference[kept], s=14, color=BLUE)
    axis.axvline(bound, color=RED, linestyle="--")
    axis.annotate("beta = 0.1 ", (bound, float(difference[few].min())), color=RED, fontsize=8, ha="right")
    best = max(kept, key=lambda token: float(difference[token]))
    for token, label, height in ((int(difference.argmax()), "without the mask: ", 7), (best, "with it: ", -13)):
        place = (float(main[token]), float(difference[token]))
        axis.plot(*place, "o", color=RED, markerfacecolor="none")
        word = label + repr(tokenizer.decode(token)).replace("$", "")
        axis.annotate(word, place, xytext=(0, height), textcoords="offset points", fontsize=8, ha="right")
    axis.set(xlabel="log p of the model", ylabel="log p - log p of the amateur", title=shorten(text))
    save(figure, "plausible")


def rerank(model: Any, tokenizer: Any) -> None:
    """A search of four segments, by the ranker: what was drawn, and which went on."""
    search = decoding.Rerank(scorers.Ranker.from_pretrained(), every=8, samples=4, beams=2)
    inputs = tokenizer("The old sailor had lost his ship in a storm, and", return_tensors="pt")
    found = decoding.generate(
        model, **inputs, processors=[search], top_k=0, top_p=0.95, max_new_tokens=32, min_new_tokens=32,
        generator=torch.Generator().manual_seed(1), return_dict_in_generate=True,
    )  # fmt: skip
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    before: list[tuple[int, str, float]] = []
    for number, round in enumerate(found.rounds, 1):
        kept = round.kept if number < len(found.rounds) else round.kept[:1]
        for i, (text, score) in enumerate(zip(round.texts, round.scores.tolist(), strict=True)):
            for x, start, y in before:
                if text.startswith(start):
                    axis.plot([x, number], [y, score], color=BLUE if i in kept else "#d5d8dd", zorder=1 + (i in kept))
                    break
            axis.plot(number, score, "o", color=BLUE if i in kept else GREY, markersize=6 if i in kept else 4, zorder=3)
        before = [(number, round.texts[i], float(round.scores[i])) for i in kept]
    lengths = [round.length for round in found.rounds]
    axis.set_xticks(range(1, len(lengths) + 1), [f"{length} tokens" for length in lengths])
    axis.set(ylabel="score", title="blue: went on; grey: dropped")
    save(figure, "rerank")


def trace(model: Any, tokenizer: Any) -> None:
    """The page of a trace: contrastive search, at the first token that is not the most probable one."""
    inputs, told = tokenizer("The night was", return_tensors="pt"), decoding.Trace(tokenizer)
    search = decoding.ContrastiveSearch(k=5, alpha=0.6)
    decoding.generate(model, **inputs, processors=[search], max_new_tokens=64, trace=told)
    turned = next(i for i, choice in enumerate(told.calls[0].row()) if choice.rank != 1)
    with tempfile.TemporaryDirectory() as folder:
        told.save(Path(folder) / "trace.html")
        photograph(Path(folder) / "trace.html", "trace", 640, ["ArrowRight"] * turned)


def report(model: Any, tokenizer: Any) -> None:
    """The page of a benchmark: the upper part of the table of eleven systems. No model is read."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(html(json.loads(COMPARISON.read_text(encoding="utf-8")), []), encoding="utf-8")
        photograph(page, "report", 780, [])


def photograph(page: Path, name: str, height: int, keys: list[str]) -> None:
    """A page as it looks in Chromium, 1,100 pixels wide, in 256 colours, which keeps the file small."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1100, "height": height})
        view.goto(page.as_uri())
        if keys:
            view.locator("#text [tabindex='0']").focus()
        for key in keys:
            view.keyboard.press(key)
        taken = Image.open(io.BytesIO(view.screenshot(animations="disabled")))
        browser.close()
    PAGES.mkdir(exist_ok=True)
    taken.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        PAGES / f"{name}.png", optimize=True
    )
    print(PAGES / f"{name}.png")


def shorten(text: str) -> str:
    """The end of a text, for a title."""
    return text if len(text) <= 48 else "... " + text[-44:].partition(" ")[2]


def save(figure: Any, name: str) -> None:
    """As SVG, without a date, so that the same picture is the same file."""
    FOLDER.mkdir(exist_ok=True)
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    print(FOLDER / f"{name}.svg")


PICTURES: list[Callable[[Any, Any], None]] = [contrastive, debias, negative, plausible, rerank, alpha, trace, report]

if __name__ == "__main__":
    matplotlib.use("svg")
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "decoding", "font.size": 9,
                         "axes.spines.top": False, "axes.spines.right": False})  # fmt: skip
    loaded = decoding.load()
    for picture in PICTURES:
        if picture.__name__ in (sys.argv[1:] or [p.__name__ for p in PICTURES]):
            picture(*loaded)
