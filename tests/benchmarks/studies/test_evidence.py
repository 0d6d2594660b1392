"""Question answering under several passages: what is retrieved, what is asked, what is chosen, what is kept."""

import json
from argparse import Namespace

import pytest

from benchmarks import evidence as command
from benchmarks.harness.corpora import Document
from benchmarks.studies import evidence
from benchmarks.studies.evidence import Question, Retriever, cut, f1, plain, table, vote
from scorers import Evidence, Likelihood
from scorers.evidence import Asked
from tests.support.letters import letters_model

TEXTS = [
    "Ann keeps the lighthouse. It stands on a rock.", "The town of Bel has a mayor, Ben. He is tall.",
    "It rained all day. Nobody came.", "Cara wrote the book of the sea. It was long.",
]  # fmt: skip
QUESTIONS = [("Who keeps the lighthouse?", ["Ann"]), ("Who wrote the book?", ["Cara", "the Cara"])]


@pytest.fixture(scope="module")
def lm():
    return letters_model()


@pytest.fixture
def folder(lm, tmp_path):
    model, words = lm
    model.float().save_pretrained(tmp_path)
    model.double()
    words.save_pretrained(tmp_path)
    lines = [json.dumps({"id": f"t{i}", "text": text}) for i, text in enumerate(TEXTS)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    rows = [json.dumps({"question": question, "answers": answers}) for question, answers in QUESTIONS]
    (tmp_path / "questions.jsonl").write_text("\n".join(rows))
    return tmp_path


def run(folder, capsys, *more):
    arguments = [
        "--model", folder, "--texts", folder / "texts.jsonl", "--questions", folder / "questions.jsonl",
        "--passages", 2, "--words", 10, "--new-tokens", 5, "--samples", 2, *more,
    ]  # fmt: skip
    try:
        status = command.main(list(map(str, arguments)))
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


@pytest.fixture
def short(monkeypatch):
    """The tiny model reads 160 letters."""
    monkeypatch.setattr(evidence, "FORM", evidence.Form())
    monkeypatch.setattr(evidence, "CLOSED", "{question}\nAnswer:")


def test_answers_are_those_that_score_best_under_every_passage(folder, capsys, short, lm):
    out = folder / "out.jsonl"
    status, printed, err = run(folder, capsys, "--output", out)
    assert (status, err) == (0, "")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["question"] for row in rows] == [question for question, _ in QUESTIONS]
    model, words = lm
    for row, first in zip(rows, (0, 3), strict=True):
        assert row["passages"][0] == f"t{first}: {TEXTS[first]}"
        assert row["weights"] == sorted(row["weights"], reverse=True)
        asked = Asked(row["question"], tuple(row["passages"]), tuple(row["weights"]) if any(row["weights"]) else None)
        greedy = [one["answer"] for one in row["candidates"] if one["greedy"]]
        assert len(greedy) == 2
        assert {one["passage"] for one in row["candidates"]} == {0, 1}
        assert row["chosen"]["first passage"] == greedy[0]
        assert set(row["texts"]) == {one["answer"] for one in row["candidates"]}
        said = [f" {text}" for text in row["texts"]]
        for of in ("direct", "product", "channel"):
            expected = Evidence(model, words, of)([asked] * len(said), said).tolist()
            assert row["scores"][of] == pytest.approx(expected, rel=1e-3, abs=1e-3)
            assert row["scores"][of][row["texts"].index(row["chosen"][of])] == max(row["scores"][of])
        given = [evidence.CLOSED.format(question=asked.question)] * len(said)
        expected = Likelihood(model, words, length="sum")(given, [text + "\n" for text in said]).tolist()
        assert row["scores"]["prior"] == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert printed.startswith("2 questions; of 100")
    assert run(folder, capsys, "--output", out)[1] == printed  # nothing is left to do
    assert run(folder, capsys, "--output", out, "--limit", 1)[1].startswith("1 questions; of 100")


def test_goes_on_after_a_kill(folder, capsys, short):
    out = folder / "out.jsonl"
    whole = run(folder, capsys, "--output", out)[1]
    content = out.read_bytes()
    out.write_bytes(content[: content.index(b"\n") + 20])
    assert run(folder, capsys, "--output", out)[:2] == (0, whole)
    assert out.read_bytes() == content
    status, _, err = run(folder, capsys, "--output", out, "--seed", 1)
    assert status == 2
    assert "give another --output" in err
    (folder / "others.jsonl").write_bytes((folder / "texts.jsonl").read_bytes())
    status, _, err = run(folder, capsys, "--output", out, "--texts", folder / "others.jsonl")
    assert status == 2
    assert "give another --output" in err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("questions", '{"question": "a"}\n', "line 1: needs"), ("questions", "", "no questions in"),
        ("questions", '{"question": "a", "answers": []}', "line 1: a question is a text"),
        ("questions", '{"question": "a", "answers": ["b"]}\n' * 2, "line 2: this question comes twice"),
        ("out", "no\n", "not of this command"),
    ],
)  # fmt: skip
def test_refuses_files(folder, capsys, monkeypatch, name, content, message):
    (folder / f"{name}.jsonl").write_text(content)
    monkeypatch.setattr(evidence.decoding, "load", lambda *_: pytest.fail("a model was loaded"))
    status, printed, err = run(folder, capsys, "--output", folder / "out.jsonl")
    assert (status, printed, err.count("\n")) == (2, "", 1)
    assert message in err


