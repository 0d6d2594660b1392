"""Traces: what they say is what a slow recomputation says; they cost and change nothing; they are plain JSON."""

import math
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    T5Config,
    T5ForConditionalGeneration,
    TemperatureLogitsWarper,
)

import decoding
from decoding import (
    AdaptiveContrastiveSearch,
    ArithmeticSample,
    ContrastiveSearch,
    Decoder,
    FrustratinglySimple,
    Greedy,
    Mirostat,
    NegativePrompt,
    Picker,
    Rerank,
    Sample,
    Trace,
)
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.judges import TOKENIZER, as_text, judge, judges
from tests.support.oracles import methods as oracles
from tests.support.oracles.processors import slow_processors
from tests.support.stub_parts import DECODERS, Mix, Tournament
from tests.support.traced import counted, run

NEGATIVE = [5, 6, 7]


def log_probabilities(logits):
    return logits.log_softmax(-1)


def close(ours, theirs, within=1e-5):
    assert ours is not None
    assert math.isclose(ours, float(theirs), rel_tol=1e-4, abs_tol=within), (ours, float(theirs))


def context_of(trace, choice, prompts):
    """The prompt and what stood before a choice, from the trace alone."""
    before = trace.calls[-1].chain(choice.parent)
    return prompts[choice.prompt] + [one.id for one in before]


# what it costs and changes: nothing


MORE = [
    Decoder(AdaptiveContrastiveSearch(k_min=2, k_max=5)),
    Decoder(FrustratinglySimple(k=4)),
    Decoder(Rerank(judges, 3, 3, 2, tokenizer=TOKENIZER), Sample()),
    Decoder(Mix(tiny.gpt2(1)), Rerank(judges, 2, 2, 2, tokenizer=TOKENIZER), ContrastiveSearch(k=4)),
    Decoder(Mirostat()),
    Decoder(ArithmeticSample()),
]


@pytest.mark.parametrize("decoder", [*DECODERS, *MORE], ids=tiny.named)
def test_tokens_draws_and_forwards_are_the_same(decoder):
    model, trace = tiny.gpt2(), Trace(TOKENIZER)
    counted(model, decoder, None)  # the first time, the model is asked what it can do
    plain, with_trace = counted(model, decoder, None), counted(model, decoder, trace)
    assert torch.equal(plain[0], with_trace[0])
    assert torch.equal(plain[1], with_trace[1])
    assert plain[2] == with_trace[2]
    for row, sequence in zip(range(2), plain[0][:, 9:].tolist(), strict=True):
        ids = [choice.id for choice in trace.calls[0].row(row)]
        assert sequence[: len(ids)] == ids
        assert set(sequence[len(ids) :]) <= {tiny.PAD}


def test_without_parts_it_is_greedy_search_of_transformers():
    model, trace = tiny.gpt2(), Trace()
    inputs = tiny.batch(PROMPTS)
    out = decoding.generate(model, **inputs, max_new_tokens=6, trace=trace)
    assert torch.equal(out, model.generate(**inputs, max_new_tokens=6))
    assert trace.calls[0].decoder == "Greedy()"


def test_without_a_trace_nothing_is_kept_or_made():
    class Spy(Greedy):
        def __call__(self, hypotheses):
            super().__call__(hypotheses)
            hypotheses.explain(None, cost=lambda: pytest.fail("made for nobody"))
            assert not hypotheses.seen.stages
            assert not hypotheses.seen.outputs
            assert hypotheses.seen.explanation is None
            assert not hypotheses.state

    decoding.generate(tiny.gpt2(), **tiny.batch(PROMPTS), processors=[Mix(tiny.gpt2(1)), Spy()], max_new_tokens=3)


# what it says: the distributions


