"""Every guide equals its paper's formula: with each picker, added up, under a reranker; masks and refusals."""

import pytest
import torch

import decoding
from decoding import (
    ContextAware,
    ContrastiveDecoding,
    ContrastiveSearch,
    DebiasSampling,
    Decoder,
    DExperts,
    GuideProcessor,
    NegativePrompt,
    Sample,
    Steer,
)
from decoding.guides.guidance import Guidance, combine, plausible
from tests.support import tiny
from tests.support.calls import PROMPTS, continuations
from tests.support.guide_cases import ASIDE, METHODS, MODELS, cases, scores
from tests.support.oracles import methods as oracles
from tests.support.stub_parts import Tournament


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("method", METHODS)
def test_contrastive_search_over_each_guide(make, method):
    model, (guide, oracle), inputs = make(0), cases(make)[method], tiny.batch(PROMPTS)
    out = decoding.generate(model, **inputs, processors=[guide, ContrastiveSearch(4, 0.6)], max_new_tokens=6)
    for i, row in enumerate(continuations(out, inputs)):
        assert row == oracles.contrastive_search(model, PROMPTS[i], 6, 4, 0.6, guide=oracles.guided(oracle(i)))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("order", [("debias", "steer"), ("steer", "debias"), ("dexperts", "context-aware", "steer")])
@pytest.mark.parametrize("picker", [None, ContrastiveSearch(3, 0.5)])
def test_guides_add_up(make, order, picker):
    model, every, inputs = make(0), cases(make), tiny.batch(PROMPTS)
    parts = [every[name][0] for name in order] + ([picker] if picker else [])
    rows = continuations(decoding.generate(model, **inputs, processors=parts, max_new_tokens=6), inputs)
    for i, row in enumerate(rows):
        guide = oracles.guided(*(every[name][1](i) for name in order))
        if picker:
            assert row == oracles.contrastive_search(model, PROMPTS[i], 6, 3, 0.5, guide=guide)
        else:
            assert row == oracles.greedy(model, PROMPTS[i], 6, guide=guide)
    if not picker:
        processor = GuideProcessor(model, *parts, **inputs)
        assert torch.equal(
            model.generate(**inputs, logits_processor=[processor], max_new_tokens=6),
            decoding.generate(model, **inputs, processors=parts, max_new_tokens=6),
        )


