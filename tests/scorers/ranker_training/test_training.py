"""Training: the loss of the paper, what bars what, the seed, checkpoints."""

import math
from dataclasses import replace

import pytest
import torch

from scorers.ranker import Ranker, fingerprint
from scorers.ranker_training.pairs import (  # fmt: skip
    Window,
)
from scorers.ranker_training.training import (
    Batches,
    Objective,
    Settings,
    contrastive_loss,
    last_checkpoint,
    train,
)
from tests.support.chains import CUT, report_of, window_at
from tests.support.rankers import WORDS, bert, make_ranker


def transcription(prefixes, suffixes, generated, barred):
    """- log exp(p_i . c_i) / Z(p_i), number by number."""
    total = 0.0
    for i, p in enumerate(prefixes):
        dot = lambda other, p=p: sum(a * b for a, b in zip(p, other, strict=True))
        z = sum(math.exp(dot(c)) for j, c in enumerate(suffixes) if j == i or not barred[i][j])
        z += sum(math.exp(dot(g)) for g in generated)
        total -= math.log(math.exp(dot(suffixes[i])) / z)
    return total / len(prefixes)


@pytest.mark.parametrize("made", [0, 1, 3, 5])
@pytest.mark.parametrize("bars", [0.0, 0.4, 1.0])
def test_loss_equals_the_formula(made, bars):
    generator = torch.Generator().manual_seed(made)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    p, c, g, barred = draw(5, 3), draw(5, 3), draw(made, 3), torch.rand(5, 5, generator=generator) < bars
    expected = transcription(p.tolist(), c.tolist(), g.tolist(), barred.tolist())
    assert contrastive_loss(p, c, g, barred).item() == pytest.approx(expected, abs=1e-12)