@pytest.mark.parametrize("decoder", [*DECODERS, *MORE], ids=tiny.named)
def test_every_choice_of_every_row_is_of_its_own_text(decoder):
    """Also in rows that were forked and dropped: log-probabilities, rank and entropy are of the chain of parents."""
    model, trace, prompts = tiny.gpt2(), Trace(TOKENIZER, n=3), [PROMPTS[0], PROMPTS[2]]
    counted(model, decoder, trace)
    choices = trace.calls[0].choices
    mixed = any(isinstance(part, Mix) for part in decoder.guides)
    guides = {i: part.slowly(model, prompts[i]) for part in decoder.guides if mixed for i in range(2)}
    assert len(choices) > 10
    for choice in choices[:: max(1, len(choices) // 40)]:
        ids = context_of(trace, choice, prompts)
        logits, _ = oracles.read(model, ids)
        guided = guides[choice.prompt](ids, logits.clone()) if mixed else logits
        own, after = log_probabilities(logits), log_probabilities(guided)
        assert choice.rank == 1 + int((after > after[choice.id]).sum())
        close(choice.entropy, torch.special.entr(after.exp()).sum())
        shown = {token.id for token in choice.candidates}
        assert shown >= {*after.topk(3).indices.tolist(), *own.topk(3).indices.tolist(), choice.id} - {
            int(v) for v in after.topk(3).indices if after[v] == -torch.inf
        }
        for token in choice.candidates:
            close(token.logps[0], own[token.id])
            if after[token.id] == -torch.inf:
                assert token.logps[-1] is None
            else:
                close(token.logps[-1], after[token.id])
        order = [-math.inf if token.logps[-1] is None else token.logps[-1] for token in choice.candidates]
        assert order == sorted(order, reverse=True)
        if isinstance(decoder.picker, (Greedy, Sample, Mirostat, ArithmeticSample)):
            close(choice.score, after[choice.id])


@pytest.mark.parametrize("make", [tiny.gpt2, tiny.llama])
def test_shifts_are_what_each_guide_adds_in_its_place(make):
    """A guide with a second prompt, a function that forbids, a part and an option of the call: in order, in a batch."""
    model = make()

    def forbid(tokens, logits):
        logits[:, 20:25] = -torch.inf  # in place
        return logits

    parts = [NegativePrompt(torch.tensor([NEGATIVE]), gamma=1.5), forbid, TemperatureLogitsWarper(0.5)]
    _, trace = run(model, PROMPTS, *parts, n=7, repetition_penalty=1.3)
    made = trace.calls[0]
    assert [name.split("(")[0] for name in made.guides] == [
        "NegativePrompt", "forbid", "TemperatureLogitsWarper", "RepetitionPenaltyLogitsProcessor",
    ]  # fmt: skip
    penalise = slow_processors(RepetitionPenaltyLogitsProcessor(1.3))
    for choice in made.choices:
        ids = context_of(trace, choice, PROMPTS)
        logits, _ = oracles.read(model, ids)
        other = oracles.log_p(model, NEGATIVE + ids[len(PROMPTS[choice.prompt]) :])
        stages = [logits, other + 1.5 * (log_probabilities(logits) - other)]
        stages.append(stages[-1].index_fill(0, torch.arange(20, 25), -torch.inf))
        stages.append(stages[-1] / 0.5)
        stages.append(penalise(ids, stages[-1].clone()))
        logps = [log_probabilities(stage) for stage in stages]
        for token in choice.candidates:
            for i, shift in enumerate(token.shifts):
                if 20 <= token.id < 25 and i >= 1:
                    assert shift is None
                else:
                    close(shift, logps[i + 1][token.id] - logps[i][token.id], within=2e-4)  # of two with six digits
            if None not in token.logps:
                close(sum(token.shifts), token.logps[-1] - token.logps[0])


def test_row_that_masks_empty_is_traced_as_it_was_relaxed():
    class Nothing(decoding.Guide):
        def __call__(self, tokens, logits):
            return torch.full_like(logits, -torch.inf)

        def relaxed(self, tokens, logits):
            return logits + torch.arange(logits.shape[-1])

    _, trace = run(tiny.gpt2(), PROMPTS[:1], Nothing(), n=2)
    for choice in trace.calls[0].choices:
        logits, _ = oracles.read(tiny.gpt2(), context_of(trace, choice, PROMPTS))
        close(choice.token.logps[1], log_probabilities(logits + torch.arange(61))[choice.id])


def test_favourites_of_the_model_that_a_guide_forbids_are_kept():
    def no_best(tokens, logits):
        return logits.scatter(-1, logits.argmax(-1, keepdim=True), -torch.inf)

    _, trace = run(tiny.gpt2(), PROMPTS[:1], no_best, trace=Trace(TOKENIZER, n=2))
    for choice in trace.calls[0].choices:
        best = max(choice.candidates, key=lambda token: token.logps[0])
        assert best.logps[1] is None
        assert best.shifts == (None,)
        assert choice.id != best.id


# what it says: the terms of pickers


def contrast(model, ids, candidate, p, alpha):
    """Confidence, penalty, the place of the most alike earlier token, and the score, from a reading of the text."""
    _, states = oracles.read(model, [*ids, candidate])
    cosines = torch.nn.functional.cosine_similarity(states[:-1], states[-1:], dim=-1)
    return p[candidate], cosines.max(), int(cosines.argmax()), (1 - alpha) * p[candidate] - alpha * cosines.max()


def check_contrast(model, trace, prompts, k, alpha, guide=lambda i: oracles.unguided):
    seen = 0
    for choice in trace.calls[-1].choices:
        ids = context_of(trace, choice, prompts)
        logits, _ = oracles.read(model, ids)
        guided = guide(choice.prompt)(ids, logits.clone())
        weighed = {token.id: token for token in choice.candidates if token.terms}
        assert weighed.keys() == {v for v in guided.topk(k).indices.tolist() if guided[v] > -torch.inf}
        assert choice.weights == pytest.approx({"confidence": 1 - alpha, "penalty": -alpha})
        for token in weighed.values():
            confidence, penalty, nearest, score = contrast(model, ids, token.id, guided.softmax(-1), alpha)
            close(token.terms["confidence"], confidence)
            close(token.terms["penalty"], penalty)
            close(token.terms["score"], score)
            assert token.places == {"nearest": nearest}
            seen += 1
        assert choice.id == max(weighed.values(), key=lambda token: token.terms["score"]).id
        assert choice.score == choice.token.terms["score"]
    assert seen


@pytest.mark.parametrize("make", [tiny.gpt2, tiny.llama])
def test_terms_of_contrastive_search_in_a_padded_batch(make):
    _, trace = run(make(), PROMPTS, ContrastiveSearch(4, 0.6))
    check_contrast(make(), trace, PROMPTS, 4, 0.6)


def test_terms_of_contrastive_search_behind_a_guide():
    model = tiny.gpt2()
    mix = Mix(tiny.gpt2(1))
    prompts = [PROMPTS[0], PROMPTS[2]]
    _, trace = run(model, prompts, mix, ContrastiveSearch(5, 0.4))
    check_contrast(model, trace, prompts, 5, 0.4, guide=lambda i: mix.slowly(model, prompts[i]))


@settings(max_examples=10, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(3, 60), min_size=1, max_size=8), min_size=1, max_size=3),
    k=st.integers(1, 9),
    alpha=st.floats(0, 1),
)
def test_terms_of_contrastive_search_for_any_shape(prompts, k, alpha):
    _, trace = run(tiny.llama(), prompts, ContrastiveSearch(k, alpha), n=3)
    for choice in trace.calls[0].choices:
        ids = context_of(trace, choice, prompts)
        p = oracles.read(tiny.llama(), ids)[0].softmax(-1)
        for token in choice.candidates:
            if token.terms:
                _, penalty, _, score = contrast(tiny.llama(), ids, token.id, p, alpha)
                close(token.terms["penalty"], penalty)
                close(token.terms["score"], score)


