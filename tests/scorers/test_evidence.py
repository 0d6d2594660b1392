"""Answers under several passages: each way of telling equals reading every text anew for every token."""

import math

import pytest
import torch

import decoding
from scorers import Asked, Evidence, Form
from tests.support.letters import letters_model
from tests.support.oracles import scorers as oracles

FORM = Form("E: {passage}", "\nQ: {question}", "\nA:", examples="ab\nQ: c?\nA: d\n", blind="ab\nA: d\nQ: c?\n")
ASKED = [
    Asked("who is it?", ("it is ann.", "a long walk by the sea.", "ben"), (0.5, 0.25, 1.25)),
    Asked("where?", ("in a house.",)),
    Asked("who is it?", ("ben", "it is ann.")),
]
SAID = [(0, " ann"), (0, " ben"), (1, " a house"), (2, " ann"), (0, " ann\nQ: more"), (1, " a")]


@pytest.fixture(scope="module")
def lm():
    return letters_model()


def expected(lm, of, asked, answer, form=FORM) -> float:
    """The formulas of the class, one text at a time."""
    model, words = lm
    p = lambda given, said: math.exp(oracles.log_p(model, words(given)["input_ids"], words(said)["input_ids"]))
    trust = asked.weights or (1.0,) * len(asked.passages)
    question = form.question.format(question=asked.question)
    total, terms = sum(trust), []
    for passage in asked.passages:
        read = form.passage.format(passage=passage)
        if of == "channel":
            blind = form.blind + read + form.answer
            explains = p(blind, answer) * p(blind + answer, question)
            terms.append(explains / p(form.examples + read, question))
        else:
            terms.append(p(form.examples + read + question + form.answer, answer + "\n"))
    if of == "product":
        return sum(r / total * math.log(term) for r, term in zip(trust, terms, strict=True))
    return math.log(sum(r / total * term for r, term in zip(trust, terms, strict=True)))


@pytest.mark.parametrize("of", ["direct", "product", "channel"])
def test_equals_the_formulas(lm, of):
    scorer = Evidence(*lm, of, FORM, batch_size=3)
    found = scorer([ASKED[i] for i, _ in SAID], [text for _, text in SAID])
    wanted = [expected(lm, of, ASKED[i], text.partition("\n")[0]) for i, text in SAID]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-5, atol=1e-4)
    assert found[0] == found[4]  # what follows the answer's end is none of it, nor is space before it
    torch.testing.assert_close(scorer([ASKED[0]], [" ann \n"]), found[:1])
    assert scorer([ASKED[0]], [" ann  \nQ"]) == scorer([ASKED[0]], [" ann"])  # nor are spaces before it
    again = scorer.score(scorer.read(ASKED), [i for i, _ in SAID], [text for _, text in SAID])
    torch.testing.assert_close(again, found)


def test_direct_and_product_share_what_is_read(lm):
    direct, product = (Evidence(*lm, of, FORM) for of in ("direct", "product"))
    owners, texts = zip(*SAID, strict=True)
    found = product.score(direct.read(ASKED), owners, texts)
    torch.testing.assert_close(found, product([ASKED[i] for i in owners], texts))


def test_one_passage_is_itself_whichever_way_is_asked(lm):
    direct, product = (Evidence(*lm, of)([ASKED[1]], [" a house"]) for of in ("direct", "product"))
    torch.testing.assert_close(direct, product)


def test_a_passage_of_no_weight_has_no_say(lm):
    one = Asked("who is it?", ("it is ann.", "ben"), (3.0, 0.0))
    for of in ("direct", "product", "channel"):
        scorer = Evidence(*lm, of, FORM)
        alone = scorer([Asked("who is it?", ("it is ann.",))], [" ann"])
        torch.testing.assert_close(scorer([one], [" ann"]), alone)
        _, weights, *_ = scorer.read([one])
        assert weights.tolist() == [1.0]  # nor is it read


@pytest.mark.parametrize("of", ["direct", "product", "channel"])
def test_blank_answers_are_rejected(lm, of):
    scores = Evidence(*lm, of, FORM)([ASKED[0]] * 4, ["", " ", "\n ann", " ann"])
    assert scores[:3].tolist() == [-math.inf] * 3
    assert scores[3] > -math.inf


