"""The task on the page of figures of the pickers is one, and the benchmark of arithmetic sampling."""

import re
from argparse import Namespace
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch

import decoding
from benchmarks import arithmetic as command
from benchmarks.harness.task import Task
from benchmarks.metrics.diversity import distinct
from benchmarks.metrics.self_bleu import self_bleu
from benchmarks.studies import arithmetic
from tests.support import tiny
from tests.support.oracles import methods as oracles

PAGE = Path(__file__).parents[3] / "docs" / "results" / "pickers.md"


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
    assert command.main(arguments) == 0
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
        status = command.main(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_text_goes_up_to_its_end():
    assert arithmetic.without_end([5, 2, 7], [2]) == [5, 2]
    assert arithmetic.without_end([5, 7], [2]) == [5, 7]


def test_figures_of_a_set_are_those_of_its_texts(monkeypatch):
    """Five texts, of which two begin alike, two are equal, and one is nothing but its end."""
    model, tokenizer, asked = tiny.gpt2(), tiny.tokenizer(), {}
    rows = [[5, 9, 7, 8], [5, 9, 30, 2], [2, 0, 0, 0], [5, 9, 7, 8], [6, 55, 5, 2]]  # 55 is the space

    def generate(model, input_ids, **options):
        asked.update(options)
        return torch.cat([input_ids.repeat(len(rows), 1), torch.tensor(rows)], dim=1)

    monkeypatch.setattr(arithmetic.decoding, "generate", generate)
    options = Namespace(new_tokens=4, temperature=0.7)
    found = arithmetic.measure(model, tokenizer, "ab", "a picker", 5, 3, options)
    assert (asked["processors"], asked["num_return_sequences"], asked["max_new_tokens"]) == (["a picker"], 5, 4)
    assert (asked["temperature"], asked["top_k"], asked["top_p"], asked["do_sample"]) == (0.7, 0, 1.0, True)
    assert asked["generator"].initial_seed() == 3
    prompt = tokenizer("ab")["input_ids"]

    def log_p(text):
        return sum(float(oracles.log_p(model, prompt + text[:t])[text[t]]) for t in range(len(text)))

    ended = [row[: row.index(2) + 1] if 2 in row else row for row in rows]
    texts = tokenizer.batch_decode(ended, skip_special_tokens=True)
    assert (found.first, found.third) == (3 / 5, 4 / 5)
    assert found.covered == pytest.approx(sum(exp(log_p(begun)) for begun in ([5, 9], [2], [6, 55])), rel=1e-5)
    assert found.log_p == pytest.approx(sum(map(log_p, ended)) / 5, rel=1e-5)
    assert found.distinct_2 == pytest.approx(distinct(texts, 2).value, nan_ok=True)
    assert found.self_bleu == pytest.approx(self_bleu(texts).value, nan_ok=True)


def test_the_table_has_means_and_how_far_seeds_differ():
    values = np.zeros((2, 3, 6))  # prompts, seeds, figures
    values[..., 0] = [[0, 0, 0], [1, 1, 1]]
    values[..., -1] = [[1, 2, 3], [20, 24, 28]]
    *_, line = arithmetic.table([(4, "arithmetic", values)])
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["4", "arithmetic", "0.500", "0.000", "0.000", "0.000", "0.000", "13.000", "2.50"]
