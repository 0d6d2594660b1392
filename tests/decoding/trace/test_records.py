"""Traces as data: JSON and back, equality, sums, refusals, files."""

import json

import pytest

from decoding import (
    AdaptiveContrastiveSearch,
    ArithmeticSample,
    ContrastiveSearch,
    Decoder,
    FrustratinglySimple,
    Greedy,
    Mirostat,
    Rerank,
    Sample,
    Trace,
)
from decoding.trace.records import Call, Candidate, Choice
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.judges import TOKENIZER, judges
from tests.support.stub_parts import DECODERS, Mix
from tests.support.traced import counted, plain, run

MORE = [
    Decoder(AdaptiveContrastiveSearch(k_min=2, k_max=5)),
    Decoder(FrustratinglySimple(k=4)),
    Decoder(Rerank(judges, 3, 3, 2, tokenizer=TOKENIZER), Sample()),
    Decoder(Mix(tiny.gpt2(1)), Rerank(judges, 2, 2, 2, tokenizer=TOKENIZER), ContrastiveSearch(k=4)),
    Decoder(Mirostat()),
    Decoder(ArithmeticSample()),
]


def test_calls_add_up():
    _, trace = run(tiny.gpt2(), PROMPTS[:1], Greedy())
    run(tiny.gpt2(), PROMPTS[1:], ContrastiveSearch(), trace=trace)
    assert [made.decoder for made in trace.calls] == ["Greedy()", "ContrastiveSearch(k=5, alpha=0.6)"]
    assert [len(made.prompts) for made in trace.calls] == [1, 2]
    assert repr(trace).startswith("<Trace of 2 calls, ")


@pytest.mark.parametrize("n", [0, 2.5, True, "3"])
def test_refuses_n(n):
    with pytest.raises(ValueError, match="n must be a whole number of at least 1"):
        Trace(n=n)


@pytest.mark.parametrize("decoder", [*DECODERS, *MORE], ids=tiny.named)
def test_json_and_back(decoder):
    trace = Trace(TOKENIZER)
    counted(tiny.gpt2(), decoder, trace)
    text = trace.to_json()

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse) == trace.to_dict()
    again = Trace.from_json(text)
    assert again == trace
    assert again.calls is not trace.calls
    assert again.to_json() == text
    assert plain(trace.to_dict())


def test_a_candidate_that_names_a_place_and_no_term_comes_back():
    token = Candidate(3, "c", (-1.0,), places={"nearest": 1})
    trace = Trace()
    trace.calls = [Call(choices=[Choice(0, None, 3, "c", None, 1, 0.5, (token, Candidate(4, "d", (-2.0,))))], rows=[0])]
    again = Trace.from_json(trace.to_json())
    assert again.calls[0].choices[0].token.places == {"nearest": 1}
    assert again == trace


def test_unequal_traces_are_unequal():
    _, trace = run(tiny.gpt2(), PROMPTS, Greedy(), n=3)
    _, other = run(tiny.gpt2(1), PROMPTS, Greedy(), n=3)
    assert trace != other


@pytest.mark.parametrize(("text", "message"), [
    ("{}", "this is no trace"),
    ("[]", "this is no trace"),
    ("nothing", "Expecting value"),
    ('{"format": "decoding.trace", "version": 99, "calls": []}', "a trace of version 99, and this reads 1"),
    ('{"format": "decoding.trace", "version": 1}', "a damaged trace: KeyError: 'calls'"),
    ('{"format": "decoding.trace", "version": 1, "calls": [{"vocabulary": {}}]}', "a damaged trace"),
    ('{"format": "decoding.trace", "version": 1, "calls": [3]}', "a damaged trace"),
])  # fmt: skip
def test_refuses_what_is_no_trace(text, message):
    with pytest.raises(ValueError, match=message):
        Trace.from_json(text)


def test_files_are_written_whole(tmp_path):
    _, trace = run(tiny.gpt2(), PROMPTS[:1], Greedy(), n=2)
    assert Trace.from_json(trace.save(tmp_path / "a.json").read_text()) == trace
    assert trace.save(str(tmp_path / "a.html")).read_text(encoding="utf-8") == trace.to_html()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.html", "a.json"]
    with pytest.raises(ValueError, match=r"written as .html or .json, not a.txt"):
        trace.save(tmp_path / "a.txt")
