"""Segment beam search by a scorer: equal to the paper's figure, row by row; read once; texts as they are read."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    RepetitionPenaltyLogitsProcessor,
    T5Config,
    T5ForConditionalGeneration,
)

import decoding
from decoding import BestOfN, ContrastiveSearch, Decoder, Greedy, NegativePrompt, Rerank, Sample
from decoding.testing import check_reranker
from scorers import Function, Scorer
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.judges import TOKENIZER, as_text, judge, judges
from tests.support.oracles import methods as oracles
from tests.support.oracles import parts as part_oracles
from tests.support.reranking import ask, new_tokens
from tests.support.tokenizers import bytes_tokenizer


def value(text):
    return judge(as_text(text.prompt), as_text(text.new))


@pytest.mark.parametrize(("every", "samples", "beams"), [(2, 2, 2), (3, 3, 1)])
def test_equals_its_oracle_wherever_it_is_used(every, samples, beams):
    check_reranker(Rerank(judges, every, samples, beams), part_oracles.reranked(every, samples, beams, value))


def test_best_of_n_equals_its_oracle_wherever_it_is_used():
    check_reranker(BestOfN(judges, 3), part_oracles.reranked(None, 3, 1, value))


def expect(model, prompts, part, seed=3, n=9, **options):
    score = lambda i, ids: judge(as_text(prompts[i]), as_text(ids))
    generator = torch.Generator().manual_seed(seed)
    return oracles.rerank(model, prompts, n, part.every, part.samples, part.beams, score, generator, **options)


def check(out, expected, prompts):
    best, rounds = expected
    assert new_tokens(out.sequences, max(map(len, prompts))) == best
    assert len(out.rounds) == len(rounds)
    for ours, theirs in zip(out.rounds, rounds, strict=True):
        assert ours.owners == [i for i, _, _ in theirs]
        assert ours.texts == [as_text(ids) for _, ids, _ in theirs]
        torch.testing.assert_close(ours.scores, torch.tensor([s for _, _, s in theirs]))
    assert out.sequences_scores.tolist() == [ours.scores[i] for i in out.rounds[-1].kept]


@pytest.mark.parametrize("make", [tiny.gpt2, tiny.llama])
@pytest.mark.parametrize(("every", "samples", "beams"), [(3, 3, 2), (4, 4, 1), (1, 2, 3), (None, 5, 1), (20, 2, 2)])
def test_search_is_the_papers(make, every, samples, beams):
    """Token for token, left-padded and batched: every text that was scored, and the best."""
    model, part = make(), Rerank(judges, every, samples, beams, tokenizer=TOKENIZER)
    check(ask(model, PROMPTS, part), expect(model, PROMPTS, part), PROMPTS)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 7))
def test_any_search_is_the_papers(seed, every, samples, beams, n):
    """A model that ends texts often: finished ones compete on, uncopied."""
    model, part = tiny.llama(seed % 5), Rerank(judges, every, samples, beams, tokenizer=TOKENIZER)
    prompts = PROMPTS[: 1 + seed % 3]
    with torch.no_grad():
        model.lm_head.weight[tiny.EOS] = 0.5 * model.lm_head.weight[10:14].sum(0)
    check(ask(model, prompts, part, seed=seed, n=n), expect(model, prompts, part, seed=seed, n=n), prompts)


def test_finished_texts_compete_and_are_not_copied():
    """Of two kept, the finished one takes a row and the other all its samples."""
    model, sizes = tiny.gpt2(), []

    def end_first(tokens, logits):  # row 0 ends at its second token, for good
        sizes.append(len(tokens))
        others = slice(int(tokens.shape[1] == len(PROMPTS[0]) + 1), None)
        logits[others, tiny.EOS] = -torch.inf
        if others.start:
            logits[0] = logits[0].masked_fill(torch.arange(tiny.VOCABULARY) != tiny.EOS, -torch.inf)
        return logits

    likes_short = lambda prefixes, texts: [-float(len(text)) for text in texts]
    part = Rerank(likes_short, every=3, samples=3, beams=2, tokenizer=TOKENIZER)
    out = ask(model, PROMPTS[:1], part, end_first)
    assert sizes == [6, 6, 6, 4, 4, 4, 4, 4, 4]
    assert [round.finished for round in out.rounds][:2] == [[True, *[False] * 5], [True, False, False, False]]
    assert out.rounds[-1].kept == [0]
    assert new_tokens(out.sequences, len(PROMPTS[0]))[0][-1] == tiny.EOS


def test_a_processor_that_knows_its_rows_is_as_it_was_after_a_call():
    model, lengths = tiny.gpt2(), torch.tensor([4, 6, 0])
    processor = RepetitionPenaltyLogitsProcessor(1.5, prompt_ignore_length=lengths)
    part = Rerank(judges, 2, 2, 2, tokenizer=TOKENIZER)
    one, two = (ask(model, PROMPTS, part, processor).sequences for _ in range(2))
    assert processor.prompt_ignore_length is lengths
    assert torch.equal(one, two)


def test_padding_that_is_a_letter_is_no_text():
    model, part = tiny.llama(), Rerank(judges, 2, 3, 2, tokenizer=TOKENIZER)
    with torch.no_grad():
        model.lm_head.weight[tiny.EOS] = 0.5 * model.lm_head.weight[10:14].sum(0)
    usual, letter = (ask(model, PROMPTS, part, pad_token_id=pad).rounds for pad in (tiny.PAD, 9))
    assert [found.texts for found in usual] == [found.texts for found in letter]
    assert any(finished and found.length < 8 for found in usual[:-1] for finished in found.finished)


def test_guides_and_temperature_shape_what_is_drawn():
    model, negative = tiny.gpt2(), [5, 6, 7]
    part = Rerank(judges, 3, 3, 2, tokenizer=TOKENIZER)
    guide = NegativePrompt(torch.tensor([negative]), gamma=1.5)
    out = ask(model, PROMPTS, part, guide, temperature=0.7)

    def guided(i):
        inner = oracles.guided(oracles.classifier_free_guidance(model, PROMPTS[i], negative, 1.5))
        return lambda ids, logits: inner(ids, logits) / 0.7

    check(out, expect(model, PROMPTS, part, guide=guided), PROMPTS)


def test_prompt_is_read_once_and_nothing_twice():
    """One row a prompt, then at most a token a row; after a segment one for each beam; the last is never fed."""
    model, fed = tiny.gpt2(), []
    part = Rerank(judges, every=4, samples=5, beams=2, tokenizer=TOKENIZER)
    ask(model, PROMPTS[:2], part, n=6, min_new_tokens=6)  # asks what the model can do
    model.register_forward_pre_hook(lambda _, args, kwargs: fed.append(kwargs["input_ids"].numel()), with_kwargs=True)
    ask(model, PROMPTS[:2], part, n=12, min_new_tokens=12)
    assert (len(fed), fed[0]) == (12, 2 * 5)
    assert fed[4] <= 4  # the last tokens of the first segment: of two beams for each prompt
    assert fed[8] <= 4
    assert all(8 <= positions <= 20 for i, positions in enumerate(fed) if i not in (0, 4, 8))  # equal draws are one


def test_best_of_n_is_the_best_of_n_samples():
    model, inputs = tiny.gpt2(), tiny.batch(PROMPTS)
    options = {"max_new_tokens": 8, "top_k": 0, "do_sample": True}
    out = decoding.generate(
        model, **inputs, processors=[BestOfN(judges, n=6, tokenizer=TOKENIZER)],
        generator=torch.Generator().manual_seed(1), **options,
    )  # fmt: skip
    samples = decoding.generate(
        model, **inputs, num_return_sequences=6, processors=[Sample()],
        generator=torch.Generator().manual_seed(1), **options,
    )  # fmt: skip
    width = inputs["input_ids"].shape[1]
    for i, own in enumerate(samples.view(3, 6, -1)):
        texts = [as_text(ids) for ids in new_tokens(own, width)]
        best = max(texts, key=lambda text: judge(as_text(PROMPTS[i]), text))
        assert as_text(new_tokens(out[i : i + 1], width)[0]) == best


def test_one_sample_and_one_beam_is_plain_sampling():
    model, inputs = tiny.gpt2(), tiny.batch(PROMPTS)
    options = {"max_new_tokens": 8, "do_sample": True, "top_p": 0.9}
    torch.manual_seed(0)
    expected = model.generate(**inputs, **options)
    torch.manual_seed(0)
    part = Rerank(judges, every=2, samples=1, beams=1, tokenizer=TOKENIZER)
    assert torch.equal(decoding.generate(model, **inputs, processors=[part], **options), expected)


@pytest.mark.parametrize("picker", [Greedy(), ContrastiveSearch(k=4, alpha=0.4)])
def test_copies_behind_a_picker_that_does_not_draw_begin_differently(picker):
    """The i-th sample begins with the i-th best choice, and goes on with the best ones."""
    model, part = tiny.gpt2(), Rerank(judges, every=None, samples=3, beams=1, tokenizer=TOKENIZER)
    out = ask(model, PROMPTS[:1], part, picker, n=5, do_sample=False, top_k=None)
    prompt = PROMPTS[0]
    if isinstance(picker, Greedy):
        firsts = oracles.read(model, prompt)[0].topk(3).indices.tolist()
        rows = [[v, *oracles.greedy(model, [*prompt, v], 4)] for v in firsts]
    else:
        logits, rows = oracles.read(model, prompt)[0], []
        states = {v: oracles.read(model, [*prompt, v])[1] for v in logits.topk(4).indices.tolist()}
        cosine = {v: torch.cosine_similarity(h[:-1], h[-1:], dim=-1).max() for v, h in states.items()}
        p = logits.softmax(-1)
        firsts = sorted(states, key=lambda v: float(-0.6 * p[v] + 0.4 * cosine[v]))[:3]
        rows = [[v, *oracles.contrastive_search(model, [*prompt, v], 4, 4, 0.4)] for v in firsts]
    assert out.rounds[0].texts == [as_text(ids) for ids in rows]


@pytest.mark.parametrize("picker", [Greedy(), ContrastiveSearch(k=4, alpha=0.4)])
def test_more_copies_than_tokens_that_may_come_take_none_that_may_not(picker):
    def two(tokens, logits):
        allowed = torch.isin(torch.arange(tiny.VOCABULARY), torch.tensor([7, 9]))
        return logits.masked_fill(~allowed, -torch.inf)

    part = Rerank(judges, every=None, samples=5, beams=1, tokenizer=TOKENIZER)
    out = ask(tiny.gpt2(), PROMPTS[:1], two, part, picker, n=1, do_sample=False, top_k=None)
    assert sorted(out.rounds[0].texts) == sorted(map(as_text, ([7], [9])))


def test_one_part_judges_the_prompts_of_each_call():
    model, part = tiny.gpt2(), BestOfN(judges, n=4, tokenizer=TOKENIZER)
    said = lambda tokens, logits: logits.masked_fill(torch.arange(tiny.VOCABULARY) < tiny.VOCABULARY - 2, -torch.inf)
    for prompt in PROMPTS[:2]:
        out = ask(model, [prompt], part, said, n=1)
        best = max(judge(as_text(prompt), text) for text in out.rounds[0].texts)
        assert float(out.sequences_scores) == pytest.approx(best, abs=1e-4)


def test_streamer_and_steps_tell_of_the_row_returned():
    model, columns = tiny.gpt2(), []

    class Recorder:
        def put(self, tokens):
            columns.append(tokens)

        def end(self):
            columns.append(None)

    part = Rerank(judges, 3, 3, 1, tokenizer=TOKENIZER)
    inputs = {**tiny.batch(PROMPTS), "max_new_tokens": 9, "top_k": 0}
    call = partial(decoding.generate, model, **inputs, processors=[part])
    out = call(generator=torch.Generator().manual_seed(1), streamer=Recorder())
    assert columns[-1] is None
    assert torch.equal(torch.cat([columns[0], torch.stack(columns[1:-1], 1)], 1), out)
    steps = list(
        Decoder(part).stream(model, **inputs, do_sample=True, generator=torch.Generator().manual_seed(1))
    )  # fmt: skip
    rows = torch.arange(3)
    for t, step in reversed(list(enumerate(steps))):
        assert torch.equal(step.tokens[rows], out[:, 9 + t])
        rows = step.parents[rows]


def test_several_sequences_are_searches_of_their_own():
    model, part = tiny.gpt2(), Rerank(judges, 3, 2, 2, tokenizer=TOKENIZER, prefixes=["ab", "c", "d"])
    out = ask(model, PROMPTS, part, num_return_sequences=2)
    assert out.sequences.shape[0] == 6
    assert out.rounds[0].owners == sorted(out.rounds[0].owners)
    for found in out.rounds:
        for owner, text, score in zip(found.owners, found.texts, found.scores, strict=True):
            assert float(score) == pytest.approx(judge(["ab", "c", "d"][owner // 2], text), abs=1e-4)


def test_paper_through_generate_of_transformers_must_be_asked_in_full():
    model, inputs = tiny.gpt2(), tiny.batch(PROMPTS)
    part = Rerank(judges, samples=2, tokenizer=TOKENIZER, paper=True)
    options = {"do_sample": True, "max_new_tokens": 4, "top_k": 50, "top_p": 0.9}
    assert model.generate(**inputs, custom_generate=Decoder(part), **options).shape == (3, 13)
    for name, value in (("top_k", 40), ("top_p", 1.0), ("temperature", 0.5)):
        with pytest.raises(ValueError, match=rf"paper=True\) is {name}=.*, not {value}"):
            model.generate(**inputs, custom_generate=Decoder(part), **{**options, name: value})


def test_segments_that_end_within_a_letter_are_judged_without_it():
    """Segments of 3 bytes over letters of 2: every other one ends in half a letter, which the next one completes."""
    config = GPT2Config(vocab_size=256, n_positions=32, n_embd=16, n_layer=1, n_head=2, eos_token_id=None)
    model, bytewise, seen = tiny.seeded(GPT2LMHeadModel(config)), bytes_tokenizer(), []
    [first], seconds = bytewise("é")["input_ids"][:1], [bytewise(letter)["input_ids"][1] for letter in "éàüñ"]

    def letters(tokens, logits):
        allowed = torch.full_like(logits, -torch.inf)
        allowed[:, [first] if tokens.shape[1] % 2 else seconds] = 0
        return logits + allowed

    def score(prefixes, texts):
        seen.append(texts)
        return [float(text.count("é")) for text in texts]

    part = Rerank(score, every=3, samples=4, beams=2, tokenizer=bytewise, prefixes=["x"])
    ids = torch.tensor([bytewise("x")["input_ids"]])
    out = decoding.generate(model, ids, processors=[letters, part], max_new_tokens=12, top_k=0,
                            generator=torch.Generator().manual_seed(0))  # fmt: skip
    assert [{len(text) for text in texts} for texts in seen] == [{1}, {3}, {4}, {6}]
    assert {letter for texts in seen for text in texts for letter in text} <= set("éàüñ")
    assert bytewise.decode(out[0, 1:]) in seen[-1]


def test_tokenizer_comes_from_the_part_the_call_or_the_models_folder(tmp_path):
    model, inputs = tiny.gpt2(), tiny.batch(PROMPTS)
    options = {**inputs, "max_new_tokens": 4}
    part = Rerank(judges, 2, 2, 2)
    seen = []
    bare = Rerank(lambda prefixes, texts: seen.append(prefixes) or [0.0] * len(texts), 2, 2, 2)
    decoding.generate(model, **options, processors=[bare], tokenizer=TOKENIZER)
    assert set(seen[0]) == {as_text(prompt) for prompt in PROMPTS}
    with pytest.raises(ValueError, match="give the reranker tokenizer="):
        decoding.generate(model, **options, processors=[part])
    model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    saved = type(model).from_pretrained(tmp_path).eval()
    assert decoding.generate(saved, **options, processors=[part]).shape == (3, 13)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Rerank(judges, samples=0), ValueError, "samples must be a whole number of at least 1, not 0"),
        (lambda: Rerank(judges, every=0), ValueError, "every must be a whole number of at least 1, not 0"),
        (lambda: Rerank(judges, beams=True), ValueError, "beams must be a whole number"),
        (lambda: BestOfN(judges, n=1.5), ValueError, "samples must be a whole number"),
        (lambda: Rerank("ranker"), TypeError, "'ranker' is no scorer"),
        (lambda: Rerank(Function, 2), TypeError, "is no scorer"),
        (lambda: Rerank(judges, prefixes="abc"), ValueError, r"write \['abc'\]"),
        (lambda: Rerank(Function(judges, partial=False)), ValueError, "cannot judge unfinished texts: use BestOfN"),
    ],
)
def test_bad_rerankers_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_calls_that_cannot_work_are_refused_before_any_forward():
    model, inputs, forwards = tiny.gpt2(), tiny.batch(PROMPTS), []
    model.register_forward_hook(lambda *_: forwards.append(1))
    call = partial(decoding.generate, model, **inputs, max_new_tokens=3)
    with pytest.raises(ValueError, match="2 prefixes for 3 prompts: give one for each"):
        call(processors=[Rerank(judges, tokenizer=TOKENIZER, prefixes=["a", "b"])])
    with pytest.raises(ValueError, match="cuts what a streamer would have had"):
        call(processors=[Rerank(judges, tokenizer=TOKENIZER, paper=True)], streamer=object())
    assert not forwards
    assert call(processors=[BestOfN(Function(judges, partial=False), n=2, tokenizer=TOKENIZER)]).shape == (3, 12)
    nothing = type("Nothing", (Scorer,), {"score": lambda self, state, o, c: torch.full((len(c),), torch.nan)})
    with pytest.raises(ValueError, match="gave no number for some of"):
        call(processors=[Rerank(nothing(), tokenizer=TOKENIZER)])


def test_encoder_decoders_need_prefixes():
    config = T5Config(
        vocab_size=tiny.VOCABULARY, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
        pad_token_id=0, eos_token_id=2, decoder_start_token_id=0,
    )  # fmt: skip
    model, inputs = tiny.seeded(T5ForConditionalGeneration(config)), tiny.batch(PROMPTS)
    with pytest.raises(ValueError, match="give Rerank prefixes="):
        decoding.generate(model, **inputs, processors=[Rerank(judges, tokenizer=TOKENIZER)], max_new_tokens=4)
    texts = [as_text(prompt) for prompt in PROMPTS]
    part = Rerank(judges, 2, 3, 2, tokenizer=TOKENIZER, prefixes=texts)
    out = decoding.generate(model, **inputs, processors=[part], max_new_tokens=5, return_dict_in_generate=True)
    for i, row in enumerate(new_tokens(out.sequences, 1)):
        assert float(out.sequences_scores[i]) == pytest.approx(judge(texts[i], as_text(row)), abs=1e-4)
