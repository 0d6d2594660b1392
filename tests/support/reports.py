"""Made-up scores and texts for the tests of reports, awkward ones among them."""

import math
import random
from typing import Any

EVIL = '<script>window.pwned = "decoder"</script>'
METRICS = {
    "mauve": {"title": "MAUVE", "unit": "", "better": "higher", "about": "divergence frontier to the human texts"},
    "energy": {"title": "energy distance", "unit": "", "better": "lower", "about": "on MAUVE's features"},
    "diversity": {
        "title": "diversity",
        "unit": "",
        "better": "reference",
        "about": "product of 1 - rep-n, n = 2, 3, 4",
    },
    "coherence": {"title": "coherence", "unit": "", "better": "reference", "about": "mean log p, in nats"},
    "length": {"title": "length", "unit": "words", "better": None, "about": "words"},
    "seconds": {"title": "seconds", "unit": "s", "better": "lower", "about": "to make a text"},
}
ODD = "[red]a|b_c*[/red] & 50% ~^\\{}$#"
VALUES: dict[str, dict[str, float | None]] = {
    name: dict(zip(METRICS, values, strict=True))
    for name, values in {
        "greedy": (0.0812, 0.41, 0.054, -0.72, 147.3, 1.9),
        "beam 4": (None, 0.39, 0.0904, -0.61, 140.1, 5.2),
        "nucleus 0.95": (0.88, 0.056, 0.94, -2.98, 138.9, 2.0),
        "contrastive": (0.873, 0.061, 0.922, -1.62, 140.7, 2.4),
        EVIL: (0.8, 0.07, 0.85, -2.2, 120.0, 19.8),
        ODD: (0.88004, 0.0564, 0.938, -2.0, 139.0, None),
    }.items()
}
HUMAN = {"mauve": 0.951, "diversity": 0.936, "coherence": -2.86, "length": 148.8}
SEEDS = {"nucleus 0.95": [0, 1]}
WIDTHS = {"mauve": 0.01, "energy": 0.004, "diversity": 0.008, "coherence": 0.05, "length": 1.1, "seconds": 0.12}


def make_scores() -> dict[str, Any]:
    """Six systems and the humans; some numbers and intervals are missing."""
    systems = []
    for number, (name, values) in enumerate(VALUES.items()):
        mauve = values["mauve"]
        systems.append({
            "decoder": name, "seeds": SEEDS.get(name, [0]), "parameters": {"name": name, "parts": []},
            "metrics": {metric: estimate(metric, value) for metric, value in values.items() if value is not None},
            "frontier": None if mauve is None else [[0.0, 1.0], [mauve, mauve], [1.0, 0.0]],
            "isotropy": [[layer, 0.9 - layer * 0.05 - number * 0.01] for layer in range(7)] if number < 4 else None,
        })  # fmt: skip
    systems[3]["metrics"]["energy"] |= {"low": None, "high": None}
    systems[4]["metrics"]["length"] |= {"value": math.nan}
    names = list(VALUES)
    paired = [
        {"a": a, "b": b, "metric": "diversity", "difference": VALUES[a]["diversity"] - VALUES[b]["diversity"],
         "low": VALUES[a]["diversity"] - VALUES[b]["diversity"] - 0.01,
         "high": VALUES[a]["diversity"] - VALUES[b]["diversity"] + 0.01, "p": 0.02, "p_holm": 0.02 * (1 + i + j)}
        for i, a in enumerate(names) for j, b in enumerate(names) if i < j
    ]  # fmt: skip
    return {
        "task": "news <i>& more</i>",
        "signature": {"model": "SmolLM2@aa6012f9d1c4", "versions": {"torch": "2.13.0"}, "evil": "</script><b>"},
        "metrics": METRICS,
        "reference": {metric: estimate(metric, value) for metric, value in HUMAN.items()},
        "human": {"isotropy": [[layer, 0.97 - layer * 0.02] for layer in range(7)], "isotropy_by_language": None},
        "systems": systems,
        "paired": paired,
    }


def estimate(metric: str, value: float) -> dict[str, Any]:
    """A value with its interval."""
    width = WIDTHS[metric]
    return {
        "value": value,
        "low": value - width,
        "high": value + width,
        "how": "95% bootstrap over 12 prompts",
        "n": 12,
    }


WORDS = ["the", "night", "was", "dark", "and", "storm", "of", "wind", "rain", "sea", "old", "house", "lamp", "door"]
AWKWARD = [
    "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>",
    "line\u2028separator\u2029 and a half \ud83d of a pair, \0 and <!-- <script> -->",
    "İstanbul is not istanbul, and a+b (c) [d] is no pattern.* \\ really",
    "one two three four, one two three four, one two three four",
    "",
    "שלום עולם",
]


def make_generations(prompts: int = 12, decoders: list[str] | None = None) -> list[dict[str, Any]]:
    """A row for each decoder, seed and prompt; the first prompts have awkward texts."""
    draw = random.Random(0)
    rows = []
    for number in range(prompts):
        prefix = f"Prefix {number}: " + " ".join(draw.choices(WORDS, k=12))
        for name in decoders or list(VALUES):
            for seed in SEEDS.get(name, [0]):
                text = " " + " ".join(draw.choices(WORDS, k=60)) + f" {name[:4]} seed{seed}"
                if number < len(AWKWARD) and name == "contrastive":
                    text = AWKWARD[number]
                rows.append({
                    "key": f"{name}/{seed}/{number}", "decoder": name, "seed": seed, "prompt": f"news/{number}",
                    "prefix": prefix, "reference": " " + " ".join(draw.choices(WORDS, k=60)), "continuation": text,
                    "tokens": 64, "finished": seed == 0, "seconds": 2.0,
                })  # fmt: skip
    return rows
