"""Read prompts from files. Nothing heavy is imported, so that a bad file is refused at once."""

import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Prompt:
    """A text to continue, and the id of its record."""

    id: int | str
    text: str

    def check(self, place: str) -> None:
        """Raise ValueError if UTF-8 cannot encode it, because the file it was read from is not UTF-8."""
        try:
            f"{self.id}{self.text}".encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{place}: not valid UTF-8") from error


def read_prompts(lines: Iterable[str], name: str) -> list[Prompt]:
    """Read a prompt from every line of `name` that is not blank.

    The lines are JSON objects, with "prompt" and perhaps "id", if the name ends in .jsonl or .json or if any line is
    such an object. Otherwise they are plain text. A prompt without an id gets the number of prompts before it.

    Raises:
        ValueError: a line has no prompt, an id comes twice, or there are no prompts. The message has the line, from 1.
    """
    numbered = [(number, line.rstrip("\n")) for number, line in enumerate(lines, 1) if line.strip()]
    is_json = name.endswith((".jsonl", ".json")) or any(is_prompt_object(line) for _, line in numbered)
    found: dict[int | str, Prompt] = {}
    for index, (number, line) in enumerate(numbered):
        place = f"{name}, line {number}"
        prompt = parse_prompt(line, index, place) if is_json else Prompt(index, line)
        prompt.check(place)
        if prompt.id in found:
            raise ValueError(f"{place}: the id {prompt.id!r} comes twice")
        found[prompt.id] = prompt
    if not found:
        raise ValueError(f"no prompts in {name}")
    return list(found.values())


def is_prompt_object(line: str) -> bool:
    """Whether a line is a JSON object with "prompt"."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and "prompt" in entry


def parse_prompt(line: str, index: int, place: str) -> Prompt:
    """The prompt on a line of JSON."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise ValueError(f"{place}: not JSON that can be read: too deep") from error
    text = entry.get("prompt") if isinstance(entry, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'{place}: needs a "prompt" that is a text and not empty')
    key = entry.get("id", index)
    if isinstance(key, bool) or not isinstance(key, (int, str)):
        raise ValueError(f"{place}: the id must be a number or a text, not {json.dumps(key)}")
    return Prompt(key, text)
