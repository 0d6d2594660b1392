"""Every benchmark runs."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from benchmarks.speed import second_prompts as guides
from benchmarks.studies import steer, synthetic
from tests.support import tiny
from tests.support.oracles import methods as oracles


def test_diversity_counts_n_grams_by_hand():
    tokens = [1, 2, 3, 1, 2, 3]
    expected = (3 / 5) * (3 / 4) * (3 / 3)  # of 5 pairs 3 are unique, of 4 triples 3, of 3 quadruples 3
    assert synthetic.diversity(tokens) == pytest.approx(expected)
    assert synthetic.distinct([1], 2) == 0


def test_copied_and_duplicates():
    assert synthetic.copied([[1, 2, 3, 4]], [[0, 1, 2, 3]], n=2) == pytest.approx(2 / 3)
    assert synthetic.copied([[1]], [[1]], n=2) == 0
    assert synthetic.duplicates(["a", "b", "a", "c"], ["c"]) == 0.5


def test_self_similarity_is_the_mean_over_pairs():
    rows = np.random.default_rng(0).normal(size=(7, 5))
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [float(units[i] @ units[j]) for i in range(7) for j in range(7) if i != j]
    assert synthetic.self_similarity(rows) == pytest.approx(np.mean(pairs))


def test_perplexity_equals_each_text_on_its_own(tokenizer):
    model, head, texts = tiny.llama(), [5, 6], ["abc", "hello there", ""]
    value, means = synthetic.perplexity(model, tokenizer, texts, head, batch_size=2)
    losses = []
    for text in texts:
        ids = head + (tokenizer(text, add_special_tokens=False)["input_ids"] or [tokenizer.eos_token_id])
        log_p = torch.stack([oracles.log_p(model, ids[:t])[ids[t]] for t in range(len(head), len(ids))])
        losses.append(-log_p.double())
    assert value == pytest.approx(float(torch.cat(losses).mean().exp()), rel=1e-5)
    assert means == pytest.approx([float(loss.mean()) for loss in losses], rel=1e-5)


def test_embeddings_leave_out_padding():
    tokenizer = tiny.tokenizer()
    tokenizer.padding_side = "right"  # as encoders have it
    model = BertModel(
        BertConfig(vocab_size=61, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).eval()
    together = synthetic.embed(model, tokenizer, ["abc", "a longer one"])
    alone = np.concatenate([synthetic.embed(model, tokenizer, [text]) for text in ("abc", "a longer one")])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_mauve_is_high_for_the_same_distribution_and_low_for_another():
    pytest.importorskip("mauve")
    draw = np.random.default_rng(0).normal
    real, same, other = draw(size=(150, 4)), draw(size=(150, 4)), draw(3.0, 0.3, size=(150, 4))
    assert synthetic.mauve(real, same, seeds=1) > 0.8 > 0.3 > synthetic.mauve(real, other, seeds=1)


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
    bert = BertConfig(vocab_size=61, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(bert).save_pretrained(tmp_path / "encoder")
    tiny.tokenizer().save_pretrained(tmp_path / "encoder")
    real = [f"{a} {b} star" for a in ("old", "red", "dim", "far") for b in ("hot", "cold", "new", "big", "sad")]
    (tmp_path / "real.txt").write_text("\n".join(real))
    (tmp_path / "released.txt").write_text("\n".join(real[:9]))
    call = [
        "--real", tmp_path / "real.txt", "--released", tmp_path / "released.txt", "--output", tmp_path / "out",
        "--model", tmp_path / "model", "--encoder", tmp_path / "encoder", "--prompt", "tell ", "--epochs", "1",
        "--number", "6", "--grid-number", "6", "--max-new-tokens", "6", "--batch-size", "4", "--dtype", "float32",
    ]  # fmt: skip
    assert steer.main(list(map(str, call))) == 0
    first = capsys.readouterr().out
    assert "| STEER 0.2, 0.2, mask | 6 |" in first
    assert "released: released" in first
    assert (tmp_path / "out" / "tradeoff.svg").stat().st_size > 1000
    texts = tmp_path / "out" / "texts" / "STEER_0.2_0.2.jsonl"
    whole = texts.read_text()
    texts.write_text("".join(whole.splitlines(keepends=True)[:4]))
    assert steer.main(list(map(str, call))) == 0
    assert texts.read_text() == whole
    assert capsys.readouterr().out.splitlines()[-3:] == first.splitlines()[-3:]


def test_guides_prints_a_row_for_every_pair_of_lengths(tmp_path, capsys):
    tiny.llama().float().save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    call = ["--model", str(tmp_path), "--lengths", "9", "9", "--lengths", "9", "4", "--batch", "2"]
    assert guides.main([*call, "--new-tokens", "3", "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[3].startswith("| 2 | 9 | 4 | 28% | ")
