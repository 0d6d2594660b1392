"""Continuations of a task's prompts. They are appended to JSON lines as they are made, by one or more processes."""

import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

import decoding
from decoding.models.tokenization import read_behind, without_padding
from scorers._common.files import JsonLines, read_json_lines, to_line, write_json, write_whole

from .corpora import Prompt, make_prompts
from .task import System, Task, digest, plain

ROWS = "generations.jsonl"
SETTINGS = "task.json"
FOREIGN = " is no row of a benchmark: give another folder"


@dataclass(frozen=True)
class Wanted:
    """A text to make.

    Args:
        system: the system that makes it.
        seed: the seed of its run.
        prompt: the prompt that it continues.
        key: a hash of all that it depends on.
    """

    system: System
    seed: int
    prompt: Prompt
    key: str


class Rows:
    """The rows in a folder, written by one or more processes, and the file that this process appends to.

    When this process opens its file, it cuts off a last line that a killed run left incomplete.

    Args:
        folder: the folder of the run.
        process: the number of this process.
        reads_only: nothing will be written, and another process may be writing.

    Raises:
        ValueError: a complete line is not a row, or another process writes to this process's file.
    """

    def __init__(self, folder: Path, process: int = 0, *, reads_only: bool = False) -> None:
        self.folder = folder
        self.path = folder / (ROWS if process == 0 else ROWS.replace(".", f".{process:05}."))
        self.rows: dict[str, dict[str, Any]] = {}
        self.lines = None if reads_only else JsonLines(self.path, "key", check_row, foreign=FOREIGN)
        for file in sorted(folder.glob(ROWS.replace(".", "*."))):
            own = self.lines is not None and file == self.path
            rows = self.lines.rows if self.lines and own else read_json_lines(file, check_row, foreign=FOREIGN)
            self.rows |= {row["key"]: row for row in rows}
            if self.lines and own:
                self.lines.append([])  # cuts off an incomplete last line, so that no other process reads it

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows. When this returns, they survive a kill."""
        assert self.lines is not None, "these rows are only read by now"
        self.lines.append(rows)
        self.rows |= {row["key"]: row for row in rows}

    def merge(self, rows: Iterable[dict[str, Any]], order: Sequence[str]) -> None:
        """Write one file of all rows, those of `order` first. Then remove the files of the other processes."""
        everything = self.rows | {row["key"]: row for row in rows}
        keys = [*(key for key in order if key in everything), *(key for key in everything if key not in set(order))]
        if self.lines is not None:
            self.lines.close()
        self.lines = None  # its file is replaced below
        write_whole(self.folder / ROWS, "".join(to_line(everything[key]) for key in keys))
        for file in self.folder.glob(ROWS.replace(".", ".*.")):
            file.unlink()
        self.rows = {key: everything[key] for key in keys}


def check_row(row: Any, place: str) -> dict[str, Any]:
    """The row of a line. Raises KeyError or TypeError if it is not a row."""
    row["key"], row["decoder"], row["prompt"], row["continuation"]
    return row


def processes(device: str | None = None) -> PartialState:
    """The processes of this launch, by `accelerate launch`, `torchrun` or MPI; without one of them, this process alone.

    If there are only CPUs, accelerate must be told so. Otherwise each process would take itself for the only one. At
    the end, processes wait for each other for as long as it takes.
    """
    return PartialState(cpu=device == "cpu" or not torch.accelerator.is_available(), timeout=timedelta(days=30))


def generate(
    task: Task, folder: Path, model: Any, tokenizer: Any, *, batch_size: int = 16, show: Any = None
) -> list[dict[str, Any]]:
    """Make the texts of a task that a folder lacks, and return all of them in the task's order.

    Under `accelerate launch` each process makes its share, and the first process puts them into one file. Every text
    has random numbers of its own. It does not depend on its batch, on the number of processes, or on the texts that
    were there before.

    Args:
        task: what to make.
        folder: an existing folder.
        model: as `decoding.load` returns it.
        tokenizer: as `decoding.load` returns it.
        batch_size: prompts at a time.
        show: a function that is called with (made, all) after each batch, in the first process.

    Raises:
        ValueError: the folder is of another task or model, or the model does not support a part.
    """
    state = processes()
    prompts = make_prompts(task.corpus.texts, tokenizer, task.prefix_tokens, task.new_tokens, task.prompts)
    origin = describe(task, model)
    with state.main_process_first():
        rows = Rows(folder, state.process_index)
        wanted = list(plan(task, prompts, origin))
        if state.is_main_process:
            settle(folder, task, origin, [one.key for one in wanted], bool(rows.rows))
    done = {key for keys in gather_object([set(rows.rows)]) for key in keys}
    batches = list(batch(wanted, done, batch_size))
    parts = {system.name: system.build(model, tokenizer) for system in task.decoders}
    # each system makes a token now, so that errors do not come hours later
    for first in {chosen[0].system.name: chosen[0] for chosen in batches}.values():
        rehearse(task, first, parts[first.system.name], model, tokenizer)
    for number, chosen in enumerate(batches[state.process_index :: state.num_processes]):
        rows.append(continue_batch(task, chosen, parts[chosen[0].system.name], model, tokenizer, origin))
        if show and state.is_main_process:
            show(min((number + 1) * state.num_processes, len(batches)), len(batches))
    own = [row for row in rows.rows.values() if row["key"] not in done]
    made = gather_object(own) if state.num_processes > 1 else own
    state.wait_for_everyone()
    order = [one.key for one in wanted]
    if state.is_main_process:
        rows.merge(made, order)
    state.wait_for_everyone()
    everything = rows.rows | {row["key"]: row for row in made}
    return [everything[key] for key in order if key in everything]


def plan(task: Task, prompts: Sequence[Prompt], origin: dict[str, Any]) -> Iterator[Wanted]:
    """Yield every text of a task. A system that does not draw has one run."""
    for system in task.decoders:
        for seed in task.seeds if system.draws else task.seeds[:1]:
            for prompt in prompts:
                parts = [origin["model"], origin["dtype"], plain(system), task.new_tokens, prompt.key, seed]
                yield Wanted(system, seed, prompt, digest(parts))


def batch(wanted: Iterable[Wanted], done: set[str], size: int) -> Iterator[list[Wanted]]:
    """Yield the texts still to be made, in batches of one system and seed and of similar lengths, the longest first.

    The systems take turns, so that a stopped run has texts of all of them, of the same prompts.
    """
    groups: dict[tuple[str, int], list[Wanted]] = {}
    for one in wanted:
        if one.key not in done:
            groups.setdefault((one.system.name, one.seed), []).append(one)
    for group in groups.values():
        group.sort(key=lambda one: -one.prompt.tokens)
    cut = [[group[start : start + size] for start in range(0, len(group), size)] for group in groups.values()]
    yield from (chosen for turn in zip_longest(*cut) for chosen in turn if chosen)


def rehearse(task: Task, one: Wanted, parts: list[Any], model: Any, tokenizer: Any) -> None:
    """Make one token with a system, so that every refusal comes before any text is made.

    Raises:
        ValueError: `generate` does not have an option or cannot obey it, or the model does not support a part. The
            message names the system.
    """
    try:
        continue_batch(task, [one], parts, model, tokenizer, {}, stopping_criteria=[stop])
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(f"decoder {one.system.name!r}: {error}") from error


def stop(tokens: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
    """A stopping criterion that stops every row."""
    return torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)


def continue_batch(
    task: Task,
    chosen: Sequence[Wanted],
    parts: list[Any],
    model: Any,
    tokenizer: Any,
    origin: dict[str, Any],
    **more: Any,
) -> list[dict[str, Any]]:
    """Make the rows of a batch in one call. `more` are further options of `generate`."""
    system = chosen[0].system
    inputs = tokenizer([one.prompt.prefix for one in chosen], return_tensors="pt", padding=True).to(model.device)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    options: dict[str, Any] = {"do_sample": False, "num_beams": 1, **system.options, **more}
    if system.draws:
        options |= {"do_sample": True}
        options["generator"] = [torch.Generator(model.device).manual_seed(seed_of(one)) for one in chosen]
    start = time.perf_counter()
    out = decoding.generate(
        model,
        ids,
        attention_mask=mask,
        processors=parts,
        max_new_tokens=task.new_tokens,
        **options,
    )
    seconds = (time.perf_counter() - start) / len(chosen)
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    heads = without_padding(ids, mask)
    news = [until(row[ids.shape[1] :], ends) for row in out.tolist()]
    texts = read_behind(tokenizer, heads, news)
    return [
        {
            "key": one.key, "task": task.name, "decoder": system.name, "seed": one.seed, "prompt": one.prompt.id,
            "prefix": one.prompt.prefix, "reference": one.prompt.reference, "continuation": text, "tokens": len(new),
            "finished": bool(new) and new[-1] in ends, "seconds": round(seconds, 4), "batch": len(chosen),
            "language": one.prompt.language, **origin,
        }
        for one, new, text in zip(chosen, news, texts, strict=True)
    ]  # fmt: skip


def until(tokens: list[int], ends: set[int]) -> list[int]:
    """The tokens up to and including the first that ends a text."""
    return tokens[: next((i + 1 for i, token in enumerate(tokens) if token in ends), None)]


def seed_of(one: Wanted) -> int:
    """The seed of a text's own random numbers."""
    return int.from_bytes(hashlib.sha256(f"{one.seed}/{one.prompt.key}".encode()).digest()[:8])


