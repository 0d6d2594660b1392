"""Which checkpoint a training goes on with."""

from pathlib import Path

from scorers._common.checkpoints import last_checkpoint


def save(folder, step, complete=True):
    place = folder / f"checkpoint-{step}"
    place.mkdir()
    if complete:
        (place / "trainer_state.json").write_text("{}")
    return str(place)


def test_the_newest_complete_checkpoint_is_taken(tmp_path):
    assert last_checkpoint(tmp_path) is None
    first = save(tmp_path, 90)
    assert last_checkpoint(tmp_path) == first
    newest = save(tmp_path, 100)  # by number: as text it would come first
    torn = save(tmp_path, 110, complete=False)
    assert last_checkpoint(tmp_path) == newest
    assert not Path(torn).exists()
