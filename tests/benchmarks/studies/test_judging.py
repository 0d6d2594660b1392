"""Scorers are judged by what they are asked: true continuations, and readers' votes."""

import gzip
import json
import random

import pytest

from benchmarks import judging as command
from benchmarks.studies import judging
from scorers import MBR, Function, Scorer
from scorers.ranker_training.pairs import Window
from tests.support import tiny
from tests.support.rankers import WORDS, bert, make_ranker, word_tokenizer
from tests.support.refusals import refusal


def book(number):
    """Sentences of six words, some of which other books do not have."""
    draw = random.Random(number)
    return "\n".join(f"{' '.join(draw.choice(WORDS[2 * number :][:6]) for _ in range(12))} ." for _ in range(40))


@pytest.fixture
def documents(tmp_path):
    file = tmp_path / "books.jsonl.gz"
    file.write_bytes(gzip.compress("".join(json.dumps({"text": book(i)}) + "\n" for i in range(6)).encode()))
    return str(file)


@pytest.fixture
def votes(tmp_path):
    rows = [
        {"prefix": "the fox", "first": "a fox", "second": "nothing", "votes_first": 3, "votes_second": 0},
        {"prefix": "the hen", "first": "nothing", "second": "one hen", "votes_first": 1, "votes_second": 2},
        {"prefix": "the elm", "first": "an elm", "second": "nothing", "votes_first": 0, "votes_second": 4},
        {"prefix": "the oak", "first": "an oak", "second": "nothing", "votes_first": 1, "votes_second": 1},
    ]
    file = tmp_path / "votes.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def window(document, text, prefix="p", generated=None):
    place = 100 * document + ord(text[0])
    return Window(document, place, place, place + 1, prefix, text, generated)


def test_identifies_by_hand():
    """By length: of a document, the true one against the others; ties lose."""
    longest = Function(lambda prefixes, texts: [len(text) for text in texts])
    windows = [window(0, text) for text in ("aaa", "bb", "c", "dd")] + [window(1, "eee"), window(1, "f")]
    made = {1: window(0, "b", generated="xx"), 4: window(1, "eee", generated="x")}
    found = judging.identify(longest, windows, [0, 1, 4], made)
    assert found["document"]["mean"] == pytest.approx((1 + 1 / 3 + 1) / 3, abs=1e-4)
    assert found["random"]["mean"] == pytest.approx((1 / 2 + 1 / 2 + 3 / 4) / 3, abs=1e-4)
    assert found["generated"]["mean"] == 0.5
    assert "document 11-way" not in found
    eleven = [window(0, text) for text in "abcdefghijk"] + [window(1, "l")]
    first = Function(lambda prefixes, texts: [-ord(text[0]) for text in texts])
    assert judging.identify(first, eleven, [0, 1], {})["document 11-way"]["mean"] == 0.5


def test_setwise_scorers_see_a_question_at_a_time():
    seen = []

    class Spy(Scorer):
        setwise = True

        def score(self, state, owners, continuations):
            seen.append(sorted(continuations))
            return MBR(lambda h, r: float(h == r)).score(state, owners, continuations)

    windows = [window(0, "a"), window(0, "b"), window(1, "c"), window(1, "d")]
    judging.identify(Spy(), windows, [0, 2], {0: window(0, "a", generated="z")})
    assert seen == [["a", "b"], ["a", "c", "d"], ["a", "z"], ["c", "d"], ["a", "b", "c"]]


def test_agrees_by_hand(votes):
    """Of the pairs with a majority 2 of 3 are found, of the votes 3 of 3, 2 of 3, 0 of 4 and 1 of 2."""
    shared = Function(
        lambda prefixes, texts: [prefix[-3:] in text for prefix, text in zip(prefixes, texts, strict=True)]
    )
    pairs, share = judging.agree(shared, judging.read_votes(votes)).values()
    assert pairs["mean"] == pytest.approx(2 / 3, abs=1e-4)
    assert share["mean"] == pytest.approx((1 + 2 / 3 + 0 + 1 / 2) / 4, abs=1e-4)
    assert pairs["low"] < pairs["mean"] < pairs["high"]
    same = Function(lambda prefixes, texts: [0.0] * len(texts))
    assert [one["mean"] for one in judging.agree(same, judging.read_votes(votes)).values()] == [0.5, 0.5]


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_italics_are_what_is_no_better_than_chance():
    better, same = {"mean": 0.6, "low": 0.51, "high": 0.7}, {"mean": 0.55, "low": 0.5, "high": 0.6}
    eleven = {"mean": 0.12, "low": 0.1, "high": 0.2}
    row = judging.line("one", {"document": better, "document 11-way": eleven, "random": same, "generated": same})
    assert row == ["one", "60 (51-70)", "12 (10-20)", "*55 (50-60)*", "", "*55 (50-60)*", "", ""]