def describe(task: Task, model: Any) -> dict[str, Any]:
    """What every row says of its origin. `config` is a hash of the task."""
    packages = ("torch", "transformers", "decoding-toolkit")
    return {
        "model": f"{Path(model.config.name_or_path).name}@{weights_of(model)}",
        "dtype": str(model.dtype).removeprefix("torch."),
        "config": task.hash,
        "versions": {name: version(name) for name in packages if installed(name)}
        | {"python": platform.python_version()},
        "commit": commit(),
    }


def weights_of(model: Any) -> str:
    """The first 12 hexadecimal digits of a hash of the weights."""
    hashed = hashlib.blake2b(digest_size=6)
    for name, value in sorted(model.state_dict().items()):
        hashed.update(name.encode())
        hashed.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def installed(name: str) -> bool:
    """Whether a distribution is installed."""
    try:
        version(name)
    except ImportError:
        return False
    return True


def commit() -> str | None:
    """The commit of the source tree that has this file. None if the file is outside one."""
    call = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def settle(folder: Path, task: Task, origin: dict[str, Any], keys: list[str], there: bool) -> None:
    """Write the settings of the folder.

    Raises ValueError if the folder is of another corpus, other lengths or another model.
    """
    lengths = {name: getattr(task, name) for name in ("prefix_tokens", "new_tokens")}
    settings = {**lengths, "corpus": plain(task.corpus), "model": origin["model"], "dtype": origin["dtype"]}
    file = folder / SETTINGS
    known = json.loads(file.read_text()) if file.exists() else None
    if there and known is not None:
        for name, value in settings.items():
            if known.get("of", {}).get(name) != json.loads(json.dumps(value)):
                raise ValueError(f"{folder} holds texts of another {name}: give another --output")
    asked = {"prompts": task.prompts, "seeds": list(task.seeds), "decoders": plain(task.decoders), "keys": keys}
    write_json(file, {"task": task.name, "of": settings, **asked, **origin})