@pytest.mark.parametrize("method", METHODS)
def test_guides_follow_the_rows_of_a_reranker(method):
    """Whatever rows went on, the scores recorded for them are those of their own texts."""
    model, (guide, oracle), inputs = tiny.gpt2(0), cases(tiny.gpt2)[method], tiny.batch(PROMPTS)
    decoder, seen = Decoder(guide, Sample(), Tournament()), []

    class Spy(Tournament):
        def best(self, hypotheses):
            assert len(hypotheses.tokens) == 18
            for r, row in enumerate(hypotheses.tokens.tolist()):
                ids = PROMPTS[r // 6] + row[9:]
                if tiny.EOS not in row[9:]:
                    expected = oracles.guided(oracle(r // 6))(ids, oracles.read(model, ids)[0])
                    logits = hypotheses.logits()[r].log_softmax(-1)
                    torch.testing.assert_close(logits, expected.log_softmax(-1), rtol=1e-4, atol=1e-4)
                    seen.append(r)
            return super().best(hypotheses)

    decoder = Decoder(guide, Sample(), Spy())
    generator = torch.Generator().manual_seed(1)
    model.generate(**inputs, custom_generate=decoder, do_sample=True, top_k=0, generator=generator, max_new_tokens=7)
    assert len(seen) > 3


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(
    "guide",
    [
        lambda e: DebiasSampling(alpha=0, beta=0, without=ASIDE),
        lambda e: ContextAware(ASIDE, alpha=0),
        lambda e: NegativePrompt(ASIDE, gamma=1),
        lambda e: ContrastiveDecoding(e, alpha=0, beta=0),
        lambda e: DExperts(e, e, alpha=0),
        lambda e: DExperts(antiexpert=e, alpha=0),
    ],
)
def test_weight_zero_is_plain_decoding_bit_for_bit_and_reads_nothing_else(make, guide):
    model, expert, inputs = make(0), make(1), tiny.batch(PROMPTS)
    expert.register_forward_pre_hook(lambda *_: pytest.fail("the other model was read"))
    assert torch.equal(scores(model, inputs, [guide(expert)]), scores(model, inputs, [decoding.Greedy()]))


def test_mask_keeps_what_the_formula_says_and_ties():
    p = torch.tensor([[0.5, 0.25, 0.2, 0.05]])
    assert plausible(p.log(), 0.5).tolist() == [[True, True, False, False]]
    assert plausible(p.log(), 1.0).tolist() == [[True, False, False, False]]
    assert plausible(p.log(), 1.0, min_keep=3).tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_no_infinity_enters_the_sum(beta):
    """A token that one of the models, or something before the guide, rules out is ruled out; nothing becomes NaN."""
    inf = float("inf")
    logits = torch.tensor([[0.0, 1.0, 2.0, 0.5, -inf]])
    main = torch.tensor([[0.0, 1.0, 2.0, 0.5, 0.0]])
    aux = torch.tensor([[-inf, 1.0, 0.0, 0.5, 3.0]])
    got = combine(logits, {"main": main, "aux": aux}, {"main": 2.0, "aux": -1.0})
    assert got.isneginf().tolist() == [[True, False, False, False, True]]
    assert not got.isnan().any()


class Without(Guidance):
    """Nothing but a mask, by a model of its own."""

    def __init__(self, model, beta):
        self.model, self.beta, self.reference = model, beta, "other"
        self.__post_init__()

    weights = {"main": 1.0, "other": 0.0}  # noqa: RUF012

    def context(self, name, main):
        return main.again(self.model)


def test_masks_that_exclude_each_other_leave_something():
    model, inputs = tiny.gpt2(0), tiny.batch(PROMPTS)
    parts = [Without(tiny.gpt2(1), 1.0), Without(tiny.gpt2(2), 1.0)]
    got = scores(model, inputs, parts)
    assert (got.isfinite().sum(-1) == 1).all()  # the first mask's choice stands


def test_constraints_of_the_call_hold_where_a_mask_leaves_only_what_they_forbid():
    """`min_new_tokens` forbids the end, and beta=1 keeps the likeliest token alone: then the model itself goes on."""
    model, inputs = tiny.gpt2(0), tiny.batch(PROMPTS)
    likeliest = [int(oracles.read(model, prompt)[0].argmax()) for prompt in PROMPTS]
    debias = DebiasSampling(alpha=1.0, beta=1.0, without=ASIDE)
    out = decoding.generate(
        model, **inputs, processors=[debias], max_new_tokens=1, suppress_tokens=sorted(set(likeliest)), do_sample=False
    )
    for prompt, token in zip(PROMPTS, out[:, -1].tolist(), strict=True):
        z = oracles.read(model, prompt)[0]
        z[likeliest] = -torch.inf
        assert token == int(z.argmax())


def test_only_the_rows_that_are_left_with_nothing_go_without_the_mask():
    """They go by the distribution that the mask goes by, the expert's; the others by the sum within the mask."""
    model, expert, inputs = tiny.gpt2(0), tiny.gpt2(4), tiny.batch(PROMPTS)
    tuned = [oracles.read(expert, prompt)[0] for prompt in PROMPTS]
    likely = (tuned[0].softmax(-1) >= 0.3 * tuned[0].softmax(-1).max()).nonzero().flatten().tolist()
    part = Steer(expert, gamma=2.0, eta=0.0, beta=0.3)
    options = {**inputs, "processors": [part], "max_new_tokens": 1, "do_sample": False}
    out = decoding.generate(model, **options, suppress_tokens=likely)[:, -1].tolist()
    for z in tuned:
        z[likely] = -torch.inf
    for i in (1, 2):
        scores = 3 * tuned[i].log_softmax(-1) - 2 * oracles.log_p(model, PROMPTS[i])
        kept = tuned[i].softmax(-1) >= 0.3 * tuned[i].softmax(-1).max()
        assert out[i] == int(scores.masked_fill(~kept, -torch.inf).argmax())
    assert out[0] == int(tuned[0].argmax()) != int(oracles.read(model, PROMPTS[0])[0].argmax())
    assert out[1] != int(tuned[1].argmax())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DebiasSampling(alpha=-1, without=ASIDE), "alpha must be a number of at least 0, not -1"),
        (lambda: DebiasSampling(beta=1.5, without=ASIDE), r"beta must lie in \[0, 1\], not 1.5"),
        (lambda: DebiasSampling(without="a text"), "needs the tokenizer: pass tokenizer="),
        (lambda: DebiasSampling(without=[[]]), "has no tokens"),
        (lambda: NegativePrompt(gamma=float("nan")), "weights must be finite"),
        (lambda: ContrastiveDecoding(tiny.gpt2(), beta=0), "sum to 0, which ranks unlikely tokens first"),
        (lambda: ContrastiveDecoding(tiny.gpt2(), temperature=0), "temperature must be"),
        (lambda: DExperts(), "needs an expert or an antiexpert"),
        (lambda: DExperts(tiny.gpt2(), top_p=0), "top_p must lie"),
        (lambda: Steer(tiny.gpt2(), eta=0.5), "eta=0.5 needs negatives"),
        (lambda: Steer(tiny.gpt2(), eta=1.0, negatives=ASIDE), "weights sum to 0"),
        (lambda: Steer("/no/such/folder"), "no such folder"),
        (lambda: decoding.NoisyImage(step=1000), r"step must lie in \[0, 999\]"),
    ],
)
def test_refuses_when_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("guide", "message"),
    [
        (DebiasSampling(without=ASIDE[:2]), "2 second prompts do not fit 3 prompts"),
        (DebiasSampling(without=[[5] * 200]), "a second prompt of 200 tokens does not fit the model's 128"),
        (DebiasSampling(), "says of no token that it stands for an image"),
        (DebiasSampling(without=decoding.NoisyImage()), "no image to add noise to: call decoding.generate"),
    ],
)
def test_refuses_before_the_first_forward(guide, message):
    model = tiny.gpt2()
    model.register_forward_pre_hook(lambda *_: pytest.fail("a forward was run"))
    with pytest.raises(ValueError, match=message):
        decoding.generate(model, **tiny.batch(PROMPTS), processors=[guide], max_new_tokens=3)