def test_remembers_what_it_was_told():
    asked = []
    scorer = judging.Remembered(lambda: Function(lambda x, texts: asked.extend(texts) or [len(t) for t in texts]))
    assert scorer(["a", "a", "b"], ["x", "yy", "x"]).tolist() == [1, 2, 1]
    assert scorer(["a", "b"], ["x", "zzz"]).tolist() == [1, 3]
    assert asked == ["x", "yy", "x", "zzz"]


def test_every_scorer_gets_a_row_and_a_killed_run_goes_on(documents, votes, tmp_path, capsys, monkeypatch):
    bert().float().save_pretrained(tmp_path / "encoder")
    word_tokenizer().save_pretrained(tmp_path / "encoder")
    monkeypatch.setattr(judging, "find_encoder", lambda name: tmp_path / "encoder")
    monkeypatch.setattr(judging.scorers.Ranker, "from_pretrained", make_ranker)
    model = tiny.llama().float()
    model.config.max_position_embeddings = 1024  # rotary: any number will do
    model.save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    call = [documents, "--votes", str(votes), "--generated", str(tmp_path / "made.jsonl"), "--generate",
            "--new-tokens", "9", "--model", str(tmp_path / "model"), "--windows", "12", "--questions", "2",
            "--held-out", "0.4", "--longest", "20", "--channel", "--output", str(rows)]  # fmt: skip
    assert command.main(call) == 0
    first = capsys.readouterr().out
    about, _, *table = first.splitlines()
    assert about.startswith("4 of 24 windows of 2 documents, ")
    assert about.endswith("with a generated text; 4 pairs")
    assert table[2].startswith("| chance | 50 | 9 |")
    names = [line.split(" | ")[0].removeprefix("| ") for line in table[3:]]
    assert names == [
        "number of characters", "Overlap", "Overlap, fitted", "MBR, chrF", "MBR, MiniLM", "Embedding, MiniLM",
        "Embedding, MiniLM, whitened", "Ranker", "Ranker + 10 Overlap, fitted", "Likelihood", "Likelihood, PMI",
        "Ranker + 2 Likelihood", "Embedding, LM, mean", "Embedding, LM, prompted", "Likelihood, noisy channel",
    ]  # fmt: skip
    found = {json.loads(line)["scorer"]: json.loads(line)["found"] for line in rows.read_text().splitlines()}
    assert found["Overlap"]["random"]["mean"] > 0.7 > found["number of characters"]["random"]["mean"]
    assert found["Overlap"]["document"]["windows"] == 4
    whole = rows.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(judging, "open_rows", interrupt)
        assert command.main(call) == 130
        said = f"stopped; the rows so far are in {rows}; run it again to go on\n"
        assert capsys.readouterr().err == said
        assert command.main([*call[:-2], "--output", str(tmp_path / "another")]) == 130
        assert capsys.readouterr().err == "stopped; nothing was saved\n"
    rows.write_bytes(whole[: whole.index(b"\n") + 20])  # killed while it wrote the second row
    assert command.main([*call, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert rows.read_bytes() == whole
    assert again["scorers"] == found
    assert again["about"]["questions"] == 4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (["--held-out", "1"], "--held-out must lie between 0 and 1, not 1.0"),
        (["--questions", "0"], "--questions must be at least 1, not 0"),
        (["--generate"], "--generate needs --generated FILE"),
        (["--longest", "9"], "must be two numbers"),
        (["--votes", "{folder}/none.jsonl"], "none.jsonl: No such file"),
        (["--votes", "{documents}"], "line 1: needs a JSON object with prefix, first, second"),
        (["--generated", "{folder}/other.jsonl"], "is a prefix of these documents' windows: use --generate"),
        (["--output", "{folder}/other.jsonl", "--without-model"], "holds something else: give another --output"),
    ],
)
def test_calls_that_cannot_work_are_a_line(documents, tmp_path, capsys, call, words):
    (tmp_path / "other.jsonl").write_text(json.dumps({"prompt": "a", "continuation": "b"}) + "\n")
    given = [text.format(folder=tmp_path, documents=documents) for text in call]
    assert words in refusal(command.main, [documents, *given], capsys)


def test_a_ranker_that_knows_the_documents_is_told():
    from scorers.ranker_training.pairs import Document

    held_out = [Document("classic_books.jsonl:6", ""), Document("classic_books.jsonl:1", "")]
    assert judging.seen(held_out) == 1  # it was trained on the second
    assert "was trained on 1 of these documents" in judging.title(
        {"windows": 2, "questions": 1, "documents": 2, "pairs": 0, "generated": 0, "seen": 1}
    )
