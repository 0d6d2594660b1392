"""What the page of the newer pickers says of them; its code is run by test_docs.py."""

import re
from pathlib import Path

import pytest

import decoding
from benchmarks import arithmetic
from benchmarks.task import Task

from . import tiny

PAGE = Path(__file__).parents[1] / "docs" / "pickers.md"


def test_the_task_of_the_page_is_one(tmp_path):
    [block] = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "pickers.toml").write_text(block)
    task = Task.read(str(tmp_path / "pickers.toml"))
    assert all(system.build(None, None) or not system.parts for system in task.decoders)


@pytest.mark.slow
def test_points_come_back_from_the_real_model_in_the_same_batch(default_model):
    model, tokenizer = default_model
    inputs = tokenizer(["The night was", "Once"], return_tensors="pt", padding=True)
    points = [0.25, 0.8]
    part = decoding.ArithmeticSample(points=points)
    out = decoding.generate(model, **inputs, processors=[part], max_new_tokens=12, min_new_tokens=12, top_p=0.9)
    rows = out[:, inputs["input_ids"].shape[1] :].tolist()
    found = decoding.encode(model, rows, **inputs, min_new_tokens=12, top_p=0.9)
    assert all(point in interval for point, interval in zip(points, found, strict=True))


def test_benchmark_prints_a_row_for_each_kind_and_number(tmp_path, capsys):
    tiny.llama().float().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    arguments = ["--model", str(tmp_path), "--texts", "2", "4", "--prompts", "2", "--seeds", "2", "--new-tokens", "5"]
    assert arithmetic.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert [line.split(" | ")[:2] for line in lines[2:]] == [
        ["| 2", "independent"], ["| 2", "arithmetic"], ["| 4", "independent"], ["| 4", "arithmetic"],
    ]  # fmt: skip
    assert len({line.count("|") for line in lines}) == 1
    first = {tuple(line.split(" | ")[:2]): float(line.split(" | ")[2]) for line in lines[2:]}
    assert all(0 < value <= 1 for value in first.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--texts", "1"], "--texts must be at least 2"), (["--seeds", "1"], "--seeds must"), (["--such"], "--such")],
)
def test_benchmark_refuses(arguments, message, capsys):
    try:
        status = arithmetic.main(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_likelihoods_of_the_benchmark_are_the_models():
    import torch

    from . import oracles

    model = tiny.gpt2()
    tokens = torch.tensor([[5, 9, 11, 30], [5, 9, 7, 2]])
    found = arithmetic.log_likelihoods(model, tokens, 2)
    expected = [[oracles.log_p(model, row[:t])[row[t]] for t in (2, 3)] for row in tokens.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected))
    assert arithmetic.without_end([5, 2, 7], [2]) == [5, 2]
    assert arithmetic.without_end([5, 7], [2]) == [5, 7]
