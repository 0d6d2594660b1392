"""Example texts from files: what an expert is trained on, and what STEER starts from."""

import gzip
import json
import zlib
from pathlib import Path


def read_examples(path: Path, field: str = "text") -> list[str]:
    """One text a line that is not blank: of JSON objects their `field`, else the line itself; .gz is unpacked.

    The lines are JSON if the name ends in .jsonl or .json (before .gz), or if the first is a JSON object with `field`.

    Raises:
        OSError: the file cannot be read. ValueError: a line without a text, bytes that are not UTF-8, no texts at all.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = data.decode("utf-8-sig").split("\n")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not valid UTF-8 at byte {error.start}") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    is_json = path.name.removesuffix(".gz").endswith((".jsonl", ".json"))
    if is_json or (numbered and text_of(numbered[0][1], field)):
        texts = [(number, text_of(line, field)) for number, line in numbered]
        if missing := [number for number, text in texts if not text]:
            raise ValueError(f'{path}, line {missing[0]}: needs a JSON object with a "{field}" that is a text')
        numbered = [(number, text) for number, text in texts if text]
    if not numbered:
        raise ValueError(f"no examples in {path}")
    return [text for _, text in numbered]


def text_of(line: str, field: str) -> str | None:
    """The `field` of a JSON object on a line, or None."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text = entry.get(field) if isinstance(entry, dict) else None
    return text.strip() if isinstance(text, str) and text.strip() else None
