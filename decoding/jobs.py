"""Prompts from files, their continuations in batches, and a results file that an interrupted run goes on with.

torch and transformers are imported where they are needed, so that what is wrong with a file is said at once.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Prompt:
    """A text to continue, and the id that its result goes by."""

    id: int | str
    text: str

    def check(self, place: str) -> None:
        """Raise ValueError where there is nothing to continue, or nothing that can be written as UTF-8."""
        if not self.text.strip():
            raise ValueError(f"{place}: the prompt is empty")
        for text in (self.text, str(self.id)):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"{place}: {text!r} is not valid Unicode") from error


def read_prompts(lines: Iterable[str], name: str) -> list[Prompt]:
    """A prompt for every line of `name` that is not blank.

    The lines are JSON objects, with "prompt" and perhaps "id", if the name ends in .jsonl or .json or if any line is
    such an object; else plain text. Where no id is given, it is the line's number from 0.

    Raises:
        ValueError: a line that is no prompt, an id given twice, or no prompts at all; with the line's number from 1.
    """
    numbered = [(number, line.rstrip("\r\n")) for number, line in enumerate(lines) if line.strip()]
    is_json = name.endswith((".jsonl", ".json")) or any(is_prompt_object(line) for _, line in numbered)
    found: dict[int | str, Prompt] = {}
    for number, line in numbered:
        place = f"{name}:{number + 1}"
        prompt = parse_prompt(line, number, place) if is_json else Prompt(number, line)
        prompt.check(place)
        if prompt.id in found:
            raise ValueError(f"{place}: id {prompt.id!r} is there twice")
        found[prompt.id] = prompt
    if not found:
        raise ValueError(f"{name}: no prompts in it")
    return list(found.values())


def is_prompt_object(line: str) -> bool:
    """Whether a line is a JSON object with "prompt"."""
    try:
        return "prompt" in parse_object(line, "")
    except ValueError:
        return False


def parse_prompt(line: str, number: int, place: str) -> Prompt:
    """The prompt of a JSON line."""
    entry = parse_object(line, place)
    if not isinstance(entry.get("prompt"), str):
        raise ValueError(f'{place}: "prompt" is missing, or is no string')
    key = entry.get("id", number)
    if isinstance(key, bool) or not isinstance(key, (int, str)):
        raise ValueError(f'{place}: "id" must be a string or a whole number, not {json.dumps(key)}')
    return Prompt(key, entry["prompt"])


def parse_object(line: str | bytes, place: str) -> dict[str, Any]:
    """The JSON object that a line is."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: not JSON: {error.msg} at column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{place}: not UTF-8") from error
    if not isinstance(entry, dict):
        raise ValueError(f"{place}: not a JSON object")
    return entry


def in_batches(prompts: Sequence[Prompt], size: int) -> Iterator[Sequence[Prompt]]:
    """Runs of `size` prompts; always of the complete list, so that a row meets the same neighbours in every run."""
    for start in range(0, len(prompts), size):
        yield prompts[start : start + size]


