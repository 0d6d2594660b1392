"""Every guide equals its paper's formula, read anew at every step: alone, batched, padded, composed, and anywhere."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import UnbatchedClassifierFreeGuidanceLogitsProcessor

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
from tests.support.oracles import methods as oracles
from tests.support.oracles.processors import OracleProcessor
from tests.support.saved import saved
from tests.support.stub_parts import Tournament

MODELS = [tiny.gpt2, tiny.llama]
ASIDE = [[30, 31, 32, 33, 34, 35], [9], [10, 11, 40]]  # second prompts: longer, shorter, as long
OTHER = [[7, 22], [50, 3, 18, 5, 6, 41, 8], [17]]


def cases(make):
    """For each method its guide, and the oracle of row i."""
    model, e, a = make(0), make(1), make(2)
    return {
        "debias": (
            DebiasSampling(alpha=1.0, beta=0.1, without=ASIDE),
            lambda i: oracles.debias_sampling(model, PROMPTS[i], [ASIDE[i]], 1.0, 0.1),
        ),
        "debias both": (
            DebiasSampling(alpha=0.7, beta=0.02, without=[decoding.Prompt(ASIDE), decoding.Prompt(OTHER)]),
            lambda i: oracles.debias_sampling(model, PROMPTS[i], [ASIDE[i], OTHER[i]], 0.7, 0.02),
        ),
        "context-aware": (
            ContextAware(ASIDE, alpha=0.5),
            lambda i: oracles.context_aware(model, PROMPTS[i], ASIDE[i], 0.5),
        ),
        "negative prompt": (
            NegativePrompt(ASIDE, gamma=1.8),
            lambda i: oracles.classifier_free_guidance(model, PROMPTS[i], ASIDE[i], 1.8),
        ),
        "unconditional": (
            NegativePrompt(gamma=2.0),
            lambda i: oracles.classifier_free_guidance(model, PROMPTS[i], PROMPTS[i][-1:], 2.0),
        ),
        "contrastive decoding": (
            ContrastiveDecoding(a, alpha=0.8, beta=0.05, temperature=0.5),
            lambda i: oracles.contrastive_decoding(a, PROMPTS[i], 0.8, 0.5, 0.05),
        ),
        "amateur of one token": (
            ContrastiveDecoding(a, last_token_only=True),
            lambda i: oracles.contrastive_decoding(a, PROMPTS[i], 1.0, 1.0, 0.1, last_token_only=True),
        ),
        "dexperts": (DExperts(e, a, alpha=1.5), lambda i: oracles.dexperts(e, a, 1.5)),
        "steer": (
            Steer(e, gamma=0.3, eta=0.4, negatives=ASIDE),
            lambda i: oracles.steer(e, model, PROMPTS[i], ASIDE[i], 0.3, 0.4),
        ),
        "steer one negative": (
            Steer(e, gamma=0.3, eta=1.2, negatives=ASIDE[0], beta=0.05),
            lambda i: oracles.steer(e, model, PROMPTS[i], ASIDE[0], 0.3, 1.2, 0.05),
        ),
        "steer another base": (
            Steer(e, gamma=0.6, eta=0.2, negatives=ASIDE, base=a),
            lambda i: oracles.steer(e, a, PROMPTS[i], ASIDE[i], 0.6, 0.2),
        ),
    }


METHODS = list(cases(tiny.gpt2))


def ways(make, method, prompts=PROMPTS, **options):
    """The rows by the oracle, by our loop, and by the guide as a processor of transformers' own loop."""
    model, (guide, oracle), inputs = make(0), cases(make)[method], tiny.batch(prompts)
    generator = lambda: torch.manual_seed(3)
    generator()
    slow = model.generate(**inputs, logits_processor=[OracleProcessor(model, oracle, prompts)], **options)
    generator()
    processor = GuideProcessor(model, guide, **inputs)
    plain = model.generate(**inputs, logits_processor=[processor], **options)
    if "num_beams" in options:
        return slow, None, plain
    generator()
    return slow, decoding.generate(model, **inputs, processors=[guide], **options), plain


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"do_sample": True, "top_k": 0},
        {"do_sample": True, "top_k": 10, "temperature": 1.3, "num_return_sequences": 2},
        {"num_beams": 3, "do_sample": False},
        {"num_beams": 2, "do_sample": False, "num_return_sequences": 2, "early_stopping": True},
    ],
    ids=["greedy", "sample", "several", "beams", "two of two beams"],
)
def test_equals_oracle_in_our_loop_and_in_transformers(make, method, options):
    slow, ours, plain = ways(make, method, max_new_tokens=7, **options)
    assert torch.equal(plain, slow)
    assert ours is None or torch.equal(ours, slow)


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
def test_debias_sampling_of_two_is_two_of_one(make):
    """The weights 1 + alpha, -alpha/2, -alpha/2 are two guides of alpha/2 in a row."""
    model, inputs = make(), tiny.batch(PROMPTS)
    both = DebiasSampling(alpha=1.4, beta=0, without=[decoding.Prompt(ASIDE), decoding.Prompt(OTHER)])
    each = [DebiasSampling(alpha=0.7, beta=0, without=prompts) for prompts in (ASIDE, OTHER)]
    assert same_scores(model, inputs, [both], each)


