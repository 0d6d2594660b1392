"""How options are declared and read: lists, ranges, and the options of parts, which are read from their source."""

import dataclasses
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

import pytest

import decoding
from decoding.jobs.fine_tuning.settings import Run, Settings
from decoding.methods import NO_OPTIONS, first_word, methods
from scorers import ranker
from scorers._common.commands import Command
from scorers._common.options import option
from scorers._common.part_options import SIMPLE, constant, explain, read_part
from scorers._common.ranges import COUNT, SHARE, UNIT, at_least, check_fields, whole
from scorers.ranker_training import options as training_options
from scorers.ranker_training.training import Settings as RankerSettings

PICKERS = [
    part for name in decoding.__all__
    if isinstance(part := getattr(decoding, name), type)
    and issubclass(part, decoding.Picker) and part is not decoding.Picker
]  # fmt: skip
PARTS = [*PICKERS, decoding.Rerank, decoding.Steer, decoding.DebiasSampling, Settings, Run, RankerSettings]


@dataclass
class Options:
    """Things to do."""

    files: list[str] = option("what to read", "FILE", value=[], positional=True)
    sizes: list[int] = option("how many", "N...", value=[1, 8], range=at_least(1))
    names: list[str] = option("which", value=["a", "b"], choices=("a", "b"))
    more: list[str] = option("one each", "NAME", value=[], repeat=True)
    pair: tuple[int, int] = option("two numbers", "N N", value=(1, 2))
    share: float = option("a part", "P", short="-s", value=0.5, range=SHARE)
    kind: str | None = option("of a kind", choices=("x", "y"))
    quick: bool = option("a look", value=False)


COMMAND = Command("decoding.things", Options, "examples:\n  python -m decoding.things")


@pytest.mark.parametrize(
    ("call", "changed"),
    [
        ([], {}),
        (["a", "--quick", "-", "--", "-s"], {"files": ["a", "-", "-s"], "quick": True}),
        (["--sizes", "2", "3", "4", "-s", "1", "b"], {"sizes": [2, 3, 4], "share": 1.0, "files": ["b"]}),
        (["--sizes", "2", "--sizes", "3"], {"sizes": [2, 3]}),
        (["--names"], {"names": []}),
        (["--names", "--quick"], {"names": [], "quick": True}),
        (["--names", "b"], {"names": ["b"]}),
        (["--more", "1", "b", "--more", "-2"], {"more": ["1", "-2"], "files": ["b"]}),
        (["--pair", "3", "-4", "b"], {"pair": (3, -4), "files": ["b"]}),
        (["--kind=y", ""], {"kind": "y", "files": [""]}),
    ],
    ids=str,
)
def test_calls_are_read(call, changed):
    assert COMMAND.parse(call) == dataclasses.replace(Options(), **changed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["--sizes", "2", "0"], "--sizes must be at least 1, not 0"),
        (["--names", "a", "c"], "--names must be one of a, b, not c"),
        (["--kind", "z"], "--kind must be one of x, y, not z"),
        (["-s", "nan"], "--share must be above 0 and at most 1, not nan"),
        (["--shar", "1"], "No such option: --shar"),
        (["--pair", "1"], "--pair"),
        (["--sizes", "many"], "--sizes"),
        (["--share"], "--share"),
        (["--quick=3"], "--quick"),
    ],
    ids=str,
)
def test_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        COMMAND.parse(call)


def test_the_help_has_every_option_its_default_and_the_examples(capsys):
    assert COMMAND.serve(["--help"], lambda options: pytest.fail("it worked")) == 0
    shown = capsys.readouterr().out
    assert [shown.rstrip("\n")] == COMMAND.help()
    for text in ("Things to do.", "-s, --share P", "(default: 1 8)", "<x|y>", "examples:", "--version", "-h, --help"):
        assert text in shown


def test_errors_are_one_line_of_the_package(capsys):
    assert COMMAND.serve(["--no\nsense"], lambda options: pytest.fail("it worked")) == 2
    assert COMMAND.serve([], lambda options: int("one\ntwo")) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 2
    assert all(line.startswith("decoding: error: ") for line in err.splitlines())


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.__module__}.{part.__name__}")
def test_what_is_read_from_the_source_is_what_the_class_has(part):
    """Names, types, defaults and ranges of every field that a call can give, in their order."""
    found = read_part(part.__module__, part.__name__)
    expected: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        kind, own = field.type, None
        if get_origin(kind) is Annotated:
            kind, own = get_args(kind)[:2]
        if {*(get_args(kind) if isinstance(kind, UnionType) else [kind])} - {type(None)} <= SIMPLE:
            default = None if field.default is dataclasses.MISSING else field.default
            expected[field.name] = (kind, default, own and own[1])
    read = {name: (each.kind, each.default, each.range and each.range[1]) for name, each in found.items()}
    assert read == expected
    assert [*read] == [*expected]


def test_every_picker_is_a_method_and_says_what_its_options_are():
    assert sorted(method.part for method in methods().values()) == sorted(part.__name__ for part in PICKERS)
    for method in methods().values():
        part = getattr(decoding, method.part)
        assert method.draws is part.draws
        assert method.make({}) == part()
        assert [name for name, field in method.fields.items() if not field.help] == []
        assert not NO_OPTIONS & method.fields.keys()


def test_explanations_are_sentences():
    text = (
        "\n\nArgs:\n    a, b: how many,\n        at least 1. No more. c: 0 to 1; None: 2. d: e.\n\nRaises:\n    a: x."
    )
    assert [explain(text, name, ["a", "b", "c", "d"]) for name in "abcd"] == [
        *["how many, at least 1"] * 2,
        "0 to 1",
        "e",
    ]
    assert first_word("FrustratinglySimple") == "frustratingly"


def test_constants_and_classes_that_there_are_not():
    assert constant("scorers.ranker_training.options", "RUN") == training_options.RUN
    assert training_options.PACKAGED == ranker.PACKAGED
    for read in (lambda: constant("scorers.ranker", "NOTHING"), lambda: read_part("torch.nn", "Module")):
        with pytest.raises(LookupError):
            read()


def test_fields_are_checked_by_their_ranges():
    @dataclass
    class Part:
        number: Annotated[int | None, COUNT] = None
        alpha: Annotated[float, UNIT] = 0.5
        free: int = 0

        def __post_init__(self):
            check_fields(self)

    assert Part(3, 1, -1) == Part(number=3, alpha=1, free=-1)
    for values, message in (({"number": 0}, "number must be a whole"), ({"number": True}, "number must be a whole"),
                            ({"number": 1.0}, "number must"), ({"alpha": 2}, r"alpha must lie in \[0, 1\], not 2"),
                            ({"alpha": float("nan")}, "alpha must lie")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Part(**values)
    assert [whole(2)[0](value) for value in (1, 2)] == [False, True]
