"""Every guide x picker x reranker, with and without processors, is what its oracles composed say; so does the page."""

import inspect
from pathlib import Path

import pytest

import decoding
from tests.support import matrix
from tests.support.oracles.parts import remembered

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "composition.md"


@pytest.fixture(scope="module", autouse=True)
def _texts_are_read_once():
    with remembered():
        yield


@pytest.mark.parametrize("with_processors", [False, True], ids=["plain", "processors and warpers"])
@pytest.mark.parametrize("picker", matrix.PICKERS, ids=lambda entry: entry.name)
@pytest.mark.parametrize("reranker", matrix.RERANKERS, ids=lambda entry: entry.name)
def test_every_guide_equals_its_composed_oracle(reranker, picker, with_processors):
    options, process = matrix.options(picker, with_processors)
    for guide in matrix.GUIDES:
        rows = matrix.generate(guide, picker, reranker, **options)
        assert rows == matrix.expect(guide, picker, reranker, process), guide.name


def test_every_part_there_is_has_its_place():
    kinds = (decoding.Guide, decoding.Picker, decoding.Reranker)
    public = [getattr(decoding, name) for name in decoding.__all__]
    parts = {part for part in public if inspect.isclass(part) and issubclass(part, kinds)}
    entries = [*matrix.GUIDES, *matrix.PICKERS, *matrix.RERANKERS]
    ours = {part for part in parts if not inspect.isabstract(part) and part not in kinds}
    assert len(ours) >= 15
    assert ours <= {type(part) for entry in entries for part in entry.parts}


def test_cells_differ():
    """Parts that made no difference would compose with anything."""
    plain = [entry for entry in matrix.RERANKERS if entry.name == "none"]
    for guide in matrix.GUIDES[1:7]:
        assert made(guide, matrix.PICKERS[0], plain[0]) != made(matrix.GUIDES[0], matrix.PICKERS[0], plain[0])
    rows = [made(matrix.GUIDES[0], picker, plain[0]) for picker in matrix.PICKERS]
    assert len({str(row) for row in rows}) >= len(rows) - 1
    assert any(row[-1] == matrix.EOS and len(row) < matrix.NEW for found in rows for row in found)


def made(guide, picker, reranker):
    return matrix.generate(guide, picker, reranker, **matrix.options(picker, False)[0])


@pytest.mark.parametrize(("name", "parts", "call"), matrix.REFUSED, ids=[name for name, *_ in matrix.REFUSED])
def test_what_makes_no_sense_is_refused_before_a_forward(name, parts, call):
    with matrix.counted() as counts:
        message = matrix.refusal(parts, call)
    assert "\n" not in message.strip()
    assert counts == [0, 0]


def test_the_page_has_what_the_command_prints():
    shown = PAGE.read_text()
    for table in matrix.report().split("\n\n"):
        assert table.strip() in shown, f"run python -m tests.support.matrix and put it into {PAGE.name}"