def test_bars_go_from_row_to_column():
    p = torch.eye(2, dtype=torch.float64)
    barred = torch.tensor([[False, True], [False, False]])
    expected = transcription(p.tolist(), (2 * p).tolist(), [], barred.tolist())
    other = transcription(p.tolist(), (2 * p).tolist(), [], barred.T.tolist())
    c = torch.tensor([[2.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    assert contrastive_loss(p, 2 * p, p[:0], barred).item() == pytest.approx(expected)
    assert expected == pytest.approx(other)  # symmetric vectors do not tell; these do
    assert contrastive_loss(p, c, p[:0], barred) != contrastive_loss(p, c, p[:0], barred.T)
    assert contrastive_loss(p, c, p[:0], barred).item() == pytest.approx(
        transcription(p.tolist(), c.tolist(), [], barred.tolist())
    )


def test_batches_bar_what_overlaps_and_carry_what_was_made():
    """Windows 0 and 1 share text, 2 is apart; something was made for 0 and 2."""
    ranker = make_ranker()
    windows = [
        Window(0, 0, 5, 9, "aa", "ab ac", "ba"), Window(0, 0, 8, 12, "ad", "ae"),
        Window(0, 9, 20, 22, "af", "ag", "bb"),
    ]  # fmt: skip
    for kind, made, barred in (
        ("book", [], [[0, 1], [1, 0]]), ("both", [0, 2], [[0, 1], [1, 0]]), ("generated", [0, 2], [])
    ):  # fmt: skip
        batches = Batches(ranker, windows, Settings(negatives=kind, epochs=1, full=True), None)
        ((order, item),) = zip(batches.plan, [batches[0]], strict=True)
        chosen = [windows[0], windows[2]] if kind == "generated" else windows
        texts = [chosen[i] for i in order]
        assert len(texts) == len(chosen)
        for side, expected in (
            ("prefix", [w.prefix for w in texts]), ("suffix", [w.continuation for w in texts]),
            ("generated", [w.generated for w in texts if windows.index(w) in made]),
        ):  # fmt: skip
            if not expected:
                assert item[side] is None
                continue
            wanted = ranker.encode("prefix" if side == "prefix" else "suffix", expected)
            assert torch.equal(item[side]["input_ids"], wanted["input_ids"])
        for i, w in enumerate(texts):
            for j, v in enumerate(texts):
                pair = [windows.index(w), windows.index(v)]
                assert item["barred"][i, j] == (kind == "generated" or pair in barred or i == j), (kind, pair)


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_trained_is_the_loss_of_the_rankers_own_vectors(tmp_path, kept):
    """From token ids and from states that are kept: what was generated is read as a continuation."""
    ranker = make_ranker(scale=3.0)
    windows = [
        Window(0, 0, 3 * i, 3 * i + 2, WORDS[i], WORDS[i + 10], None if i == 1 else WORDS[i + 20]) for i in range(4)
    ]  # fmt: skip
    chosen = Settings(negatives="both", epochs=1, full=not kept)
    batches = Batches(ranker, windows, chosen, tmp_path if kept else None)
    (order,), item = batches.plan, batches[0]
    own = [windows[i] for i in order]
    sides = (
        ("prefix", [w.prefix for w in own]), ("suffix", [w.continuation for w in own]),
        ("suffix", [w.generated for w in own if w.generated]),
    )  # fmt: skip
    expected = transcription(*(ranker.vectors(*side).tolist() for side in sides), item["barred"].tolist())
    loss = Objective(ranker.heads, None if kept else ranker.encoder)(**item)["loss"]
    assert loss.item() == pytest.approx(expected, abs=1e-9)


def test_training_ends_in_evaluation_mode(tmp_path):
    ranker = make_ranker()
    windows = [window_at(0, 3 * i, 3 * i + 1, 3 * i + 2) for i in range(4)]
    chosen = Settings(full=True, negatives="book", epochs=1)
    found = train(ranker, Batches(ranker, windows, chosen, None), chosen, tmp_path)
    assert found["steps"] == 1
    assert not ranker.encoder.training
    assert not ranker.heads.training


def test_the_seed_is_that_of_dropout_too(tmp_path):
    windows, found = [window_at(0, 3 * i, 3 * i + 1, 3 * i + 2) for i in range(4)], []
    for seed in (0, 1, 0):
        ranker, chosen = make_ranker(), Settings(negatives="book", epochs=1, dropout=0.5)
        batches = Batches(ranker, windows, chosen, tmp_path / "vectors")  # the same ones
        train(ranker, batches, replace(chosen, seed=seed), tmp_path / f"run {len(found)}")
        found.append(ranker.heads.prefix.weight.detach())
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


def test_the_loss_that_is_told_is_of_the_last_tenth_of_the_steps(tmp_path):
    ranker = make_ranker(scale=3.0)
    windows = [Window(i // 4, 0, 3 * i, 3 * i + 2, WORDS[i], WORDS[i + 20]) for i in range(20)]
    chosen = Settings(negatives="book", epochs=4, batch_size=4, learning_rate=1e-30, dropout=0)
    batches = Batches(ranker, windows, chosen, tmp_path / "vectors")
    told = train(ranker, batches, chosen, tmp_path / "run")["loss"]
    losses = [Objective(ranker.heads)(**batches[i])["loss"].item() for i in range(20)]
    assert told == pytest.approx(sum(losses[-2:]) / 2, abs=2e-4) != pytest.approx(sum(losses[:2]) / 2, abs=1e-3)


def test_bfloat16_is_for_computing(tmp_path):
    windows = [window_at(0, 3 * i, 3 * i + 1, 3 * i + 2) for i in range(4)]
    found = []
    for bf16 in (False, True):
        ranker = make_ranker()
        ranker.encoder.float()
        ranker.heads.float()
        chosen = Settings(full=True, negatives="book", epochs=1, bf16=bf16)
        train(ranker, Batches(ranker, windows, chosen, None), chosen, tmp_path / str(bf16))
        assert {parameter.dtype for parameter in ranker.encoder.parameters()} == {torch.float32}
        found.append(torch.cat([parameter.detach().flatten() for parameter in ranker.encoder.parameters()]))
    assert not torch.equal(*found)
    torch.testing.assert_close(*found, rtol=0, atol=1e-3)  # a step is of 3e-4


def test_full_training_leaves_the_embeddings(run, chains, tmp_path):
    assert run(chains, "--output", tmp_path / "new", *CUT, "--full", "--epochs", 1, "--windows", 8)[0] == 0
    tuned, first = Ranker.from_pretrained(tmp_path / "new").encoder, bert(layers=1).float()
    for (name, a), (_, b) in zip(tuned.named_parameters(), first.named_parameters(), strict=True):
        if "pooler" not in name:
            assert torch.equal(a, b) == (name == "embeddings.word_embeddings.weight"), name
    assert fingerprint(tuned) == report_of(tmp_path / "new")["digest"]


def test_batches_are_of_the_seed_of_the_training():
    windows = [window_at(0, i, i + 1, i + 2) for i in range(9)]
    plan = lambda seed: (
        Batches(make_ranker(), windows, Settings(epochs=1, batch_size=3, full=True, seed=seed), None).plan
    )
    assert plan(1) == plan(1) != plan(2)


def test_a_training_that_diverges_is_said(run, chains, tmp_path):
    status, _, err = run(chains, "--output", tmp_path / "new", *CUT, "--similarity", "dot", "--learning-rate", 1e30)
    assert (status, len(err)) == (2, 1)
    assert "the training diverged: lower the learning rate" in err[0]
    assert not (tmp_path / "new" / "ranker.json").exists()


def test_the_newest_whole_checkpoint(tmp_path):
    assert last_checkpoint(tmp_path / "none") is None
    for step in (9, 100, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if step != 100:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-20")
    assert not (tmp_path / "checkpoint-100").exists()