def scores(model, inputs, parts):
    out = decoding.generate(
        model, **inputs, processors=parts, max_new_tokens=4, min_new_tokens=4, output_scores=True, do_sample=False,
        return_dict_in_generate=True,
    )  # fmt: skip
    return torch.stack(out.scores)


def same_scores(model, inputs, one, two):
    one, two = (scores(model, inputs, parts).log_softmax(-1) for parts in (one, two))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    return True


amounts = st.floats(0, 2)


@settings(max_examples=15, deadline=None)
@given(a=amounts, make=st.sampled_from(MODELS), seed=st.integers(0, 3))
def test_debias_is_context_aware_is_classifier_free(a, make, seed):
    model, inputs = make(seed), tiny.batch(PROMPTS)
    debias = DebiasSampling(alpha=a, beta=0, without=ASIDE)
    assert same_scores(model, inputs, [debias], [ContextAware(ASIDE, alpha=a)])
    assert same_scores(model, inputs, [debias], [NegativePrompt(ASIDE, gamma=1 + a)])


@settings(max_examples=15, deadline=None)
@given(g=amounts, make=st.sampled_from(MODELS))
def test_steer_without_negatives_is_guidance_between_models(g, make):
    base, expert, inputs = make(0), make(1), tiny.batch(PROMPTS)
    steered = scores(base, inputs, [Steer(expert, gamma=g)])

    class BetweenModels(Guidance):  # CFG(g + 1): log p_base + (g + 1) (log p_expert - log p_base)
        weights = {"main": -g, "expert": g + 1}  # noqa: RUF012

        def context(self, name, main):
            return main.again(expert)

    torch.testing.assert_close(steered, scores(base, inputs, [BetweenModels()]))
    assert same_scores(base, inputs, [Steer(expert, gamma=g)], [DExperts(expert, alpha=g + 1)])


@settings(max_examples=15, deadline=None)
@given(lam=st.floats(0, 2), tau=st.floats(0.25, 4), make=st.sampled_from(MODELS))
def test_a_temperature_of_the_amateur_is_a_weight(lam, tau, make):
    model, inputs = make(0), tiny.batch(PROMPTS)
    one = ContrastiveDecoding(make(1), alpha=lam, temperature=tau, beta=0.02)
    assert same_scores(model, inputs, [one], [ContrastiveDecoding(make(1), alpha=lam / tau, beta=0.02)])


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


@pytest.mark.parametrize("make", MODELS)
def test_steer_with_weights_zero_is_the_expert(make):
    base, expert, inputs = make(0), make(1), tiny.batch(PROMPTS)
    ours = decoding.generate(base, **inputs, processors=[Steer(expert, gamma=0)], max_new_tokens=8)
    assert torch.equal(ours, expert.generate(**inputs, max_new_tokens=8, do_sample=False))


