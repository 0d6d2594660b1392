"""Training a ranker: windows, batches, the loss, what is measured, resumed, said and refused."""

import gzip
import json
import math
import random
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import Trainer
from transformers.generation import TopKLogitsWarper
from transformers.utils import logging as transformers_logging

from scorers import train as command
from scorers.ranker import Heads, Ranker, fingerprint, load_encoder
from scorers.ranker_training import job
from scorers.ranker_training.accuracy import WAYS, identify, mean_with_interval
from scorers.ranker_training.negatives import Generator, choose, generate_into, read_generated
from scorers.ranker_training.pairs import (  # fmt: skip
    Cut,
    Document,
    Window,
    draw_distractors,
    make_batches,
    overlaps,
    read_documents,
    sentences,
    split,
    with_generated,
)
from scorers.ranker_training.training import (
    Batches,
    Objective,
    Settings,
    contrastive_loss,
    last_checkpoint,
    read_states,
    train,
)
from tests.support import tiny
from tests.support.rankers import WORDS, bert, make_ranker, needs_package, word_tokenizer

CHAIN = random.Random(7).sample(WORDS, 18)


def chain_text(start, length=18):
    """A sentence a line: a word thrice, and one by chance. The word says which one is in the next sentence."""
    draw = random.Random(start)
    walk = [CHAIN[(start + i) % len(CHAIN)] for i in range(length)]
    return "\n".join(f"{word} {word} {draw.choice(WORDS)} {word} ." for word in walk)


def chain_file(folder, number=18):
    file = folder / "chains.jsonl"
    file.write_text("".join(json.dumps({"text": chain_text(i)}) + "\n" for i in range(number)))
    return file


CUT = ("--prefix-words", 5, "--continuation-words", 5, 5)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    bert(layers=1).float().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    tiny.llama().float().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def chains(tmp_path):
    return chain_file(tmp_path)


@pytest.fixture(autouse=True)
def _loud_again():
    """The command silences transformers for its own process; this one goes on with other tests."""
    level = transformers_logging.get_verbosity()
    yield
    transformers_logging.set_verbosity(level)
    transformers_logging.enable_progress_bar()


@pytest.fixture
def run(encoder, capsys):
    """Run the command in this process: (exit status, lines of stdout, lines of stderr)."""

    def run(*arguments):
        given = [] if "--encoder" in arguments else ["--encoder", encoder]
        given += [] if "--prefix-length" in arguments else ["--prefix-length", "8"]
        given += [] if "--suffix-length" in arguments else ["--suffix-length", "8"]
        capsys.readouterr()
        try:
            status = command.main([*map(str, arguments), *given, "--device", "cpu"])
        except SystemExit as error:  # argparse's own
            status = error.code
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run


def report_of(folder):
    return json.loads((folder / "ranker.json").read_text())


# ---------------------------------------------------------------------------------------------------------- the loss


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


# --------------------------------------------------------------------------------------------- documents and windows

PIECES = st.lists(st.sampled_from(["aa", "bb cc", "Dd", ".", "! ", '?" ', "\n", " ", "  ", "Mr. "]), max_size=60)


@given(PIECES.map(" ".join))
@settings(max_examples=200, deadline=None)
def test_sentences_are_all_of_the_text_but_space(text):
    spans = sentences(text)
    assert "".join(text[start:end] for start, end in spans).split() == text.split() or spans
    covered = {i for start, end in spans for i in range(start, end)}
    assert all(text[i].isspace() for i in range(len(text)) if i not in covered)
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert all(a[1] < b[0] for a, b in pairwise(spans))


def test_what_goes_on_in_small_letters_is_the_same_sentence():
    said = ['"Why?" said he.', "Mr. Poe left... and wept!", '"No."', "Mrs. Poe, Ms. Roe, Dr. Foe and St. John stayed."]
    text = " ".join(said)
    assert [text[start:end] for start, end in sentences(text)] == said


@given(PIECES.map(" ".join), st.integers(1, 9), st.integers(1, 3), st.integers(0, 6), st.integers(0, 3))
@settings(max_examples=200, deadline=None)
def test_windows_are_whole_sentences_side_by_side(text, words, shortest, more, seed):
    cut = Cut(5, words, shortest, shortest + more, seed)
    spans = sentences(text)
    starts, ends = {start for start, _ in spans}, {end for _, end in spans}
    windows = cut.windows(3, text)
    assert windows == cut.windows(3, text)
    assert len(windows) == len({window.middle for window in windows}) <= 5
    for window in windows:
        assert window.document == 3
        assert {window.start, window.middle} <= starts
        assert window.end in ends
        assert window.continuation == text[window.middle : window.end]
        assert text[window.start : window.middle].rstrip() == window.prefix
        assert shortest <= len(window.prefix.split()) <= words
        assert shortest <= len(window.continuation.split()) <= shortest + more
        before = [start for start in starts if start < window.start]
        if before:  # the prefix could not be longer
            assert len(text[max(before) : window.middle].split()) > words