def test_adaptive_search_tells_its_own_k_and_alpha_row_by_row():
    model = tiny.gpt2()
    _, trace = run(model, PROMPTS, AdaptiveContrastiveSearch(q=8, k_min=2, k_max=6))
    sizes, alphas = set(), set()
    for choice in trace.calls[0].choices:
        weighed = [token for token in choice.candidates if token.terms]
        (alpha,) = {token.terms["alpha"] for token in weighed}
        assert choice.weights == pytest.approx({"confidence": 1 - alpha, "penalty": -alpha}, abs=1e-5)
        ids = context_of(trace, choice, PROMPTS)
        p = oracles.read(model, ids)[0].softmax(-1)
        for token in weighed:
            close(token.terms["score"], contrast(model, ids, token.id, p, alpha)[3])
        assert choice.id == max(weighed, key=lambda token: token.terms["score"]).id
        sizes.add(len(weighed))
        alphas.add(alpha)
    assert len(sizes) > 2
    assert len(alphas) > 5


def test_terms_of_the_other_pickers():
    model = tiny.gpt2()
    _, trace = run(model, PROMPTS, FrustratinglySimple(k=4, alpha=0.5))
    for choice in trace.calls[0].choices:
        best = max((token for token in choice.candidates if token.terms), key=lambda token: token.terms["score"])
        assert choice.id == best.id
        for token in choice.candidates:
            if token.terms:
                close(token.terms["score"], 0.5 * token.terms["confidence"] - 0.5 * token.terms["penalty"])
    _, trace = run(model, PROMPTS, Mirostat(tau=2.0), do_sample=True, top_k=0)
    for choice in trace.calls[0].choices:
        for token in choice.candidates:
            close(token.terms["surprise"], -token.logps[0] / math.log(2))
        assert choice.token.terms["surprise"] <= choice.token.terms["limit"] or choice.rank == 1
    _, trace = run(model, PROMPTS, ArithmeticSample(), do_sample=True, top_k=0)
    for choice in trace.calls[0].choices:
        said = choice.token.terms
        assert said["begin"] <= said["point"] < said["end"]
        assert math.isclose(said["end"] - said["begin"], math.exp(choice.token.logps[0]), abs_tol=1e-3)


