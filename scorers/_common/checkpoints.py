"""The checkpoint that a training goes on with. Nothing heavy is imported: the commands look for it before they load."""

import shutil
from pathlib import Path


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint in a folder, None if there is none. Newer ones that are incomplete are removed.

    A killed run leaves one that it was still writing. It lacks `trainer_state.json`, which is written last;
    transformers' own `get_last_checkpoint` takes it all the same.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda place: int(place.name.rpartition("-")[2]))
    while found and not (found[-1] / "trainer_state.json").exists():
        shutil.rmtree(found.pop())
    return str(found[-1]) if found else None