@pytest.mark.parametrize("make", MODELS)
def test_swapping_the_model_being_decoded_for_the_base(make):
    """Steer from the expert's own loop, with the base given, is Steer from the base's."""
    base, expert, inputs = make(0), make(1), tiny.batch(PROMPTS)
    ours = decoding.generate(base, **inputs, processors=[Steer(expert, gamma=0.5)], max_new_tokens=8)
    theirs = decoding.generate(expert, **inputs, processors=[Steer(expert, gamma=0.5, base=base)], max_new_tokens=8)
    assert torch.equal(ours, theirs)


class TestTransformersOwn:
    """`UnbatchedClassifierFreeGuidanceLogitsProcessor`: equal where it is right, and the four cases where it is not."""

    def both(self, model, prompts, negative, mask=None, **options):
        inputs = tiny.batch(prompts)
        theirs = UnbatchedClassifierFreeGuidanceLogitsProcessor(1.8, model, negative, mask)
        ours = GuideProcessor(model, NegativePrompt(negative, gamma=1.8, mask=mask), **inputs)
        options = {"max_new_tokens": 7, "do_sample": False, **options}
        return [lambda p=p: model.generate(**inputs, logits_processor=[p], **options) for p in (theirs, ours)]

    def oracle(self, model, prompts, negatives, **options):
        guide = lambda i: oracles.classifier_free_guidance(model, prompts[i], negatives[i], 1.8)
        slow = OracleProcessor(model, guide, prompts)
        options = {"max_new_tokens": 7, "do_sample": False, **options}
        return model.generate(**tiny.batch(prompts), logits_processor=[slow], **options)

    @pytest.mark.parametrize("make", MODELS)
    @pytest.mark.parametrize("prompt", PROMPTS)
    def test_equal_where_it_is_right(self, make, prompt):
        model = make()
        theirs, ours = self.both(model, [prompt], torch.tensor(ASIDE[:1]))
        assert torch.equal(ours(), theirs())
        inputs = tiny.batch([prompt])
        option = model.generate(
            **inputs, guidance_scale=1.8, negative_prompt_ids=torch.tensor(ASIDE[:1]), max_new_tokens=7, do_sample=False
        )
        assert torch.equal(ours(), option)

    def test_right_for_left_padded_negatives(self):
        model, negative = tiny.gpt2(), tiny.batch(ASIDE)
        theirs, ours = self.both(model, PROMPTS, negative["input_ids"], negative["attention_mask"])
        assert torch.equal(ours(), self.oracle(model, PROMPTS, ASIDE))
        assert not torch.equal(theirs(), self.oracle(model, PROMPTS, ASIDE))

    def test_right_for_beams(self):
        model = tiny.gpt2()
        theirs, ours = self.both(model, PROMPTS[:1], torch.tensor(ASIDE[:1]), num_beams=3)
        assert torch.equal(ours(), self.oracle(model, PROMPTS[:1], ASIDE, num_beams=3))
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            theirs()

    def test_right_for_several_returned_sequences(self):
        model, options = tiny.gpt2(), {"do_sample": True, "top_k": 0, "num_return_sequences": 3}
        theirs, ours = self.both(model, PROMPTS[:1], torch.tensor(ASIDE[:1]), **options)
        torch.manual_seed(0)
        expected = self.oracle(model, PROMPTS[:1], ASIDE, **options)
        torch.manual_seed(0)
        assert torch.equal(ours(), expected)
        with pytest.raises((RuntimeError, ValueError, IndexError)):
            theirs()

    @torch.no_grad()
    def test_more_exact_in_bfloat16(self):
        """The auxiliary log-softmax is computed in float32: theirs rounds it to 8 bits."""
        model = tiny.llama().to(torch.bfloat16)
        ids, negative = torch.tensor(PROMPTS[:1]), torch.tensor(ASIDE[:1])
        logits = model(ids).logits[:, -1].float()
        exact = model(negative).logits[:, -1].double().log_softmax(-1)
        exact = exact + 1.8 * (logits.double().log_softmax(-1) - exact)
        theirs = UnbatchedClassifierFreeGuidanceLogitsProcessor(1.8, model, negative)(ids, logits)
        ours = GuideProcessor(model, NegativePrompt(negative, gamma=1.8), input_ids=ids)(ids, logits)
        worst = [float((z.double().log_softmax(-1) - exact.log_softmax(-1)).abs().max()) for z in (theirs, ours)]
        assert worst[1] < 1e-5 < 1e-3 < worst[0]


