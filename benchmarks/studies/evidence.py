"""Questions answered under several passages, and the answers reranked: `python -m benchmarks.evidence`.

This follows Lazaridou et al. 2022: passages are retrieved by TF-IDF, the model answers under each of them, and the
answers are ranked by the same model's probabilities. The texts are the Wikipedia articles that gensim ships. The
questions are our own.
"""

import json
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from math import isnan
from pathlib import Path
from typing import Any

import torch

import decoding
import scorers
from decoding.models.tokenization import read_behind, without_padding
from scorers._common.files import JsonLines, read_lines
from scorers._common.markdown import markdown_row, markdown_table
from scorers._common.terminal import silence
from scorers.evidence import Asked, Evidence, Form

from ..harness.corpora import Corpus, Document
from ..metrics.uncertainty import bootstrap
from .options import Evidence as Options

CORPUS = Corpus(package="gensim==4.4.0", path="test/test_data/enwiki-latest-pages-articles1.xml-*-shortened.bz2")
EXAMPLES = [
    (
        "The Eiffel Tower was built by Gustave Eiffel and opened in 1889.",
        "Who built the Eiffel Tower?",
        "Gustave Eiffel",
    ),
    ("Oslo is the capital of Norway.", "What is the capital of Norway?", "Oslo"),
]
FORM = Form(
    passage="Evidence: {passage}",
    examples="".join(f"Evidence: {p}\nQuestion: {q}\nAnswer: {a}\n\n" for p, q, a in EXAMPLES),
    blind="".join(f"Evidence: {p}\nAnswer: {a}\nQuestion: {q}\n\n" for p, q, a in EXAMPLES),
)
CLOSED = "".join(f"Question: {q}\nAnswer: {a}\n\n" for _, q, a in EXAMPLES) + "Question: {question}\nAnswer:"


@dataclass(frozen=True)
class Question:
    """A question and its right answers."""

    question: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """An answer that was made under a passage.

    Args:
        answer: the answer.
        passage: the number of the passage.
        greedy: whether it is the greedy answer. Otherwise it was sampled.
    """

    answer: str
    passage: int
    greedy: bool


def run(options: Options, kept: list[str]) -> None:
    """Answer the questions that are not answered yet, and print how many answers are right."""
    questions = read_questions(options.questions)[: options.limit]
    corpus = Corpus(file=str(options.texts)) if options.texts else CORPUS
    settings = {
        name: getattr(options, name) for name in ("model", "passages", "words", "samples", "new_tokens", "seed")
    }
    settings |= {"texts": str(options.texts)} if options.texts else {}
    lines = open_rows(options.output, settings) if options.output else None
    rows = {row["question"]: row for row in lines.rows} if lines else {}
    if options.output:
        kept.append(f"what was answered is in {options.output}; started again, this goes on with it")
    if any(question.question not in rows for question in questions):
        silence()
        passages = list(cut(corpus.read(), options.words))
        search = Retriever(passages)
        model, tokenizer = decoding.load(options.model)
        for question in questions:
            if question.question not in rows:
                row = {**answer(model, tokenizer, question, search, options), "settings": settings}
                rows[question.question] = row
                if lines:
                    lines.append([row])
    for line in table([rows[question.question] for question in questions], questions):
        print(line)