@given(st.lists(st.integers(1, 4), min_size=2, max_size=12), st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_prefixes_are_as_long_as_can_be(lengths, words):
    text = "\n".join(" ".join(["aa"] * length) for length in lengths)
    for window in Cut(99, words, 1, 4).windows(0, text):
        border = text[: window.middle].count("\n")
        runs = [sum(lengths[i:border]) for i in range(border)]
        assert len(window.prefix.split()) == max(run for run in runs if run <= words)


def test_every_place_that_can_be_a_window_is_one():
    text = " ".join(f"Aa{i} bb cc." for i in range(30))
    assert len(Cut(100, 6, 3, 3).windows(0, text)) == 29
    assert {len(window.prefix.split()) for window in Cut(100, 6, 3, 3).windows(0, text)} == {3, 6}
    lengths = {len(window.continuation.split()) for window in Cut(100, 6, 3, 12).windows(0, text)}
    assert lengths == {3, 6, 9, 12}
    assert len(Cut(7, 6, 3, 3).windows(0, text)) == 7
    assert Cut(7, 6, 3, 3, 0).windows(0, text) != Cut(7, 6, 3, 3, 1).windows(0, text)
    places = lambda document, text: [(w.start, w.middle, w.end) for w in Cut(7, 6, 3, 3).windows(document, text)]
    assert places(0, text) == places(5, text)  # whatever else is read
    assert places(0, text) != places(0, text.replace("bb", "dd"))


def test_documents_from_files(tmp_path):
    (tmp_path / "a.txt").write_text("One.\nTwo.\n")
    (tmp_path / "b.jsonl").write_text('{"text": "Three."}\n\n{"text": "One.\\nTwo.\\n"}\n')
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfFour."))
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b'{"story": "Five.", "text": 3}'))
    found = read_documents([tmp_path / name for name in ("a.txt", "b.jsonl", "c.txt.gz")])
    assert found == [Document("a.txt", "One.\nTwo.\n"), Document("b.jsonl:1", "Three."), Document("c.txt", "Four.")]
    assert [document.text for document in read_documents([tmp_path / "d.jsonl.gz"], "story")] == ["Five."]


@given(st.integers(2, 30), st.floats(0.01, 0.99), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_no_document_is_on_both_sides(number, fraction, seed):
    documents = [Document(str(i), str(i)) for i in range(number)]
    train, held_out = split(documents, fraction, seed)
    assert sorted(train + held_out) == list(range(number))
    assert train
    assert held_out
    assert abs(len(held_out) - fraction * number) <= 1
    assert split(documents, fraction, seed) == (train, held_out)


def test_the_seed_says_which_documents_are_held_out():
    documents = [Document(str(i), str(i)) for i in range(12)]
    assert len({str(split(documents, 0.5, seed)) for seed in range(4)}) > 1


def window(document, start, middle, end, generated=None):
    return Window(document, start, middle, end, f"{document}/{start}", f"{document}/{middle}", generated)


WINDOWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(1, 5), st.integers(1, 5)).map(
        lambda w: window(w[0], w[1], w[1] + w[2], w[1] + w[2] + w[3])
    ),
    min_size=1, max_size=25,
)  # fmt: skip


@given(WINDOWS)
@settings(max_examples=100, deadline=None)
def test_overlaps_are_shared_characters(windows):
    places = [{(w.document, i) for i in range(w.middle, w.end)} for w in windows]
    assert overlaps(windows).tolist() == [[bool(a & b) for b in places] for a in places]