def seed_of_batch(seed: int, batch: int) -> int:
    """The first 8 bytes of SHA-256 of "seed/batch": each batch draws alone, whichever batches were drawn before it.

    A hash, for torch's generator on the CPU keeps only the low 32 bits: seed * 2**32 + batch would forget the seed.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{batch}".encode()).digest()[:8])


@dataclass(frozen=True)
class Continuation:
    """What a model made of a prompt; `text` has the prompt before it, where the model continues it."""

    text: str
    continuation: str
    tokens: int  # new ones, the end-of-sequence token included and padding not
    finished: bool  # by an end-of-sequence token


def continue_texts(model: Any, tokenizer: Any, texts: Sequence[str], **options: Any) -> list[Continuation]:
    """One batch through `decoding.generate` with its `options`."""
    from . import generate

    encoded = tokenizer(list(texts), return_tensors="pt", padding=True).to(model.device)
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}  # no token_type_ids: most models balk
    output = generate(model, **inputs, **options).tolist()
    prompts = [ids[mask.bool()].tolist() for ids, mask in zip(*inputs.values(), strict=True)]
    start = encoded["input_ids"].shape[1]
    if model.config.is_encoder_decoder:  # its output is the answer alone, after one token that starts the decoder
        prompts, start = [[] for _ in prompts], 1
    ends = model.generation_config.eos_token_id
    ends = set(ends) if isinstance(ends, list) else {ends}
    return [describe(tokenizer, prompt, row[start:], ends) for prompt, row in zip(prompts, output, strict=True)]


def describe(tokenizer: Any, prompt: list[int], new: list[int], ends: set[int]) -> Continuation:
    """A row's token ids as text."""
    length = next((i + 1 for i, token in enumerate(new) if token in ends), None)
    new = new[:length]
    before, text, after = (tokenizer.decode(ids, skip_special_tokens=True) for ids in (prompt, prompt + new, new))
    # SentencePiece drops the space that a continuation on its own begins with
    continuation = text[len(before) :] if text.startswith(before) else after
    return Continuation(text, continuation, len(new), length is not None)


class Results:
    """A JSONL file that grows batch by batch; opened again by the same job, it knows what it has.

    Nothing is written before `append`, which first cuts off what a killed run left of its last line.

    Args:
        path: the file, there or not.
        prompts: the whole job.
        origin: what every line was made with: decoder, model, seed and settings.

    Raises:
        ValueError: the file holds anything that this job would not have written.
    """

    def __init__(self, path: Path, prompts: Sequence[Prompt], origin: dict[str, Any]) -> None:
        self.path, self.origin = path, origin
        self.texts = {prompt.id: prompt.text for prompt in prompts}
        self.done: set[int | str] = set()
        data = path.read_bytes() if path.exists() else b""
        *lines, torn = data.split(b"\n")
        self.end = len(data) - len(torn)
        for number, line in enumerate(lines, 1):
            self.done.add(self._check(line, f"{path}:{number}"))
        if torn and not is_beginning(torn):  # then the line is whole, or not ours to cut off
            self._check(torn, f"{path}:{len(lines) + 1}")

    def append(self, results: Sequence[dict[str, Any]]) -> None:
        """Write a line for each; when this returns they are with the system, where a kill does not take them."""
        with self.path.open("ab") as file:
            file.truncate(self.end)
            self.end += file.write("".join(map(to_line, results)).encode())
        self.done.update(result["id"] for result in results)

    def _check(self, line: bytes, place: str) -> int | str:
        """The id of a line that this job wrote."""
        entry = parse_object(line, place)
        key = entry.get("id")
        if not isinstance(key, (int, str)) or key not in self.texts:
            raise ValueError(f"{place}: no prompt has its id, {key!r}: give another --output")
        if key in self.done:
            raise ValueError(f"{place}: id {key!r} is there twice")
        found = flat(entry)
        for name, value in flat({"prompt": self.texts[key], **self.origin}).items():
            if found.get(name) != value:
                have, want = f"{found.get(name)!r:.60}", f"{value!r:.60}"
                raise ValueError(f"{place}: made with {name} {have}, not {want}: give another --output")
        return key


def is_beginning(line: bytes) -> bool:
    """Whether this is what is left of a result when its writing was cut short."""
    start = b'{"id": '
    try:
        return not json.loads(line)
    except ValueError:
        return line.startswith(start[: len(line)])


def flat(entry: dict[str, Any]) -> dict[str, Any]:
    """The settings beside what they stand beside, so that a difference has a name."""
    settings = entry.get("settings")
    return {**entry, "settings": None, **settings} if isinstance(settings, dict) else entry


def to_line(result: dict[str, Any]) -> str:
    """JSON on one line, with its newline."""
    return json.dumps(result, ensure_ascii=False) + "\n"