def read_questions(file: Path | None) -> list[Question]:
    """The questions of a file, or of the package.

    Raises:
        ValueError: a line is not a question, or a question occurs twice. The message has the line, from 1.
    """
    file = file or Path(str(files("benchmarks") / "questions" / "wikipedia.jsonl"))
    found: dict[str, Question] = {}
    for _, place, line in read_lines(file):
        try:
            row = json.loads(line)
            question, answers = row["question"], tuple(row["answers"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ValueError(f'{place}: needs "question" and "answers"') from None
        if not (isinstance(question, str) and answers and all(isinstance(answer, str) for answer in answers)):
            raise ValueError(f"{place}: a question is a text, and answers a list of at least one")
        if question in found:
            raise ValueError(f"{place}: this question comes twice")
        found[question] = Question(question, answers)
    if not found:
        raise ValueError(f"no questions in {file}")
    return list(found.values())


def open_rows(file: Path, settings: dict[str, Any]) -> JsonLines[dict[str, Any]]:
    """Open the file of answers, with the answers of an earlier run.

    Raises:
        ValueError: the earlier run had other settings, the file is something else, or another run has it open.
    """

    def check(row: Any, place: str) -> dict[str, Any]:
        row["question"]
        if row["settings"] != settings:
            raise ValueError(f"{place}: made with {row['settings']}: give another --output")
        return row

    return JsonLines(file, "question", check, foreign=" is not of this command: give another --output")


def cut(documents: Iterable[Document], words: int) -> Iterable[str]:
    """Yield passages of whole sentences, of at most `words` words.

    None spans two paragraphs. Each begins with its title.
    """
    for document in documents:
        for paragraph in document.text.split("\n\n"):
            run: list[str] = []
            for sentence in re.split(r"(?<=[.!?]) +(?=[A-Z\"'])", " ".join(paragraph.split())):
                if run and sum(len(part.split()) for part in run) + len(sentence.split()) > words:
                    yield f"{document.id}: {' '.join(run)}"
                    run = []
                run.append(" ".join(sentence.split()[:words]))
            if any(run):
                yield f"{document.id}: {' '.join(run)}"


class Retriever:
    """Finds the passages whose words are most like a question's, by the cosine of scikit-learn's TF-IDF vectors."""

    def __init__(self, passages: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.passages = passages
        self.vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True)
        self.vectors = self.vectorizer.fit_transform(passages)

    def __call__(self, question: str, number: int) -> Asked:
        """The best passages, best first, with their cosines as weights. If every cosine is 0, there are no weights."""
        cosines = (self.vectors @ self.vectorizer.transform([question]).T).toarray().ravel()
        best = sorted(range(len(cosines)), key=lambda i: -cosines[i])[:number]
        weights = tuple(float(cosines[i]) for i in best)
        return Asked(question, tuple(self.passages[i] for i in best), weights if any(weights) else None)


def answer(
    model: Any, tokenizer: Any, question: Question, search: Callable[[str, int], Asked], options: Options
) -> dict[str, Any]:
    """The answer of each way of choosing, and the candidates with their scores."""
    asked = search(question.question, options.passages)
    prompts = [FORM.prompt(asked.question, passage) for passage in asked.passages]
    found = candidates(model, tokenizer, prompts, options)
    texts = list(dict.fromkeys(candidate.answer for candidate in found))
    scores = score(model, tokenizer, asked, texts, options.batch_size)
    greedy = [candidate.answer for candidate in found if candidate.greedy]
    bare = tokenizer([CLOSED.format(question=asked.question)], return_tensors="pt").to(model.device)
    [closed] = make(model, tokenizer, bare, options)
    chosen = {of: texts[max(range(len(texts)), key=own.__getitem__)] for of, own in scores.items()}
    return {
        "question": asked.question,
        "passages": asked.passages,
        "weights": asked.weights,
        "candidates": [asdict(candidate) for candidate in found],
        "texts": texts,
        "scores": scores,
        "chosen": {"closed book": closed, "first passage": greedy[0], "most votes": vote(greedy), **chosen},
    }


def score(model: Any, tokenizer: Any, asked: Asked, answers: Sequence[str], size: int) -> dict[str, list[float]]:
    """The log-probability of each answer, by each formula."""
    direct, product, channel = (
        Evidence(model, tokenizer, of, FORM, batch_size=size) for of in ("direct", "product", "channel")
    )
    said, owners, read = [f" {text}" for text in answers], [0] * len(answers), direct.read([asked])
    alone = scorers.Likelihood(model, tokenizer, length="sum", batch_size=size)
    prior = alone([CLOSED.format(question=asked.question)] * len(said), [text + FORM.end for text in said])
    found = {
        "direct": direct.score(read, owners, said),
        "product": product.score(read, owners, said),
        "channel": channel.score(channel.read([asked]), owners, said),
        "prior": prior.masked_fill(torch.tensor([not text for text in answers]), -torch.inf),  # as `Evidence` has it
    }
    return {name: values.tolist() for name, values in found.items()}


def vote(answers: Sequence[str]) -> str:
    """The most frequent answer, ignoring case and punctuation. Of equally frequent ones, it is the first."""
    counts = Counter(map(plain, answers))
    return max(answers, key=lambda answer: counts[plain(answer)])


def candidates(model: Any, tokenizer: Any, prompts: Sequence[str], options: Options) -> list[Candidate]:
    """Answers under every passage, in one batch: the greedy ones, and samples. Blank samples are left out."""
    inputs = tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side="left").to(model.device)
    made = [Candidate(text, i, greedy=True) for i, text in enumerate(make(model, tokenizer, inputs, options))]
    if options.samples:
        every = decoding.BestOfN(lambda _, texts: [0.0] * len(texts), options.samples, tokenizer=tokenizer)
        out = decoding.generate(
            model,
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            processors=[every],
            do_sample=True,
            temperature=1.0,
            top_p=0.9,
            top_k=0,
            max_new_tokens=options.new_tokens,
            return_dict_in_generate=True,
            generator=[torch.Generator(model.device).manual_seed(options.seed + i) for i in range(len(prompts))],
        )
        [found] = out.rounds  # each passage is read once, and equal answers under one passage are one
        made += [
            Candidate(upto(text), owner, greedy=False) for owner, text in zip(found.owners, found.texts, strict=True)
        ]
    return [candidate for candidate in made if candidate.answer or candidate.greedy]


def make(model: Any, tokenizer: Any, inputs: Any, options: Options) -> list[str]:
    """The greedy answer to each prompt."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    out = decoding.generate(
        model, input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=options.new_tokens
    )
    return list(map(upto, read_behind(tokenizer, without_padding(ids, mask), out[:, ids.shape[1] :].tolist())))


def upto(text: str) -> str:
    """The text before the end of an answer."""
    return text.partition(FORM.end)[0].strip()


def plain(answer: str) -> str:
    """The answer without case, punctuation and articles, for comparison: Rajpurkar et al. 2016."""
    text = "".join(character for character in answer.lower() if character not in string.punctuation)
    return " ".join(word for word in text.split() if word not in ("a", "an", "the"))


def f1(answer: str, right: str) -> float:
    """The harmonic mean of precision and recall of an answer's words: Rajpurkar et al. 2016."""
    said, wanted = plain(answer).split(), plain(right).split()
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted)) if shared else 0.0


