"""Windows of documents: whole sentences side by side, batches, distractors."""

import gzip
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from scorers.ranker_training.pairs import (  # fmt: skip
    Cut,
    Document,
    draw_distractors,
    make_batches,
    overlaps,
    read_documents,
    sentences,
    split,
)
from tests.support.chains import window_at

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


WINDOWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(1, 5), st.integers(1, 5)).map(
        lambda w: window_at(w[0], w[1], w[1] + w[2], w[1] + w[2] + w[3])
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
    windows = [window_at(document, i, i + 1, i + 2) for document, size in sizes.items() for i in range(size)]
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
    plan = make_batches([window_at(document, 0, 1, 2) for document in range(6)], 4, 8, seed=0)
    assert len({frozenset(batch) for batch in plan if len(batch) == 4}) > 4


def test_half_a_batch_is_not_small():
    windows = [window_at(document, i, i + 1, i + 2) for document in (0, 1) for i in range(2)]
    assert sorted(map(sorted, make_batches(windows, 4, 1, seed=0))) == [[0, 1], [2, 3]]
    assert sorted(map(sorted, make_batches(windows, 5, 1, seed=0))) == [[0, 1, 2, 3]]


def test_a_window_without_any_negative_is_no_batch():
    assert make_batches([window_at(0, 0, 1, 2)], 4, 3, seed=0) == []
    assert make_batches([window_at(0, 0, 1, 2, "made")], 4, 3, seed=0) == [[0]] * 3