def test_mask_keeps_what_the_formula_says_and_ties():
    p = torch.tensor([[0.5, 0.25, 0.2, 0.05]])
    assert plausible(p.log(), 0.5).tolist() == [[True, True, False, False]]
    assert plausible(p.log(), 1.0).tolist() == [[True, False, False, False]]
    assert plausible(p.log(), 1.0, min_keep=3).tolist() == [[True, True, True, False]]


def test_nucleus_of_dexperts_is_taken_from_the_base_before_adding():
    """Liu et al.'s filter_p; in float64, by sorting."""
    model, expert, anti = tiny.gpt2(0), tiny.gpt2(1), tiny.gpt2(2)
    z, e, a = (oracles.read(m, PROMPTS[0])[0].double() for m in (model, expert, anti))
    kept, total = set(), 0.0
    for v in z.softmax(-1).argsort(descending=True).tolist():
        if total >= 0.6:
            break
        kept.add(v)
        total += float(z.softmax(-1)[v])
    got = scores(model, tiny.batch(PROMPTS[:1]), [DExperts(expert, anti, alpha=1.5, top_p=0.6)])[0, 0]
    kept.discard(tiny.EOS)  # min_new_tokens
    assert {v for v in range(61) if got[v] > -torch.inf} == kept
    expected = (z + 1.5 * (e - a))[list(kept)].log_softmax(-1)
    torch.testing.assert_close(got[list(kept)].double().log_softmax(-1), expected, rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize("make", MODELS)
def test_padded_vocabularies(make):
    """An expert with 8 more places for tokens, and an amateur with 8 more, equal those without."""
    model, expert, inputs = make(0), make(1), tiny.batch(PROMPTS)
    wide = make(1)
    wide.resize_token_embeddings(69, mean_resizing=False)
    for guide in (Steer, ContrastiveDecoding, lambda m: DExperts(m, make(2), alpha=0.5)):
        expected = decoding.generate(model, **inputs, processors=[guide(expert)], max_new_tokens=6)
        assert torch.equal(decoding.generate(model, **inputs, processors=[guide(wide)], max_new_tokens=6), expected)
        out = decoding.generate(wide, **inputs, processors=[guide(model)], max_new_tokens=6)
        assert out[:, 9:].max() < 61
        assert out.tolist() == decoding.generate(expert, **inputs, processors=[guide(model)], max_new_tokens=6).tolist()


def test_experts_by_folder_and_tokenizers_that_disagree(tmp_path):
    base, _ = decoding.load(saved(tiny.llama(0), tmp_path / "base"))
    folder = saved(tiny.llama(1), tmp_path / "expert", ["<more>"])
    inputs = tiny.batch(PROMPTS)
    by_folder = decoding.generate(base, **inputs, processors=[Steer(folder)], max_new_tokens=6)
    by_model = decoding.generate(base, **inputs, processors=[Steer(tiny.llama(1))], max_new_tokens=6)
    assert torch.equal(by_folder, by_model)

    text = (tmp_path / "expert" / "tokenizer.json").read_text()
    other = tmp_path / "other"
    tiny.llama(1).save_pretrained(other)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        source = (tmp_path / "expert" / name).read_text()
        (other / name).write_text(source.replace('"a": 3', '"a": 4').replace('"b": 4', '"b": 3'))
    assert '"a": 3' in text
    base.register_forward_pre_hook(lambda *_: pytest.fail("a forward was run"))
    with pytest.raises(ValueError, match=r"base and .*other need the same tokenizer: token 3 is 'a' in the one"):
        decoding.generate(base, **inputs, processors=[Steer(str(other))], max_new_tokens=6)


def test_vocabularies_too_different_to_be_padding_are_refused_by_name():
    wide = tiny.llama(1)
    wide.resize_token_embeddings(2000, mean_resizing=False)
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel has 61 tokens and LlamaForCausalLM has 2000"):
        decoding.generate(tiny.gpt2(), **tiny.batch(PROMPTS), processors=[ContrastiveDecoding(wide)], max_new_tokens=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_expert_of_another_dtype(dtype):
    model, expert, inputs = tiny.llama(0), tiny.llama(1).to(dtype), tiny.batch(PROMPTS)
    out = decoding.generate(model, **inputs, processors=[Steer(expert, gamma=0.5)], max_new_tokens=6)
    rows = continuations(out, inputs)
    guides = [oracles.guided(oracles.steer(expert, model, prompt, [9], 0.5, 0.0)) for prompt in PROMPTS]
    if dtype == torch.float32:
        assert rows == [oracles.greedy(model, prompt, 6, guide=g) for prompt, g in zip(PROMPTS, guides, strict=True)]
    assert all(rows)


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


@pytest.mark.parametrize("eta", [0.7, 0.9])
def test_warns_of_weights_that_sum_to_little(eta):
    with pytest.warns(UserWarning, match="like a temperature of"):
        Steer(tiny.gpt2(), eta=eta, negatives=ASIDE)


def test_the_authors_own_settings_do_not_warn():
    Steer(tiny.gpt2(), gamma=0.2, eta=0.6, negatives=ASIDE)
    Steer(tiny.gpt2(), gamma=0.2, eta=0.9, negatives=ASIDE, beta=0.1)


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


class TestProcessor:
    def test_serves_another_call_on_the_same_prompts(self):
        model, inputs = tiny.gpt2(), tiny.batch(PROMPTS)
        processor = GuideProcessor(model, cases(tiny.gpt2)["steer"][0], **inputs)
        for options in ({}, {"num_beams": 3}, {"num_return_sequences": 2, "num_beams": 2}, {}):
            fresh = GuideProcessor(model, cases(tiny.gpt2)["steer"][0], **inputs)
            options = {**options, "max_new_tokens": 6, "do_sample": False}
            again = model.generate(**inputs, logits_processor=[processor], **options)
            assert torch.equal(again, model.generate(**inputs, logits_processor=[fresh], **options))

    def test_refuses_what_a_guide_refuses(self):
        wide = tiny.llama(1)
        wide.resize_token_embeddings(2000, mean_resizing=False)
        with pytest.raises(ValueError, match="need the same tokenizer"):
            GuideProcessor(tiny.gpt2(), ContrastiveDecoding(wide), **tiny.batch(PROMPTS))

    def test_refuses_other_prompts(self):
        model = tiny.gpt2()
        processor = GuideProcessor(model, NegativePrompt(), **tiny.batch(PROMPTS[:1]))
        with pytest.raises(ValueError, match="not the prompts that this GuideProcessor was made for"):
            model.generate(**tiny.batch(PROMPTS[1:2]), logits_processor=[processor], max_new_tokens=2)

    def test_equal_prompts_with_different_second_prompts(self):
        """Rows are found by their tokens within their own prompt, so twins are not mixed up."""
        model, prompts = tiny.gpt2(), [PROMPTS[0]] * 3
        guide = NegativePrompt(ASIDE, gamma=2.5)
        inputs, options = tiny.batch(prompts), {"num_beams": 3, "max_new_tokens": 6, "do_sample": False}
        out = model.generate(**inputs, logits_processor=[GuideProcessor(model, guide, **inputs)], **options)
        oracle = lambda i: oracles.classifier_free_guidance(model, prompts[i], ASIDE[i], 2.5)
        assert torch.equal(
            out, model.generate(**inputs, logits_processor=[OracleProcessor(model, oracle, prompts)], **options)
        )
        assert len({tuple(row) for row in out.tolist()}) > 1
