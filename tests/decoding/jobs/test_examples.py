"""Examples are read in each form; a line of no form is named."""

import json

import pytest

from decoding.jobs.examples import read_examples, read_training_examples, split

USER, ANSWER = {"role": "user", "content": "ab"}, {"role": "assistant", "content": "cd"}


PAIR = {"prompt": "a b", "completion": " c"}


LINES = [
    ({"text": " a "}, "a"),
    (
        {"text": "a", "prompt": "b", "completion": "c", "id": 1},
        "a",
    ),  # the field comes first, as before there were others
    ({"prompt": "b ", "completion": " c", "id": 1}, {"prompt": "b ", "completion": " c"}),
    ({"messages": [USER | {"weight": 1}, ANSWER], "id": 1}, {"messages": [USER, ANSWER]}),
    ({"prompt": [USER], "completion": [ANSWER]}, {"prompt": [USER], "completion": [ANSWER]}),
]


WRONG = [
    {"prompt": "b"},
    {"prompt": "b", "completion": " "},
    {"prompt": "b", "completion": [ANSWER]},
    {"messages": []},
    {"messages": "ab"},
    {"messages": [{"role": "user"}]},
    {"messages": [USER, "ab"]},
    {"messages": [USER, ANSWER | {"content": None}]},
    ["a"],
]


@pytest.mark.parametrize("name", ["a.jsonl", "a"])
@pytest.mark.parametrize(("entry", "example"), LINES, ids=str)
def test_reads_each_form(tmp_path, name, entry, example):
    (tmp_path / name).write_text(json.dumps(entry) + "\n\n" + json.dumps(LINES[0][0]))
    assert read_training_examples(tmp_path / name) == [example, "a"]


@pytest.mark.parametrize("entry", WRONG, ids=str)
def test_says_which_line_is_of_no_form(tmp_path, entry):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n' + json.dumps(entry))
    with pytest.raises(ValueError, match='line 2: needs a JSON object with a "text"') as error:
        read_training_examples(tmp_path / "a.jsonl")
    assert '"messages", or "prompt" and "completion"' in str(error.value)


def test_steer_starts_from_texts_alone(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(PAIR))
    with pytest.raises(ValueError, match=r'line 1: needs a JSON object with a "text" that is a text$'):
        read_examples(tmp_path / "a.jsonl")


def test_equal_examples_are_on_one_side():
    turned = dict(reversed(PAIR.items()))
    examples = [PAIR, {"messages": [USER, ANSWER]}, turned, "a", "b", "a"]
    for seed in range(9):
        train, held_out = split(examples, 0.5, seed)
        assert len(held_out) == 2
        assert not [example for example in train if example in held_out]
        assert len(train) + sum(examples.count(example) for example in held_out) == 6
    with pytest.raises(ValueError, match="one example is not enough"):
        split([PAIR, turned], 0.5, 0)
