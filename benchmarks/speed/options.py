"""What the commands that measure speed can be told. Nothing heavy is imported here: `--help` must be quick."""

from dataclasses import dataclass
from pathlib import Path

from scorers._common.options import option
from scorers._common.ranges import at_least

RESULTS = "speed.json"
METHODS = ["plain", "contrastive", "guide", "steer", "rerank"]


@dataclass
class Speed:
    """Time, memory and forwards of all methods beside their peers."""

    output: Path = option("for speed.json, speed.md and speed.svg", "FOLDER", required=True)
    model: str | None = option("a hub id or a folder", "NAME", default="the embedded one")
    dtype: str = option("of the weights", value="float32", choices=("float64", "float32", "bfloat16"))
    contexts: list[int] = option("tokens of a prompt", "N...", value=[32, 512, 1500], range=at_least(1))
    batches: list[int] = option("prompts at a time", "N...", value=[1, 8], range=at_least(1))
    k: list[int] = option("of contrastive search", "K...", value=[4, 5, 8], range=at_least(1))
    methods: list[str] = option("what to measure", value=METHODS, choices=METHODS, default="all")
    second: int | None = option(
        "tokens of a guide's second prompt", "N", default="as many as the first has", range=at_least(1)
    )
    new_tokens: int = option("tokens that each call makes", "N", value=24, range=at_least(2))
    rounds: int = option("calls of each method", "N", value=7, range=at_least(1))
    threads: int | None = option(
        "threads of PyTorch; 1 is timed by its own work alone", "N", default="what PyTorch takes", range=at_least(1)
    )
    plain: bool = option("without packed weights", value=False)
    quick: bool = option("a look: context 32, batch 1, k 5, 3 rounds, 8 tokens, no reranking", value=False)


@dataclass
class SecondPrompts:
    """What a second prompt costs, by the lengths of the two, in one forward or in two."""

    model: str | None = option("a hub id or a folder", "NAME", default="the embedded one")
    lengths: list[int] = option(
        "tokens of the two prompts; may repeat", "N N", value=[], default="five pairs", range=at_least(1)
    )
    batch: list[int] = option("rows", "N...", value=[1, 8], range=at_least(1))
    new_tokens: int = option("tokens a row", "N", value=24, range=at_least(1))
    rounds: int = option("calls of each way", "N", value=5, range=at_least(1))

    def __post_init__(self) -> None:
        """Raise ValueError for a prompt without a second one."""
        if len(self.lengths) % 2:
            raise ValueError(f"--lengths takes two numbers, not {' '.join(map(str, self.lengths))}")

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The lengths, two by two."""
        return list(zip(self.lengths[::2], self.lengths[1::2], strict=True))


@dataclass
class Reranking:
    """Segment reranking beside the algorithm that was released with RankGen.

    The peer is written from its description: for each prompt and each hypothesis, text and all, the tokenizer and the
    model read everything again, and the cache is thrown away. Same model, same number of tokens, same scorer, in one
    run, where the two take turns. Times are of one machine in one hour: compare their ratio, and the positions read.
    The defaults are the paper's.
    """

    model: str | None = option("a hub id or a folder", "NAME", default="the embedded one")
    scorer: str = option("what judges; overlap costs next to nothing", value="overlap", choices=("overlap", "ranker"))
    prefix: int = option("prompt tokens", "N", value=256, range=at_least(1))
    prompts: int = option("ours reads them together, the released one by one", "N", value=1, range=at_least(1))
    every: int = option("tokens to a segment", "N", value=20, range=at_least(1))
    samples: int = option("continuations of each hypothesis", "N", value=10, range=at_least(1))
    beams: int = option("hypotheses kept", "N", value=2, range=at_least(1))
    new_tokens: int = option("tokens of each text", "N", value=120, range=at_least(1))
    rounds: int = option("of both ways", "N", value=3, range=at_least(1))
    clock: str = option(
        "cpu: the processor's seconds, of all threads, for a machine that is busy",
        value="wall",
        choices=("wall", "cpu"),
    )
    json: bool = option("print one JSON object, with the seconds of every round", value=False)
