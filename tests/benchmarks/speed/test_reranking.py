"""The released way and ours do the same, and are told apart by what they read."""

import argparse
import json

import pytest
import torch

from benchmarks import rerank as command
from benchmarks.speed import reranking as rerank
from scorers import Function
from tests.support import tiny
from tests.support.judges import judges
from tests.support.refusals import refusal

TEXTS = ["the old house", "rain"]


def asked(**options):
    return argparse.Namespace(**{"every": 3, "samples": 4, "beams": 1, "new_tokens": 8} | options)


@pytest.fixture
def folder(tmp_path):
    model = tiny.llama().float()
    model.config.max_position_embeddings = 512  # rotary: any number will do
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize(("samples", "every"), [(1, 3), (4, 3), (5, 8)])
def test_both_ways_draw_and_choose_the_same(tokenizer, samples, every):
    """With one hypothesis they ask for the same random numbers in the same order, and letters read back as written."""
    model = tiny.llama()
    found = []
    for way in (rerank.released, rerank.ours):
        torch.manual_seed(5)
        found.append(way(model, tokenizer, Function(judges), TEXTS[:1], asked(samples=samples, every=every)))
    assert found[0] == found[1]
    assert len(found[0][0]) == len(TEXTS[0]) + 8


def test_what_is_read_is_counted(tokenizer):
    """Released: at each of 3 segments 2 hypotheses, 4 times the text so far, then a token a row but for the last. Ours:
    the prompts once, then at most a token a row, and never the last; equal rows are one."""
    model, options = tiny.llama(), asked(beams=2)

    def read(way, text):
        torch.manual_seed(0)
        return rerank.reading(model, lambda: way(model, tokenizer, Function(judges), [text], options))

    read(rerank.ours, TEXTS[0])  # asks what the model can do
    for text in TEXTS:
        anew = sum(8 * (len(text) + n) + 8 * (min(3, 8 - n) - 1) for n in (0, 3, 6))
        forwards, positions = read(rerank.released, text)
        assert forwards == 16
        assert 0.9 * anew < positions <= anew  # less where a special token was drawn and not read
        forwards, positions = read(rerank.ours, text)
        assert forwards == 8
        assert len(text) + 2 * 7 <= positions <= len(text) + 8 * 7


def test_a_row_for_each_way_and_their_ratio(folder, capsys):
    call = ["--model", folder, "--prefix", "9", "--prompts", "2", "--every", "3", "--samples", "2", "--new-tokens", "7",
            "--rounds", "2"]  # fmt: skip
    assert command.main([*call, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["beams"] == 2
    assert found["prompt_tokens"] == [9, 9]
    ours, released = found["ways"]["ours"], found["ways"]["released"]
    assert ours["forwards"] == 7
    assert 18 + 4 * 6 <= ours["positions"] <= 18 + 8 * 6
    assert released["forwards"] == 28
    most = (
        2 * 4 * sum(9 + n + min(3, 7 - n) - 1 for n in (0, 3, 6))
    )  # less where a special token was drawn and not read
    assert 0.9 * most < released["positions"] <= most
    assert found["ratios"] == pytest.approx([a / b for a, b in zip(released["seconds"], ours["seconds"], strict=True)])
    assert command.main(call) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| released", "| ours", "| released / ours"]
    assert " | 4.0 | " in lines[-1]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["--scorer", "joy"], "--scorer must be one of overlap, ranker, not joy"),
        (["--model", "./nowhere"], "nowhere"),
    ],
)
def test_calls_that_cannot_work_are_a_line(call, words, capsys):
    assert words in refusal(command.main, call, capsys)