@given(WINDOWS, st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_distractors_share_nothing_with_the_window(windows, number):
    drawn = draw_distractors(windows, number, seed=1)
    for i, this in enumerate(windows):
        whole = {(this.document, k) for k in range(this.start, this.end)}
        fit = [
            j for j, w in enumerate(windows)
            if w.document == this.document and not whole & {(w.document, k) for k in range(w.middle, w.end)}
        ]  # fmt: skip
        assert set(drawn.document[i]) <= set(fit)
        assert len(set(drawn.document[i])) == len(drawn.document[i]) == min(number, len(fit))
        strangers = [j for j, w in enumerate(windows) if w.document != this.document]
        assert set(drawn.random[i]) <= set(strangers)
        assert len(set(drawn.random[i])) == len(drawn.random[i]) == min(number, len(strangers))


def test_batches_are_of_one_document_and_small_ones_share():
    sizes = {0: 10, 1: 7, 2: 1, 3: 1, 4: 4, 5: 1}
    windows = [window(document, i, i + 1, i + 2) for document, size in sizes.items() for i in range(size)]
    plan = make_batches(windows, 4, 2, seed=0)
    half = len(plan) // 2
    for epoch in (plan[:half], plan[half:]):
        assert sorted(i for batch in epoch for i in batch) == list(range(24))
        kinds = [sorted({windows[i].document for i in batch}) for batch in epoch]
        assert sorted(map(len, epoch)) == [3, 3, 3, 3, 4, 4, 4]
        assert sorted(kinds) == [[0], [0], [0], [1], [1], [2, 3, 5], [4]]
        assert kinds not in ([[0], [0], [0], [1], [1], [4], [2, 3, 5]], sorted(kinds))  # documents come in any order
    assert plan[:half] != plan[half:]
    assert make_batches(windows, 4, 2, seed=0) == plan != make_batches(windows, 4, 2, seed=1)


def test_small_documents_share_with_others_in_each_epoch():
    plan = make_batches([window(document, 0, 1, 2) for document in range(6)], 4, 8, seed=0)
    assert len({frozenset(batch) for batch in plan if len(batch) == 4}) > 4


def test_half_a_batch_is_not_small():
    windows = [window(document, i, i + 1, i + 2) for document in (0, 1) for i in range(2)]
    assert sorted(map(sorted, make_batches(windows, 4, 1, seed=0))) == [[0, 1], [2, 3]]
    assert sorted(map(sorted, make_batches(windows, 5, 1, seed=0))) == [[0, 1, 2, 3]]


def test_a_window_without_any_negative_is_no_batch():
    assert make_batches([window(0, 0, 1, 2)], 4, 3, seed=0) == []
    assert make_batches([window(0, 0, 1, 2, "made")], 4, 3, seed=0) == [[0]] * 3


@given(st.text("ab \n", max_size=20), st.text("cd \n", max_size=20))
def test_true_and_generated_are_cut_to_the_same_words(true, made):
    cut = with_generated(Window(0, 0, 5, 5 + len(true), "p", true), made)
    length = min(len(true.split()), len(made.split()))
    assert cut.continuation.split() == true.split()[:length]
    assert cut.generated.split() == made.split()[:length]
    assert cut.end - cut.middle == len(cut.continuation)


# ------------------------------------------------------------------------------------------------ generated negatives


def some_windows():
    return [
        w for i in range(3) for w in Cut(4, 6, 2, 6).windows(i, " ".join(f"Ab{'c' * j} d{'e' * i}." for j in range(9)))
    ]


def test_choice_takes_documents_in_turn():
    windows = some_windows()
    prefixes = [w.prefix for w in windows]
    assert choose(windows, 5) == [prefixes[i] for i in (0, 4, 8, 1, 5)]
    assert choose(windows, 99) == [prefixes[i] for i in (0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11)]


def test_generating_goes_on_where_it_was_killed(language_model, tmp_path, monkeypatch):
    generator = Generator(language_model, new_tokens=6, context=9, batch_size=3, seed=4)
    prefixes = choose(some_windows(), 8)
    state = torch.get_rng_state()
    made = generate_into(tmp_path / "whole.jsonl", generator, prefixes)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(made) == prefixes
    assert made == read_generated(tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    for kept in (0, 1, len(whole) // 2, len(whole) - 1, len(whole)):
        (tmp_path / "part.jsonl").write_bytes(whole[:kept])
        assert generate_into(tmp_path / "part.jsonl", generator, prefixes) == made
        assert (tmp_path / "part.jsonl").read_bytes() == whole
    monkeypatch.setattr(Generator, "_load", lambda self: pytest.fail("the weights were loaded"))
    assert generate_into(tmp_path / "whole.jsonl", generator, prefixes) == made
    others = {"new_tokens": 7, "context": 8, "top_p": 0.8, "batch_size": 2, "seed": 5, "dtype": "bfloat16"}
    for name, value in others.items():
        with pytest.raises(ValueError, match="made with other settings"):
            generate_into(tmp_path / "whole.jsonl", replace(generator, **{name: value}), prefixes)


def test_generates_from_the_nucleus_behind_the_end_of_the_prefix(language_model):
    """With a nucleus of one token it is greedy, which can be recounted row by row."""
    generator = Generator(language_model, new_tokens=5, context=7, top_p=1e-9, batch_size=2)
    words, model = tiny.tokenizer(), tiny.llama().float()
    prefixes = ["abcdefghijkl", "xyz", "hello there"]
    records = [record for batch in generator.batches(prefixes) for record in batch]
    for prefix, record in zip(prefixes, records, strict=True):
        ids = words(prefix).input_ids[-7:]
        new: list[int] = []
        while len(new) < 5 and tiny.EOS not in new:
            new.append(model(torch.tensor([ids + new])).logits[0, -1].argmax().item())
        assert record["continuation"] == words.decode(new, skip_special_tokens=True)
        assert record["prompt"] == prefix
    sampled = Generator(language_model, new_tokens=5, batch_size=2).batches(prefixes)
    assert [r["continuation"] for batch in sampled for r in batch] != [r["continuation"] for r in records]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_of_the_precision_that_was_asked_for(language_model, dtype):
    model, _ = Generator(language_model, dtype=dtype)._load()
    assert model.dtype == getattr(torch, dtype)


def test_only_the_nucleus_cuts_and_the_models_own_settings_have_no_say(language_model, tmp_path, monkeypatch):
    model = tiny.llama().float()
    model.generation_config.update(do_sample=True, temperature=0.1, repetition_penalty=3.0, top_k=5)
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    monkeypatch.setattr(TopKLogitsWarper, "__init__", lambda *_, **__: pytest.fail("cut at a number"))
    first, second = (
        [record["continuation"] for batch in Generator(folder, new_tokens=40).batches(["ab"] * 3) for record in batch]
        for folder in (language_model, str(tmp_path))
    )
    assert first == second


def test_every_batch_and_seed_draws_anew(language_model):
    generate = lambda seed: Generator(language_model, new_tokens=9, batch_size=2, seed=seed).batches(
        ["ab"] * 2 + ["ac"] * 2
    )
    same = lambda seed: Generator(language_model, new_tokens=9, batch_size=1, seed=seed).batches(["ab", "ab"])
    texts = lambda batches: [record["continuation"] for batch in batches for record in batch]
    assert texts(generate(0)) == texts(generate(0)) != texts(generate(1))
    first, second = texts(same(0))
    assert first != second


def test_reads_what_other_programs_made(tmp_path):
    file = tmp_path / "made.jsonl"
    file.write_text(
        '{"id": 0, "prompt": "a", "continuation": " b", "tokens": 1}\n\n'
        '{"prompt": "a", "continuation": "second"}\n{"prompt": "c", "continuation": "d"}\n{"prompt": "to'
    )
    assert read_generated(file) == {"a": " b", "c": "d"}
    file.write_text('{"prompt": "a"}\n{"prompt": "c", "continuation": "d"}\n')
    with pytest.raises(ValueError, match=r"made.jsonl, line 1: needs"):
        read_generated(file)


# --------------------------------------------------------------------------------------------------------- the figures


def test_interval_is_of_documents():
    draw = np.random.default_rng(0)
    documents = draw.integers(0, 9, 200)
    values = (documents * 7919 % 10) / 10 + draw.random(200) / 100
    found = mean_with_interval(values.tolist(), documents.tolist())
    means = []
    for _ in range(2000):  # the same, by drawing documents one by one
        rows = np.concatenate([np.flatnonzero(documents == i) for i in draw.choice(np.unique(documents), 9)])
        means.append(values[rows].mean())
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-4)
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    assert (found["windows"], found["documents"]) == (200, 9)
    assert mean_with_interval(values.tolist(), documents.tolist()) == found
    assert mean_with_interval([0.0] * 8 + [1.0], list(range(9)))["low"] == 0  # quantiles of what was drawn
    alone = mean_with_interval([0.0, 1.0], [3, 3])
    assert alone == {"mean": 0.5, "low": None, "high": None, "windows": 2, "documents": 1}


def test_ties_lose():
    windows = [window(0, 0, 1, 2, "made"), window(0, 2, 3, 4, "made"), window(1, 0, 1, 2)]
    vectors = lambda texts, values: {text: torch.tensor([value]) for text, value in zip(texts, values, strict=True)}
    prefix = vectors([w.prefix for w in windows], [1.0, 1.0, 1.0])
    suffix = vectors([*(w.continuation for w in windows), "made"], [1.0, 2.0, 1.0, 1.0])
    tasks = identify(windows, draw_distractors(windows), prefix, suffix)
    assert tasks == {"document": {0: 0.0, 1: 1.0}, "random": {0: 0.0, 1: 1.0, 2: 0.0}, "generated": {0: 0.0, 1: 1.0}}


def recount(ranker, windows, seed):
    """The accuracies, by asking the ranker for the scores of each window's texts."""
    drawn, found = draw_distractors(windows, seed=seed), {}
    for i, this in enumerate(windows):
        rivals = {
            "document": [windows[j].continuation for j in drawn.document[i]],
            "random": [windows[j].continuation for j in drawn.random[i]],
            "generated": [this.generated] if this.generated else [],
        }
        for task, texts in rivals.items():
            true, *wrong = ranker([this.prefix] * (1 + len(texts)), [this.continuation, *texts]).tolist()
            wins = [true > other for other in wrong]
            if wins:
                found.setdefault(task, []).append(sum(wins) / len(wins))
            if len(wins) == WAYS:
                found.setdefault(f"{task} 11-way", []).append(float(all(wins)))
    return {task: sum(values) / len(values) for task, values in found.items()}


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("full", [False, True])
def test_learns_a_signal_that_the_encoder_does_not_know(run, chains, tmp_path, full):
    """Each word leads to one other word, the same in all documents: chance before, nearly all after."""
    extra = (
        ("--full", "--epochs", 20, "--learning-rate", 3e-3, "--dropout", 0)
        if full
        else ("--epochs", 60, "--learning-rate", 1e-2, "--dropout", 0)
    )
    status, out, err = run(chains, "--output", tmp_path / "new", *CUT, *extra, "--scale", 10, "--batch-size", 18)
    assert (status, err, len(out)) == (0, [], 1)
    accuracy = report_of(tmp_path / "new")["accuracy"]
    assert accuracy["before"]["document"]["mean"] < 0.65
    assert accuracy["after"]["document"]["mean"] > 0.9
    assert accuracy["after"]["document 11-way"]["mean"] > 0.6
    assert accuracy["gain"]["document"]["low"] > 0.2
    assert accuracy["after"]["document"]["documents"] == 4


@pytest.mark.parametrize("full", [False, True, 2])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_report_tells_what_the_saved_ranker_does(run, chains, tmp_path, encoder, full, similarity):
    made = tmp_path / "made.jsonl"
    documents = read_documents([chains])
    cut = Cut(6, 5, 5, 5, 3)
    sides = split(documents, 0.3, 3)
    windows = [[w for i in side for w in cut.windows(i, documents[i].text)] for side in sides]
    records = [{"prompt": w.prefix, "continuation": w.prefix + " aa"} for side in windows for w in side[::2]]
    made.write_text("".join(json.dumps(record) + "\n" for record in records))
    output = tmp_path / "new"
    extra = (["--full"] if full else []) + (["--rank", full, "--learning-rate", 1e-2] if full == 2 else [])
    status, out, _ = run(
        chains, "--output", output, *CUT, "--windows", 6, "--seed", 3, "--held-out", 0.3, "--generated", made,
        "--epochs", 1, "--similarity", similarity, *extra,
    )  # fmt: skip
    assert status == 0
    report = report_of(output)
    continued = {record["prompt"]: record["continuation"] for record in records}
    held_out = [with_generated(w, continued[w.prefix]) if w.prefix in continued else w for w in windows[1]]
    ranker = Ranker.from_pretrained(output)
    after = recount(ranker, held_out, 3)
    assert {task: found["mean"] for task, found in report["accuracy"]["after"].items()} == pytest.approx(
        after, abs=1e-4
    )
    ranker.heads.prefix.weight.data.zero_()
    ranker.heads.suffix.weight.data.zero_()
    ranker.heads.similarity = "cosine"
    if not full:
        before = recount(ranker, held_out, 3)
        found = {task: entry["mean"] for task, entry in report["accuracy"]["before"].items()}
        assert found == pytest.approx(before, abs=1e-4)
        for task, gain in report["accuracy"]["gain"].items():
            assert gain["mean"] == pytest.approx(after[task] - before[task], abs=2e-4)
    assert report["command"].startswith(f"python -m scorers.train {chains} --output {output} --prefix-words 5 ")
    training = report["training"]
    assert training["windows"] == {"train": len(windows[0]), "held_out": len(windows[1])}
    assert training["generated"] == {
        name: sum(w.prefix in continued for w in windows[i]) for i, name in enumerate(("train", "held_out"))
    }
    assert (training["negatives"], training["rank"]) == ("both", 2 if full == 2 else None)
    assert training["documents"]["held_out"] == [documents[i].name for i in sides[1]]
    assert (report["encoder"], (output / "encoder").exists()) == ((None, True) if full is True else (encoder, False))
    assert f"document {100 * report['accuracy']['before']['document']['mean']:.1f} -> " in out[0]
    assert sorted(file.name for file in output.iterdir()) == sorted(
        ["ranker.json", "ranker.safetensors", "run.json", *(["encoder"] if full is True else [])]
    )


def weights_of(folder):
    return {file.name: load_file(file) for file in sorted(folder.rglob("*.safetensors"))}


def stop_at(monkeypatch, step):
    """A Ctrl-C in the training, at a step."""
    train_step = Trainer.training_step

    def stopping(self, *arguments, **options):
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return train_step(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "training_step", stopping)


@pytest.mark.parametrize("full", [False, True])
def test_a_killed_training_ends_with_the_same_weights(run, chains, tmp_path, monkeypatch, full):
    arguments = [chains, *CUT, "--batch-size", 6, "--epochs", 1, "--save-every", 4, *(["--full"] if full else [])]
    assert run(*arguments, "--output", tmp_path / "whole")[0] == 0
    output = tmp_path / "killed"
    with monkeypatch.context() as patch:
        stop_at(patch, 11)
        assert run(*arguments, "--output", output) == (130, [], ["stopped; run it again to go on"])
    assert [place.name for place in sorted((output / "checkpoints").iterdir())] == ["checkpoint-4", "checkpoint-8"]
    (output / "checkpoints" / "checkpoint-12").mkdir()  # a kill while it was written
    taken = []
    with monkeypatch.context() as patch:
        train_step = Trainer.training_step
        patch.setattr(
            Trainer, "training_step",
            lambda self, *a, **k: (taken.append(self.state.global_step), train_step(self, *a, **k))[1],
        )  # fmt: skip
        assert run(*arguments, "--output", output)[0] == 0
    assert taken == list(range(8, report_of(output)["training"]["steps"]))
    ours, theirs = weights_of(output), weights_of(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert all(torch.equal(ours[name][key], theirs[name][key]) for key in theirs[name]), name
    assert report_of(output)["accuracy"] == report_of(tmp_path / "whole")["accuracy"]


def test_a_finished_training_is_not_done_again(run, chains, tmp_path, monkeypatch):
    arguments = [chains, *CUT, "--output", tmp_path / "new", "--epochs", 1]
    first = run(*arguments)
    monkeypatch.setattr(job, "load_encoder", lambda *_: pytest.fail("the weights were loaded"))
    assert run(*arguments) == first
    status, _, err = run(*arguments, "--seed", 1)
    assert (status, len(err)) == (2, 1)
    assert "was begun with other texts or settings" in err[0]


def test_settings_come_last(tmp_path, monkeypatch):
    """A folder that has them is whole, wherever it was killed."""
    saved, output, moved = tmp_path / "saved", tmp_path / "output", []
    make_ranker().save_pretrained(saved, None)
    (output / "encoder").mkdir(parents=True)  # of a run that was killed here
    (output / "encoder" / "old").touch()
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (moved.append(self.name), replace(self, to))[1])
    job.publish(saved, output, {"command": "this"})
    assert sorted(moved[:2]) == ["encoder", "ranker.safetensors"]
    assert moved[2:] == ["ranker.json"]
    assert report_of(output)["command"] == "this"
    assert not (output / "encoder" / "old").exists()


def test_other_texts_are_another_training(run, chains, tmp_path):
    arguments = [chains, *CUT, "--output", tmp_path / "new", "--epochs", 1]
    assert run(*arguments)[0] == 0
    chains.write_text(chains.read_text().replace("aa", "ab"))
    assert "was begun with other texts or settings" in run(*arguments)[2][0]


def test_settings_reach_the_training(run, chains, tmp_path):
    found = {}
    base = ("--windows", 8, "--epochs", 1, "--batch-size", 8)
    for name, extra in {
        "plain": (), "again": (), "epochs": ("--epochs", 2), "batch": ("--batch-size", 4),
        "rate": ("--learning-rate", 1e-4), "decay": ("--weight-decay", 9.0), "dropout": ("--dropout", 0.5),
        "seed": ("--seed", 1), "scale": ("--scale", 5),
        "dot": ("--similarity", "dot"), "held out": ("--held-out", 0.5), "windows": ("--windows", 6),
        "prefix": ("--prefix-length", 4), "suffix": ("--suffix-length", 4),
    }.items():  # fmt: skip
        output = tmp_path / name
        assert run(chains, "--output", output, *CUT, *base, *extra)[0] == 0, name
        found[name] = load_file(output / "ranker.safetensors")["prefix.weight"]
    assert torch.equal(found.pop("again"), found["plain"])
    for name in found.keys() - {"plain"}:
        assert not torch.equal(found[name], found["plain"]), name


def test_kinds_of_negatives(run, chains, tmp_path):
    prefixes = [w.prefix for i, d in enumerate(read_documents([chains])) for w in Cut(100, 5, 5, 5).windows(i, d.text)]
    made = tmp_path / "made.jsonl"
    made.write_text("".join(json.dumps({"prompt": p, "continuation": p[::-1]}) + "\n" for p in prefixes[::3]))
    found = {}
    for kind in ("book", "generated", "both"):
        status, *_ = run(chains, "--output", tmp_path / kind, *CUT, "--generated", made, "--negatives", kind,
                         "--epochs", 3)  # fmt: skip
        assert status == 0
        report = report_of(tmp_path / kind)
        found[kind] = load_file(tmp_path / kind / "ranker.safetensors")["prefix.weight"]
        assert report["accuracy"]["before"]["generated"]["windows"] == report["training"]["generated"]["held_out"] > 0
        assert report["training"]["negatives"] == kind
    assert not torch.equal(found["book"], found["both"])
    assert not torch.equal(found["generated"], found["both"])


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
    windows = [window(0, 3 * i, 3 * i + 1, 3 * i + 2) for i in range(4)]
    chosen = Settings(full=True, negatives="book", epochs=1)
    found = train(ranker, Batches(ranker, windows, chosen, None), chosen, tmp_path)
    assert found["steps"] == 1
    assert not ranker.encoder.training
    assert not ranker.heads.training


def test_the_seed_is_that_of_dropout_too(tmp_path):
    windows, found = [window(0, 3 * i, 3 * i + 1, 3 * i + 2) for i in range(4)], []
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
    windows = [window(0, 3 * i, 3 * i + 1, 3 * i + 2) for i in range(4)]
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


def test_vectors_are_kept_for_other_trainings(run, chains, tmp_path, monkeypatch):
    vectors = tmp_path / "vectors"
    arguments = [chains, *CUT, "--vectors", vectors]
    assert run(*arguments, "--output", tmp_path / "a", "--epochs", 1)[0] == 0
    (tmp_path / "half").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Ranker, "pooled", lambda *_: pytest.fail("texts were read again"))
        assert run(*arguments, "--output", tmp_path / "b", "--epochs", 2)[0] == 0
    assert all(file.suffix == ".safetensors" for file in vectors.iterdir())


def test_vectors_that_are_kept_are_those_of_the_texts(tmp_path, monkeypatch):
    ranker, texts = make_ranker(), [f"{a} {b}" for a, b in pairwise(WORDS[:9])]
    found = read_states(ranker, "prefix", texts, tmp_path, chunk=3)
    expected = dict(zip(texts, ranker.pooled("prefix", texts), strict=True))
    assert found.keys() == expected.keys()
    for text in texts:
        torch.testing.assert_close(found[text], expected[text], rtol=1e-12, atol=1e-12)
    count = len(list(tmp_path.iterdir()))
    assert count == 3
    torn, other = sorted(tmp_path.iterdir())[:2]
    torn.write_bytes(torn.read_bytes()[:50])
    save_file({"states": torch.zeros(2, 2)}, other)  # not as many as it is for
    again = read_states(ranker, "prefix", texts, tmp_path, chunk=3)
    assert all(torch.equal(again[text], found[text]) for text in texts)
    read_states(ranker, "suffix", texts, tmp_path, chunk=3)
    other = make_ranker(prefix_length=4)
    read_states(other, "prefix", texts, tmp_path, chunk=3)
    assert len(list(tmp_path.iterdir())) == 3 * count
    other.encoder.embeddings.word_embeddings.weight.data += 1
    assert not torch.equal(read_states(other, "prefix", texts, tmp_path, chunk=3)[texts[0]], found[texts[0]])


def test_full_training_leaves_the_embeddings(run, chains, tmp_path):
    assert run(chains, "--output", tmp_path / "new", *CUT, "--full", "--epochs", 1, "--windows", 8)[0] == 0
    tuned, first = Ranker.from_pretrained(tmp_path / "new").encoder, bert(layers=1).float()
    for (name, a), (_, b) in zip(tuned.named_parameters(), first.named_parameters(), strict=True):
        if "pooler" not in name:
            assert torch.equal(a, b) == (name == "embeddings.word_embeddings.weight"), name
    assert fingerprint(tuned) == report_of(tmp_path / "new")["digest"]


def test_makes_negatives_itself(run, tmp_path, language_model, monkeypatch):
    file = tmp_path / "texts.jsonl"
    texts = [" ".join(f"Aa bb {WORDS[12 * i + j]} cc." for j in range(12)) for i in range(5)]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    output = tmp_path / "new"
    arguments = [file, "--output", output, "--prefix-words", 8, "--continuation-words", 1, 8, "--generate", 15,
                 "--generator", language_model, "--generated-tokens", 40,
                 "--generator-context", 16, "--epochs", 1]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(job, "load_encoder", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*arguments)[0] == 130
    made = (output / "generated.jsonl").read_bytes()
    assert run(*arguments)[0] == 0
    assert (output / "generated.jsonl").read_bytes() == made
    assert len(made.splitlines()) == 15
    training = report_of(output)["training"]
    words = [len(json.loads(line)["continuation"].split()) for line in made.splitlines()]
    assert sum(training["generated"].values()) == sum(count >= 1 for count in words) > 5
    assert training["generator"]["top_p"] == 0.9
    assert training["negatives"] == "both"


def test_prompts_for_another_program(run, chains, tmp_path):
    prompts, output = tmp_path / "prompts.jsonl", tmp_path / "new"
    status, out, err = run(chains, *CUT, "--generate", 30, "--prompts", prompts)
    assert (status, out, err) == (0, [], [f"30 prefixes written to {prompts}"])
    lines = [json.loads(line) for line in prompts.read_text().splitlines()]
    again = tmp_path / "again.jsonl"
    assert run(chains, *CUT, "--generate", 30, "--prompts", again, "--held-out", 0.5)[0] == 0
    assert again.read_text() == prompts.read_text()
    made = tmp_path / "made.jsonl"
    made.write_text("".join(json.dumps({**line, "continuation": "aa ab ac ad ae af"}) + "\n" for line in lines))
    assert run(chains, *CUT, "--output", output, "--generated", made, "--epochs", 1)[0] == 0
    asked = {line["prompt"] for line in lines}
    windows = [w for i, d in enumerate(read_documents([chains])) for w in Cut(100, 5, 5, 5).windows(i, d.text)]
    assert sum(report_of(output)["training"]["generated"].values()) == sum(w.prefix in asked for w in windows) >= 30


def test_what_is_generated_too_short_is_left_out(run, chains, tmp_path):
    prefixes = [w.prefix for i, d in enumerate(read_documents([chains])) for w in Cut(100, 5, 5, 5).windows(i, d.text)]
    made = tmp_path / "made.jsonl"
    texts = ["aa ab ac ad", "aa ab ac ad ae", ""]
    made.write_text(
        "".join(json.dumps({"prompt": p, "continuation": t}) + "\n" for p, t in zip(prefixes, texts, strict=False))
    )
    assert run(chains, *CUT, "--output", tmp_path / "new", "--generated", made, "--epochs", 1)[0] == 0
    assert sum(report_of(tmp_path / "new")["training"]["generated"].values()) == 1


def test_a_bar_for_who_watches_and_nothing_on_stdout(run, chains, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    status, out, err = run(chains, "--output", tmp_path / "new", *CUT, "--epochs", 1, "--windows", 8)
    assert (status, len(out)) == (0, 1)
    assert any(re.search(r"\b(\d+)/\1 ", line) for line in err)


REFUSED = [
    (("no-such-file", "--output", "new"), "no-such-file: No such file or directory"),
    ((".", "--output", "new"), "Is a directory"),
    (("empty.txt", "--output", "new"), "no text in empty.txt"),
    (("good.txt", "--output", "new"), "one document is not enough"),
    (("good.txt", "good.txt", "--output", "new"), "one document is not enough"),
    (("good.jsonl", "--output", "new", "--continuation-words", "900", "999"), "no texts to train on: a pair takes"),
    (("bad.jsonl", "--output", "new"), 'bad.jsonl, line 2: needs a JSON object with a "text"'),
    (("good.jsonl", "--output", "new", "--field", "story"), 'line 1: needs a JSON object with a "story"'),
    (("bad.gz", "--output", "new"), "bad.gz: not a whole gzip file"),
    (("latin.txt", "--output", "new"), "latin.txt: not valid UTF-8"),
    (("surrogate.jsonl", "--output", "new"), "surrogate.jsonl, line 1: needs a JSON object"),
    (("--output", "new"), "Missing argument 'FILE"),
    (("good.jsonl",), "--output DIR is missing"),
    (("good.jsonl", "--output", "."), "--output . is there already, and no empty folder"),
    (("good.jsonl", "--output", "good.txt"), "--output good.txt is there already, and no empty folder"),
    (("good.jsonl", "--output", "no/new"), "--output no/new: there is no folder no"),
    (("good.jsonl", "--output", "new", "--rank", "4"), "--rank belongs to --full"),
    (("good.jsonl", "--output", "new", "--rank", "0", "--full"), "--rank must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--bf16"), "--bf16 belongs to --full"),
    (("good.jsonl", "--output", "new", "--epochs", "0"), "--epochs must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--epochs", "x"), "Invalid value for '--epochs': Input should be a valid"),
    (("good.jsonl", "--output", "new", "--batch-size", "1"), "--batch-size must be at least 2: one window has no"),
    (("good.jsonl", "--output", "new", "--learning-rate", "0"), "--learning-rate must be above 0, not 0.0"),
    (("good.jsonl", "--output", "new", "--learning-rate", "nan"), "--learning-rate must be above 0, not nan"),
    (("good.jsonl", "--output", "new", "--weight-decay", "-1"), "--weight-decay must be at least 0, not -1.0"),
    (("good.jsonl", "--output", "new", "--dropout", "1"), "--dropout must be at least 0 and under 1, not 1.0"),
    (("good.jsonl", "--output", "new", "--seed", "-1"), "--seed must be between 0 and 2**32 - 1, not -1"),
    (("good.jsonl", "--output", "new", "--save-every", "0"), "--save-every must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--windows", "0"), "--windows must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--prefix-words", "0"), "--prefix-words must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--continuation-words", "9", "3"), "--continuation-words must be two numbers"),
    (("good.jsonl", "--output", "new", "--held-out", "0"), "--held-out must lie between 0 and 1, not 0.0"),
    (("good.jsonl", "--output", "new", "--held-out", "nan"), "--held-out must lie between 0 and 1, not nan"),
    (("good.jsonl", "--output", "new", "--scale", "0"), "--scale must be above 0, not 0.0"),
    (("good.jsonl", "--output", "new", "--similarity", "l2"), "--similarity must be one of cosine, dot, not l2"),
    (("good.jsonl", "--output", "new", "--prefix-length", "2"), "must be at least 3 tokens"),
    (("good.jsonl", "--output", "new", "--prefix-length", "41"), "41 tokens are over the encoder's window of 40"),
    (("good.jsonl", "--output", "new", "--encoder", "./nowhere"), "no encoder './nowhere': give a hub id or a folder"),
    (("good.jsonl", "--output", "new", "--encoder", "no-such/model"), "no encoder 'no-such/model'"),
    (("good.jsonl", "--output", "new", "--negatives", "both"), "--negatives both needs --generate N or --generated"),
    (("good.jsonl", "--output", "new", "--negatives", "all"), "--negatives must be one of book, generated, both"),
    (("good.jsonl", "--output", "new", "--generate", "0"), "--generate must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--generate", "5"), "--generate N and --generator NAME go together"),
    (("good.jsonl", "--output", "new", "--generator", "x"), "--generate N and --generator NAME go together"),
    (("good.jsonl", "--output", "new", "--generate", "5", "--generated", "good.jsonl"), "do not go together"),
    (("good.jsonl", "--output", "new", "--generate", "5", "--generator", "./x"), "no language model './x'"),
    (("good.jsonl", "--output", "new", "--generate", "5", "--generator", "x", "--top-p", "0"), "--top-p must"),
    (("good.jsonl", "--output", "new", "--generated", "nothing"), "nothing: No such file or directory"),
    (("good.jsonl", "--output", "new", "--generated", "bad.jsonl"), 'bad.jsonl, line 1: needs "prompt" and'),
    (("good.jsonl", "--output", "new", "--generated", "made.jsonl"), "no prompt in made.jsonl is a prefix of"),
    (("good.jsonl", "--prompts", "p"), "--prompts FILE goes with --generate N, and without --output"),
    (("good.jsonl", "--prompts", "p", "--generate", "5", "--output", "new"), "--prompts FILE goes with --generate N"),
    (("good.jsonl", "--prompts", "no/p", "--generate", "5"), "--prompts no/p: there is no folder no"),
    (("good.jsonl", "--output", "new", "--ep", "1"), "No such option: --ep"),
]  # fmt: skip


