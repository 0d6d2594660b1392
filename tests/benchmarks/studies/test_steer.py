"""The study of STEER on a domain: from texts to the tables, and what the figures are."""

import json
from argparse import Namespace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from benchmarks import steer as command
from benchmarks.metrics.synthetic import match_characters
from benchmarks.studies import steer
from tests.support import tiny
from tests.support.oracles import methods as oracles


def save_encoder(folder):
    config = BertConfig(vocab_size=61, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)


@pytest.fixture
def scorer(tmp_path, monkeypatch):
    """A scorer over tiny models; the judge is the model itself."""
    save_encoder(tmp_path / "encoder")
    monkeypatch.setattr(steer, "load", lambda name: (tiny.llama(), tiny.tokenizer()))
    monkeypatch.setattr(steer, "put_on", lambda judge, base: base)
    options = Namespace(output=tmp_path, prompt="tell ", model=None, encoder=str(tmp_path / "encoder"))
    real = ["old star", "red sun", "dim moon", "far sky", "hot gas", "new dust", "big hole", "sad end"] * 3
    known = [f"{text} again" for text in real[:8]]
    return steer.Scorer(options, real, known, tmp_path / "judge")


def test_figures_are_those_of_the_metrics_written_by_hand(scorer):
    made = ["old star again", "a new one", "a new one", ""]
    *_, row = scorer.rows({"made": made}, 4)
    assert (row["system"], row["texts"], row["tokens"]) == ("made", 4, sum(map(len, made)))
    model, head = tiny.llama(), tiny.tokenizer()("tell ")["input_ids"]
    losses = []
    for text in made:
        ids = head + tiny.tokenizer()(text, add_special_tokens=False)["input_ids"]
        losses += [-float(oracles.log_p(model, ids[:t])[ids[t]]) for t in range(len(head), len(ids))]
    assert row["perplexity"]["value"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-5)
    assert row["duplicates"]["value"] == 0.5  # one of the training texts, one that was there before
    eights = [text[i : i + 8] for text in made for i in range(len(text) - 7)]
    known = {text[i : i + 8] for text in scorer.known for i in range(len(text) - 7)}
    assert row["copied"]["value"] == pytest.approx(np.mean([gram in known for gram in eights]))
    line = " ".join(match_characters(scorer.real[:4], made)[1])  # both sets cut to one number of characters
    grams = {n: [line[i : i + n] for i in range(len(line) - n + 1)] for n in (2, 3, 4)}
    shares = {n: len(set(found)) / len(found) for n, found in grams.items()}
    assert row["trigrams"]["value"] == pytest.approx(shares[3])
    assert row["diversity"]["value"] == pytest.approx(shares[2] * shares[3] * shares[4])
    for name in ("perplexity", "diversity", "trigrams", "self-similarity", "copied", "duplicates"):
        assert row[name]["low"] <= row[name]["value"] <= row[name]["high"], name


def test_similarity_is_that_of_the_means_of_each_text_without_padding(scorer):
    encoder, tokenizer = scorer.embed.model, tiny.tokenizer()
    made = ["old star again", "a new one", "sad"]
    with torch.no_grad():
        states = [encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in made]
    units = [state / state.norm() for state in states]
    pairs = [float(units[i] @ units[j]) for i in range(3) for j in range(3) if i != j]
    *_, row = scorer.rows({"made": made}, 3)
    assert row["self-similarity"]["value"] == pytest.approx(np.mean(pairs), abs=1e-4)


def test_sets_are_cut_to_one_number_and_real_texts_never_meet_themselves(scorer):
    few, many = scorer.rows({"made": scorer.known}, 8), scorer.rows({"made": ["x y"] * 20}, 20)
    assert [row["texts"] for row in few] == [8, 8]
    assert few[0]["mauve"] is not None
    assert many[0]["mauve"] is None  # of 24 real texts no 20 are left that are not among the first 20
    assert few[1]["duplicates"]["value"] == 0  # the training texts are not copies of themselves


def test_the_table_has_intervals_and_the_file_is_json(scorer):
    table = scorer.table({"made": scorer.known}, 8)
    head, _, real, made, *_ = table.splitlines()
    assert head.count("|") == real.count("|") == made.count("|") == len(steer.COLUMNS) + 2
    assert made.startswith("| made | 8 | ")
    assert made.count("[") == 7
    rows = [json.loads(line) for line in (scorer.output / "scores.jsonl").read_text().splitlines()]
    assert [row["system"] for row in rows] == ["real, held out", "made"]
    assert steer.show(None) == ""
    assert steer.show({"value": None, "low": None, "high": 1.0}) == "nan [nan, 1]"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft uses the old name
def test_steer_goes_from_texts_to_the_tables_and_on_after_a_stop(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.setattr(steer, "SYSTEMS", steer.SYSTEMS[:3] + steer.SYSTEMS[7:9])
    monkeypatch.setattr(steer, "GRID", {"gamma": (0.0, 0.2, 0.5, 1.0), "eta": (0.0, 0.2), "beta": (0.0, 0.1)})
    model = tiny.llama().float()
    model.config.max_position_embeddings = 512  # rotary: any number will do
    model.save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    save_encoder(tmp_path / "encoder")
    real = [f"{a} {b} star" for a in ("old", "red", "dim", "far") for b in ("hot", "cold", "new", "big", "sad")]
    (tmp_path / "real.txt").write_text("\n".join(real))
    (tmp_path / "released.txt").write_text("\n".join(real[:9]))
    call = [
        "--real", tmp_path / "real.txt", "--released", tmp_path / "released.txt", "--output", tmp_path / "out",
        "--model", tmp_path / "model", "--encoder", tmp_path / "encoder", "--prompt", "tell ", "--epochs", "1",
        "--number", "6", "--grid-number", "6", "--max-new-tokens", "6", "--batch-size", "4", "--dtype", "float32",
    ]  # fmt: skip
    assert command.main(list(map(str, call))) == 0
    first = capsys.readouterr().out
    assert "| STEER 0.2, 0.2, mask | 6 |" in first
    assert "released: released" in first
    assert (tmp_path / "out" / "tradeoff.svg").stat().st_size > 1000
    texts = tmp_path / "out" / "texts" / "STEER_0.2_0.2.jsonl"
    whole = texts.read_text()
    texts.write_text("".join(whole.splitlines(keepends=True)[:4]))
    assert command.main(list(map(str, call))) == 0
    assert texts.read_text() == whole
    assert capsys.readouterr().out.splitlines()[-3:] == first.splitlines()[-3:]