def table(rows: Sequence[dict[str, Any]], questions: Sequence[Question]) -> Iterable[str]:
    """Yield the lines of a table: per cent of right answers and mean F1, for each way of choosing.

    Intervals are of 95 %, over questions.
    """
    right = [[plain(answer) for answer in question.answers] for question in questions]
    there = [
        any(f" {answer} " in f" {plain(passage)} " for passage in row["passages"] for answer in answers)
        for row, answers in zip(rows, right, strict=True)
    ]
    yield f"{len(rows)} questions; of {percent(there)} the passages hold an answer\n"
    yield from markdown_table(["chosen by", "exact", "F1"])
    ways = list(rows[0]["chosen"])
    for way in ways:
        picked = [row["chosen"][way] for row in rows]
        exact = [plain(text) in answers for text, answers in zip(picked, right, strict=True)]
        overlap = [max(f1(text, a) for a in q.answers) for text, q in zip(picked, questions, strict=True)]
        yield markdown_row([NAMES.get(way, way), percent(exact), percent(overlap)])
    any_right = [any(plain(t) in answers for t in row["texts"]) for row, answers in zip(rows, right, strict=True)]
    mean = [
        sum(plain(c["answer"]) in answers for c in row["candidates"]) / len(row["candidates"])
        for row, answers in zip(rows, right, strict=True)
    ]
    yield markdown_row(["a candidate at random", percent(mean), ""])
    yield markdown_row(["the best candidate there is", percent(any_right), ""])


NAMES = {
    "direct": "log Σ r p(a, given passage and question)",
    "product": "Σ r log p(a, given passage and question)",
    "channel": "noisy channel",
    "prior": "p(a, given the question alone)",
    "first passage": "greedy, first passage",
    "most votes": "greedy, most votes",
    "closed book": "greedy, no passage",
}


def percent(values: Sequence[float]) -> str:
    """The mean in per cent, with its interval where there is one."""
    found = bootstrap([float(value) for value in values])
    interval = "" if isnan(found.low) else f" [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    return f"{100 * found.value:.0f}{interval} %"