@pytest.fixture
def _files(tmp_path, monkeypatch):
    """The files that the refused calls name; no weights."""
    monkeypatch.chdir(tmp_path)
    text = " ".join(f"Aa bb cc dd ee ff gg hh ii jj kk {word}." for word in WORDS[:30])
    contents = {
        "good.txt": text, "empty.txt": "\n ", "made.jsonl": '{"prompt": "a", "continuation": "b"}\n{}',
        "good.jsonl": json.dumps({"text": text}) + "\n" + json.dumps({"text": text.replace("Aa", "Bb")}) + "\n",
        "bad.jsonl": '{"text": "a"}\n{"text": 1}\n', "surrogate.jsonl": '{"text": "\\ud800"}',
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "latin.txt").write_bytes(b"ab\n\xff\n")
    (tmp_path / "bad.gz").write_bytes(b"ab\ncd\n")
    monkeypatch.setattr(job, "load_encoder", lambda *_: pytest.fail("the weights were loaded"))
    monkeypatch.setattr(Generator, "_load", lambda *_: pytest.fail("the weights were loaded"))


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=str)
def test_refuses_in_one_line_before_weights_are_loaded(run, tmp_path, arguments, message):
    there = sorted(tmp_path.iterdir())
    status, out, err = run(*arguments)
    assert (status, out, len(err)) == (2, [], 1)
    assert err[0].startswith("scorers.train: error: ")
    assert message in err[0]
    assert sorted(tmp_path.iterdir()) == there


