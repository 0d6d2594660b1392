"""The folder of a fine-tuned expert. It is claimed during the training, and filled only when all is written."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scorers._common.files import to_line, write_json, write_whole

from ..examples import Example, record_of
from .model_card import make_card

REPORT = "finetune.json"  # a folder with this file is complete
SETTINGS, SAVED = "run.json", "saved"


def work_folder(output: Path) -> Path:
    """The folder in which a training for `output` keeps its state: inside it, or beside it if it does not exist yet.

    Both are on the file system of the output, so that a file can be moved there in one step.
    """
    return output / ".training" if output.is_dir() else output.with_name(f".{output.name}.training")


def check_output(output: Path) -> None:
    """Raise ValueError if no expert can be written to this folder."""
    if not output.parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {output.parent}")
    begun = (work_folder(output) / SETTINGS).is_file()
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not begun)):
        raise ValueError(f"--output {output} is there already, and no empty folder: give another")


@contextmanager
def claimed(output: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    """Claim the work folder of the output. It is kept if the training stops after its first checkpoint.

    Args:
        output: the folder of the expert.
        settings: everything that the result of the training depends on, as JSON can hold it.

    Raises:
        ValueError: a training with other settings was begun there.
    """
    folder = work_folder(output)
    line = json.dumps(settings, indent=1) + "\n"
    if (folder / SETTINGS).is_file():
        if (folder / SETTINGS).read_text(encoding="utf-8") != line:
            raise ValueError(
                f"--output {output} was begun with other examples or settings: give another, or remove {folder}"
            )
    else:
        folder.mkdir(exist_ok=True)
        write_whole(folder / SETTINGS, line)
    try:
        yield folder
    except ValueError:  # a second try would fail too
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        if not any(folder.glob("checkpoint-*")):
            shutil.rmtree(folder, ignore_errors=True)


def save(
    model: Any, tokenizer: Any, parts: Mapping[str, Sequence[Example]], report: dict[str, Any], folder: Path
) -> None:
    """Write the adapter or the model as safetensors, its card, the tokenizer, the examples and the report.

    Args:
        model: the adapter or the model.
        tokenizer: its tokenizer.
        parts: the examples by the name of their file.
        report: the content of `finetune.json`; "full" says whether all weights are saved.
        folder: where to write.
    """
    # without this option, peft asks the hub whether the vocabulary grew
    model.save_pretrained(folder, **({} if report["full"] else {"save_embedding_layers": False}))
    tokenizer.save_pretrained(folder)
    make_card(report).save(folder / "README.md")
    for name, examples in parts.items():
        write_whole(folder / f"{name}.jsonl", "".join(to_line(record_of(example)) for example in examples))
    write_json(folder / REPORT, report)


def publish(saved: Path, output: Path) -> None:
    """Move what `save` wrote to `output`: in one step, or file by file if the folder exists, the report last."""
    if output.is_dir():
        for file in sorted(saved.iterdir(), key=lambda file: file.name == REPORT):
            file.replace(output / file.name)
    else:
        saved.replace(output)