def test_a_passage_and_its_question_are_read_once_for_all_answers(lm):
    model, words = lm
    shapes = []
    hook = model.register_forward_pre_hook(
        lambda _, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    scorer = Evidence(model, words, "direct", FORM, batch_size=8)
    state = scorer.read(ASKED[:1])
    read = len(shapes)
    for _ in range(2):
        scorer.score(state, [0] * 3, [" ann", " ben", " ann"])
    hook.remove()
    assert read == 1
    assert all(width <= len(" ann\n") for _, width in shapes[read:])
    assert [rows for rows, _ in shapes[read:]] == [6, 6]  # two different answers, three passages


def test_best_of_n_over_passages_in_one_batch(lm):
    """The example of the page: candidates of every passage, judged under all of them; the best of all is returned."""
    model, words = lm
    asked, scorer = ASKED[0], Evidence(*lm, "direct", FORM)
    inputs = words([FORM.prompt(asked.question, p) for p in asked.passages], return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    part = decoding.BestOfN(scorer, n=3, tokenizer=words, prefixes=[asked] * 3)
    torch.manual_seed(0)
    out = decoding.generate(model, **inputs, processors=[part], max_new_tokens=6, top_k=0, return_dict_in_generate=True)
    best = int(out.sequences_scores.argmax())
    text = words.decode(out.sequences[best, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    [found] = out.rounds
    assert len(set(found.owners)) == 3
    assert float(out.sequences_scores[best]) == pytest.approx(float(found.scores.max()))
    assert float(scorer([asked], [text])[0]) == pytest.approx(float(found.scores.max()), abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"of": "mixture"}, "of must be 'direct' or 'product' or 'channel'"), ({"batch_size": 0}, "batch_size must be"),
    ],
)  # fmt: skip
def test_refuses_options(lm, arguments, message):
    with pytest.raises(ValueError, match=message):
        Evidence(*lm, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"passage": "none"}, "passage must have {passage} once"),
        ({"passage": "{passage} {passage}"}, "passage must have {passage} once"),
        ({"question": "{question} {passage}"}, "question must have {question} once"),
        ({"end": ""}, "end must be a text"),
    ],
)
def test_refuses_forms(arguments, message):
    with pytest.raises(ValueError, match=message):
        Form(**arguments)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked("q", ()), "passages must be a tuple of at least one text"),
        (Asked("q", "text"), "passages must be a tuple of at least one text"),
        (Asked("q", ("a", "b"), (1.0,)), "weights must be one for each of 2 passages"),
        (Asked("q", ("a",), (-1.0,)), "weights must be one for each"),
        (Asked("q", ("a", "b"), (2.0, -1.0)), "weights must be one for each"),
        (Asked("q", ("a", "b"), (0.0, 0.0)), "weights must be one for each"),
        (Asked("q", ("a",), (math.nan,)), "weights must be one for each"),
        (Asked("q", ("a", "b"), (1.0, math.inf)), "weights must be one for each"),
    ],
)
def test_refuses_evidence(lm, asked, message):
    with pytest.raises(ValueError, match=message):
        Evidence(*lm)([asked], [" a"])


def test_no_part_of_an_answer_is_judged(lm):
    with pytest.raises(ValueError, match="cannot judge unfinished texts: use BestOfN"):
        decoding.Rerank(Evidence(*lm))


def test_passages_lose_their_beginning_beyond_what_may_be_read(lm):
    asked = [Asked("who is it?", ("it is ann.",)), Asked("who is it?", ("ben",))]
    whole, end = (Evidence(*lm, prefix_tokens=tokens)(asked, [" ann"] * 2).tolist() for tokens in (None, 12))
    assert end[0] == pytest.approx(end[1], abs=1e-5)
    assert abs(whole[0] - whole[1]) > 1e-3


def test_refuses_a_text_for_a_prefix(lm):
    with pytest.raises(TypeError, match="takes Asked"):
        Evidence(*lm)(["who is it?"], [" a"])