@pytest.mark.usefixtures("_files")
def test_refuses_generators_that_generate_nothing(run, encoder, tmp_path, language_model):
    call = ("good.jsonl", "--output", "new", "--generate", 5, "--generator")
    assert "no causal language model" in run(*call, make_t5(tmp_path / "t5"))[2][0]
    assert "outgrow the model's window of 128" in run(*call, language_model)[2][0]


def test_a_generator_may_fill_its_window_and_needs_something_to_pad_with(language_model, tmp_path):
    Generator(language_model, context=100, new_tokens=28).check()
    with pytest.raises(ValueError, match="window of 128"):
        Generator(language_model, context=100, new_tokens=29).check()
    shutil.copytree(language_model, tmp_path / "lm")
    words = tiny.tokenizer()
    words.pad_token = words.eos_token = None
    words.save_pretrained(tmp_path / "lm")
    with pytest.raises(ValueError, match="no token to pad with"):
        Generator(str(tmp_path / "lm"), context=9, new_tokens=9).check()


def make_t5(folder):
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=61, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def test_batches_are_of_the_seed_of_the_training():
    windows = [window(0, i, i + 1, i + 2) for i in range(9)]
    plan = lambda seed: (
        Batches(make_ranker(), windows, Settings(epochs=1, batch_size=3, full=True, seed=seed), None).plan
    )
    assert plan(1) == plan(1) != plan(2)