def test_picker_of_ones_own_that_never_asks_and_one_that_explains():
    class Fixed(Picker):
        """Takes token 9 and says why."""

        rule = "nine"

        def __call__(self, hypotheses):
            hypotheses.append(torch.full_like(hypotheses.owners, 9))

    class Said(Fixed):
        terms: ClassVar = {"taste": "a matter of taste"}

        def __call__(self, hypotheses):
            hypotheses.logits()
            pair = torch.tensor([[9, -1]]).expand(len(hypotheses.tokens), -1)
            hypotheses.explain(pair, taste=torch.full(pair.shape, float("nan")), where=pair * 0)
            super().__call__(hypotheses)

    _, trace = run(tiny.gpt2(), PROMPTS, Fixed(), n=2)
    assert trace.calls[0].rule == "nine"
    assert {(one.id, one.rank, len(one.candidates), one.token.logps) for one in trace.calls[0].choices} == {
        (9, None, 1, ())
    }
    _, trace = run(tiny.gpt2(), PROMPTS, Said(), n=2, trace=trace)
    assert trace.calls[1].meanings == {"taste": "a matter of taste"}
    for choice in trace.calls[1].choices:
        assert choice.token.terms == {"taste": None}  # nan is no number
        assert choice.token.places == {"where": 0 if choice.prompt == 2 else None}  # a column of padding is no place
        assert choice.rank > 1


# rows that end, fork and are dropped


def test_rows_end_where_they_end():
    model = tiny.llama()
    with torch.no_grad():
        model.lm_head.weight[tiny.EOS] = 0.5 * model.lm_head.weight[10:14].sum(0)
    out, trace = run(model, [[5, 9, 11], [8], [12, 40], [7, 7, 7, 7]], Sample(), n=12)
    lengths = []
    for row, sequence in enumerate(out[:, 4:].tolist()):
        ids = [choice.id for choice in trace.calls[0].row(row)]
        expected = sequence[: sequence.index(tiny.EOS) + 1] if tiny.EOS in sequence else sequence
        assert ids == expected
        lengths.append(len(ids))
    assert len(set(lengths)) > 1
    assert len(trace.calls[0].choices) == sum(lengths)


@pytest.mark.parametrize(("every", "samples", "beams"), [(3, 3, 2), (1, 2, 3), (None, 5, 1)])
def test_rounds_of_a_reranker_are_the_papers(every, samples, beams):
    """Texts, scores and survivors equal the oracle's; each candidate's chain of choices is its text."""
    model, part = tiny.gpt2(), Rerank(judges, every, samples, beams, tokenizer=TOKENIZER)
    _, trace = run(model, PROMPTS, part, top_k=0, do_sample=True)
    score = lambda i, ids: judge(as_text(PROMPTS[i]), as_text(ids))
    best, rounds = oracles.rerank(model, PROMPTS, 9, every, samples, beams, score, torch.Generator().manual_seed(3))
    made = trace.calls[0]
    assert len(made.selections) == len(rounds)
    for ours, theirs in zip(made.selections, rounds, strict=True):
        chains = [made.chain(last) for last in ours.choices]
        assert [(chain[0].prompt, [one.id for one in chain]) for chain in chains] == [(i, ids) for i, ids, _ in theirs]
        assert ours.texts == [as_text(ids) for _, ids, _ in theirs]
        assert ours.scores == pytest.approx([s for _, _, s in theirs], rel=1e-5)
        for prompt in range(len(PROMPTS)):
            own = sorted((row for row in theirs if row[0] == prompt), key=lambda row: -row[2])
            n = 1 if ours is made.selections[-1] else beams
            kept = [i for i in ours.kept if theirs[i][0] == prompt]
            assert [theirs[i] for i in kept] == own[:n]
    assert [[one.id for one in made.row(i)] for i in range(len(PROMPTS))] == best