def test_passages_are_whole_sentences_of_one_paragraph():
    text = "One two three. Four five six. Seven eight.\n\nNine ten. " + "w " * 30
    found = list(cut([Document("T", text)], 6))
    assert found[:2] == ["T: One two three. Four five six.", "T: Seven eight."]
    assert all(len(passage.split()) <= 7 for passage in found)
    assert list(cut([Document("T", "")], 6)) == []


def test_the_best_passage_shares_the_rarest_words():
    search = Retriever([f"t: {text}" for text in TEXTS])
    assert search("who is the mayor of Bel?", 1).passages == (f"t: {TEXTS[1]}",)
    assert search("zzz", 3).weights is None
    assert len(search("mayor", 9).passages) == 4


def test_answers_are_compared_as_squad_compares_them():
    assert plain("The Eiffel-Tower, a tower.") == "eiffeltower tower"
    assert plain("An owl, the owl, A OWL") == "owl owl owl"
    assert f1("the red house", "a house") == pytest.approx(2 / 3)
    assert f1("no", "yes") == 0
    assert vote(["b", "A.", "a"]) == "A."


def test_candidates_end_where_an_answer_ends_and_blank_samples_are_none(lm, monkeypatch):
    asked = {}

    def generate(model, **options):
        asked.update(options)
        return Namespace(rounds=[Namespace(owners=[0, 0, 1], texts=[" ann\nQuestion: who", " \n ben", " ben"])])

    model, words = lm
    monkeypatch.setattr(evidence, "make", lambda *_: ["", "a"])
    monkeypatch.setattr(evidence.decoding, "generate", generate)
    monkeypatch.setattr(words, "padding_side", "right")
    found = evidence.candidates(model, words, ["ab", "abcd"], Namespace(samples=2, new_tokens=3, seed=4))
    kept = [(one.answer, one.passage, one.greedy) for one in found]
    assert kept == [("", 0, True), ("a", 1, True), ("ann", 0, False), ("ben", 1, False)]
    assert asked["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert (asked["temperature"], asked["top_p"], asked["max_new_tokens"], asked["do_sample"]) == (1.0, 0.9, 3, True)
    assert [generator.initial_seed() for generator in asked["generator"]] == [4, 5]


def test_a_blank_answer_is_chosen_by_nobody(lm, short):
    scores = evidence.score(*lm, Asked("who is it?", ("it is ann.", "ben")), ["ann", "", "ben"], 2)
    assert {own[1] for own in scores.values()} == {float("-inf")}
    assert len({own[i] for own in scores.values() for i in (0, 2)}) == 8


def test_an_answer_is_there_as_a_word_not_as_a_part_of_one():
    row = {"passages": ["In 1860, annually."], "texts": [], "chosen": {}, "candidates": [{"answer": ""}]}
    lines = [next(iter(table([row], [Question("x?", (answer,))]))) for answer in ("Ann", "18", "1860")]
    assert [line.split(" ")[3] for line in lines] == ["0", "0", "100"]


def test_the_table_counts_what_is_right():
    questions = [Question("x?", ("Ann",)), Question("y?", ("Ben", "B"))]
    rows = [
        {"question": "x?", "passages": ["Ann."], "texts": ["ann", "bo"], "chosen": {"direct": "ann", "prior": "bo"},
         "candidates": [{"answer": "ann"}, {"answer": "bo"}]},
        {"question": "y?", "passages": ["no"], "texts": ["ab", "B"], "chosen": {"direct": "ab", "prior": "b b"},
         "candidates": [{"answer": "ab"}, {"answer": "B"}, {"answer": "ab"}, {"answer": "ab"}]},
    ]  # fmt: skip
    lines = list(table(rows, questions))
    assert lines[0].startswith("2 questions; of 50 [")
    cells = {line.split(" | ")[0].strip("| "): [c.split(" ")[0] for c in line.split(" | ")[1:]] for line in lines[2:]}
    assert cells[evidence.NAMES["direct"]] == ["50", "50"]
    assert cells[evidence.NAMES["prior"]] == ["0", "33"]
    assert cells["a candidate at random"][0] == "38"  # of a half and a quarter
    assert cells["the best candidate there is"][0] == "100"


def test_questions_of_the_package_are_read():
    found = evidence.read_questions(None)
    assert len(found) == 50
    assert all(question.question.endswith("?") for question in found)
