"""Examples from files, to train an expert and to start STEER from."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from scorers._common.files import is_json_lines, read_lines

# An example is a text; or {"prompt": text, "completion": text}; or a chat, {"messages": [...]} or {"prompt": [...],
# "completion": [...]}, of turns {"role": text, "content": text}. These are the data formats of trl's SFTTrainer.
Example = str | Mapping[str, Any]
Kind = TypeVar("Kind", bound=Example)


def read_examples(path: Path, field: str = "text") -> list[str]:
    """Read one text from each line that is not blank: the `field` of a JSON object, or else the line itself.

    The lines are JSON if the name ends in .jsonl or .json (before .gz), or if the first line is a JSON object with
    `field`. A file whose name ends in .gz is unpacked.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line has no text, the file is not UTF-8, or it has no texts at all.
    """
    return parse_lines(path, lambda line: text_of(line, field), f'a "{field}" that is a text')


def read_training_examples(path: Path, field: str = "text") -> list[Example]:
    """Read one example from each line that is not blank, in any form of `Example`. See `read_examples` for the file.

    An object that has `field` is a plain text, whatever else it has. Only the entries that belong to an example are
    kept.

    Raises:
        OSError, ValueError: as in `read_examples`.
    """
    wanted = f'a "{field}" that is a text, or "messages", or "prompt" and "completion"'
    return parse_lines(path, lambda line: example_of(line, field), wanted)


def parse_lines(path: Path, parse: Callable[[str], Any], wanted: str) -> list[Any]:
    """Parse each line of JSON with `parse`, or return plain lines. `wanted` says what an object must have."""
    lines = [(place, line.strip()) for _, place, line in read_lines(path)]
    if not lines:
        raise ValueError(f"no examples in {path}")
    if not is_json_lines(path) and parse(lines[0][1]) is None:
        return [line for _, line in lines]
    found = []
    for place, line in lines:
        if (example := parse(line)) is None:
            raise ValueError(f"{place}: needs a JSON object with {wanted}")
        found.append(example)
    return found


def text_of(line: str, field: str) -> str | None:
    """The `field` of a JSON object on a line, or None."""
    text = object_of(line).get(field)
    return text.strip() if isinstance(text, str) and text.strip() else None


def example_of(line: str, field: str) -> Example | None:
    """The example in a JSON object on a line, or None."""
    if text := text_of(line, field):
        return text
    entry = object_of(line)
    if is_chat(entry.get("messages")):
        return {"messages": turns(entry["messages"])}
    prompt, completion = entry.get("prompt"), entry.get("completion")
    if is_chat(prompt) and is_chat(completion):
        return {"prompt": turns(prompt), "completion": turns(completion)}
    if isinstance(prompt, str) and isinstance(completion, str) and completion.strip():
        return {"prompt": prompt, "completion": completion}  # not stripped: a space between the two has a meaning
    return None


def object_of(line: str) -> dict[str, Any]:
    """The JSON object on a line, or an empty one."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def is_chat(value: Any) -> bool:
    """Whether this is a list of turns, at least one, each with a "role" and a "content" that are texts."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
            for turn in value
        )
    )


def turns(chat: Any) -> list[dict[str, str]]:
    """The chat with only the role and the content of each turn."""
    return [{"role": turn["role"], "content": turn["content"]} for turn in chat]


def key_of(example: Example) -> str:
    """A key of an example: equal for equal examples, and different for others."""
    return example if isinstance(example, str) else json.dumps(example, sort_keys=True, ensure_ascii=False)


def record_of(example: Example) -> dict[str, Any]:
    """The example as it is written to a line of JSON, which `read_training_examples` reads again."""
    return {"text": example} if isinstance(example, str) else dict(example)


def split(examples: Sequence[Kind], fraction: float, seed: int) -> tuple[list[Kind], list[Kind]]:
    """Divide examples into those to train on and those held out. Equal examples are on the same side.

    Args:
        examples: examples, at least two distinct ones.
        fraction: the share of the distinct examples that is held out, in (0, 1). At least one is held out, and at least
            one is not.
        seed: seed of the draw.

    Returns:
        (train, held out). The first keeps repeated examples, the second has distinct ones.

    Raises:
        ValueError: there are fewer than two distinct examples.
    """
    distinct = list({key_of(example): example for example in examples}.values())
    if len(distinct) < 2:
        raise ValueError("one example is not enough: there must be one to train on, and another for the held-out loss")
    random.Random(seed).shuffle(distinct)
    held_out = distinct[: min(max(1, round(fraction * len(distinct))), len(distinct) - 1)]
    hidden = {key_of(example) for example in held_out}
    return [example for example in examples if key_of(example) not in hidden], held_out