def test_refuses_in_python_too():
    for options, message in (({"negatives": "all"}, "book, generated or both"), ({"batch_size": 1}, "at least 2"),
                             ({"seed": 2**32}, "between 0"), ({"epochs": 0}, "at least 1")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Settings(**options)
    with pytest.raises(ValueError, match="--windows must be at least 1"):
        Cut(0)
    with pytest.raises(ValueError, match="must be at least 1"):
        Generator("x", context=0)


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


def test_help_has_examples(capsys):
    assert command.main(["--help"]) == 0
    assert "examples:" in capsys.readouterr().out


def test_knows_nothing_of_decoding():
    folder = Path(command.__file__).parent
    files = [folder / "ranker.py", folder / "train.py", *(folder / "ranker_training").glob("*.py")]
    assert len(files) >= 6
    for file in files:
        assert not re.search(r"^\s*(from|import) (decoding|benchmarks)", file.read_text(), re.M)


# ------------------------------------------------------------------------------------------------------ what is shipped


@needs_package
@pytest.mark.slow
def test_what_ships_beats_the_encoder_on_books_they_have_not_seen(real_data):
    """A few of the held-out windows of docs/methods/ranker.md."""
    found = read_documents([real_data("classic_books.jsonl.gz")])
    documents = {document.name: i for i, document in enumerate(found)}
    ranker = Ranker.from_pretrained()
    report = json.loads((Path(command.__file__).parent / "weights" / "ranker.json").read_text())
    held_out = [documents[name] for name in report["training"]["documents"]["held_out"]]
    assert held_out == split(found, 0.25, 0)[1]
    windows = [w for i in held_out for w in Cut(7).windows(i, found[i].text)]
    drawn = draw_distractors(windows).document

    def accuracy(ranker):
        p = ranker.read([w.prefix for w in windows])
        c = ranker.vectors("suffix", [w.continuation for w in windows])
        wins = [(p[i] @ c[i] > c[js] @ p[i]).double().mean().item() for i, js in enumerate(drawn)]
        return sum(wins) / len(wins)

    encoder, words = load_encoder(report["encoder"])
    after = accuracy(ranker)
    assert after > accuracy(Ranker(encoder, words, Heads(384, ranker.reading), ranker.reading)) + 0.02
    assert after == pytest.approx(report["accuracy"]["after"]["document"]["mean"], abs=0.04)