def test_reranker_that_keeps_no_rounds_is_seen_by_its_rows():
    _, trace = run(tiny.gpt2(), [PROMPTS[0], PROMPTS[2]], Sample(), Tournament(), do_sample=True)
    selections = trace.calls[0].selections
    assert [selection.length for selection in selections] == [3, 6, 9]
    made = trace.calls[0]
    for selection in selections:
        assert selection.scores == [None] * len(selection.choices)
        sums = [sum(one.id for one in made.chain(last)) for last in selection.choices]
        for prompt in range(2):
            own = [i for i, last in enumerate(selection.choices) if made.choices[last].prompt == prompt]
            kept = [i for i in selection.kept if i in own]
            assert max(sums[i] for i in own) == sums[kept[0]]
    assert [made.rows[i] for i in range(2)] == [selections[-1].choices[i] for i in selections[-1].kept]


def test_texts_that_a_reranker_cuts_are_cut():
    with_stops = lambda prefixes, texts: [float("." in text) for text in texts]
    model, part = tiny.gpt2(), Rerank(with_stops, 5, 3, 2, tokenizer=TOKENIZER, paper=True)
    out, trace = run(model, PROMPTS, part, n=12, pad_token_id=tiny.PAD)
    lengths = []
    for row, sequence in enumerate(out[:, 9:].tolist()):
        ids = [choice.id for choice in trace.calls[0].row(row)]
        assert sequence == ids + [tiny.PAD] * (12 - len(ids))
        lengths.append(len(ids))
    assert min(lengths) < 12


# ways to ask


def test_grows_with_a_stream_and_is_whole_when_that_is_left():
    model, trace = tiny.gpt2(), Trace(TOKENIZER)
    steps = Decoder(ContrastiveSearch()).stream(model, **tiny.batch(PROMPTS), max_new_tokens=9, trace=trace)
    assert trace.calls[0].choices == []
    for n, step in zip(range(1, 5), steps, strict=False):
        assert [len(trace.calls[0].row(i)) for i in range(3)] == [n] * 3
        assert [trace.calls[0].row(i)[-1].id for i in range(3)] == step.tokens.tolist()
    steps.close()
    assert Trace.from_json(trace.to_json()) == trace
    other = Trace(TOKENIZER)
    for _ in model.generate(
        **tiny.batch(PROMPTS), max_new_tokens=4, custom_generate=Decoder(ContrastiveSearch()).stream, trace=other
    ):
        pass
    assert other == trace


def test_copies_of_a_prompt_have_rows_of_their_own():
    out, trace = run(tiny.gpt2(), PROMPTS[:2], Sample(), num_return_sequences=2, do_sample=True)
    assert [[one.id for one in trace.calls[0].row(i)] for i in range(4)] == [
        row[: row.index(tiny.EOS) + 1] if tiny.EOS in row else row for row in out[:, 5:].tolist()
    ]


def test_encoder_decoder():
    config = T5Config(vocab_size=61, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, pad_token_id=0,
                      eos_token_id=2, decoder_start_token_id=0)  # fmt: skip
    model = tiny.seeded(T5ForConditionalGeneration(config))
    out, trace = run(model, PROMPTS, ContrastiveSearch(4), n=5)
    for i, row in enumerate(out.tolist()):
        ids = [choice.id for choice in trace.calls[0].row(i)]
        assert row[1 : 1 + len(ids)] == ids
    assert trace.calls[0].prompts == [[(0, "<pad>")]] * 3
    assert all(
        token.places["nearest"] is not None
        for one in trace.calls[0].choices
        for token in one.candidates
        if token.places
    )


def test_prompt_of_embeddings_has_no_tokens_and_no_places():
    model, trace = tiny.gpt2(), Trace(TOKENIZER)
    embeddings = model.get_input_embeddings()(torch.tensor([PROMPTS[0]]))
    decoding.generate(model, inputs_embeds=embeddings, processors=[ContrastiveSearch()], max_new_tokens=5, trace=trace)
    assert trace.calls[0].prompts == [[]]
    places = [token.places["nearest"] for one in trace.calls[0].choices for token in one.candidates if token.places]
    assert None in places
    assert any(place is not None for place in places)


# texts


def test_without_a_tokenizer_tokens_are_numbers():
    _, trace = run(tiny.gpt2(), PROMPTS[:1], n=2, trace=Trace())
    assert trace.calls[0].prompts[0][0] == (5, "#5")
    assert trace.calls[0].row()[0].token.text == f"#{trace.calls[0].row()[0].id}"


def test_tokenizer_of_the_call_will_do():
    _, trace = run(tiny.gpt2(), PROMPTS[:1], n=2, trace=Trace(), tokenizer=TOKENIZER)
    assert trace.calls[0].prompts[0][0] == (5, TOKENIZER.decode([5]))


# JSON
