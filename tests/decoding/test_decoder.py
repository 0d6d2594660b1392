"""Parts, the loop over them, steps, streaming, and rows that a reranker forks and prunes."""

import threading
from functools import partial

import pytest
import torch
from transformers import (
    DynamicCache,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TextIteratorStreamer,
    TextStreamer,
)

import decoding
from decoding import ContrastiveSearch, Decoder, Greedy, Sample, Step
from decoding.outputs import stream_settled
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.oracles import methods as oracles
from tests.support.stub_parts import DECODERS, Tournament, call

MODELS = [tiny.gpt2, tiny.llama]


def rebuild(steps):
    """(R, n) continuations of the last rows, from `parents` and `tokens` alone."""
    rows = torch.zeros(int(max(step.parents.max() for step in steps)) + 1, 0, dtype=torch.long)
    for step in steps:
        rows = torch.cat([rows[step.parents], step.tokens[:, None]], dim=1)
    return rows


@pytest.mark.parametrize("decoder", DECODERS, ids=tiny.named)
def test_steps_rebuild_every_lineage(decoder):
    model = tiny.gpt2()
    steps = list(model.generate(**call(decoder), custom_generate=decoder.stream))
    expected = model.generate(**call(decoder), custom_generate=decoder)
    assert torch.equal(rebuild(steps), expected[:, 9:])
    assert all(step.scores.shape == step.tokens.shape == step.parents.shape for step in steps)


@pytest.mark.parametrize("decoder", DECODERS, ids=tiny.named)
def test_one_object_serves_two_calls(decoder):
    model = tiny.gpt2()
    first, second = (model.generate(**call(decoder), custom_generate=decoder) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("decoder", DECODERS, ids=tiny.named)
def test_row_of_a_padded_batch_equals_the_prompt_alone(decoder):
    if decoder.picker is not None and decoder.picker.draws:
        pytest.skip("a draw depends on the rows drawn before it")
    model, inputs = tiny.gpt2(), [tiny.batch([prompt]) for prompt in PROMPTS if len(prompt) > 2]
    together = model.generate(**call(decoder, **tiny.batch(PROMPTS)), custom_generate=decoder)
    for row, alone in zip(together, inputs, strict=True):
        expected = model.generate(**call(decoder, **alone), custom_generate=decoder)[0, alone["input_ids"].shape[1] :]
        assert row[9 : 9 + len(expected)].tolist() == expected.tolist()
        assert set(row[9 + len(expected) :].tolist()) <= {tiny.PAD}


@pytest.mark.parametrize("decoder", DECODERS, ids=tiny.named)
def test_recorded_scores_belong_to_the_rows_returned(decoder):
    """However rows were forked, `logits[t][i]` is what the model says after the first t tokens of sequence i."""
    model = tiny.gpt2()
    asked = {"return_dict_in_generate": True, "output_logits": True, "output_scores": True}
    out = model.generate(**call(decoder, **asked), custom_generate=decoder)
    assert out.sequences.shape[0] == len(out.logits[0]) == 2
    for prompt, row, i in zip((PROMPTS[0], PROMPTS[2]), out.sequences.tolist(), range(2), strict=True):
        continuation = row[9:]
        for t in range(len(continuation)):
            if tiny.EOS in continuation[:t]:
                break
            expected, _ = oracles.read(model, prompt + continuation[:t])
            torch.testing.assert_close(out.logits[t][i], expected, rtol=1e-5, atol=1e-5)


def test_best_of_many_samples():
    """The loop returns the row that the reranker calls best, over all that were sampled."""
    model, pool = tiny.gpt2(), []

    class Spy(Tournament):
        def best(self, hypotheses):
            pool.append(hypotheses.continuation.clone())
            return super().best(hypotheses)

    decoder = Decoder(Sample(), Spy(samples=20, beams=1, every=99))
    out = model.generate(**call(decoder), custom_generate=decoder)[:, 9:]
    assert out.sum(1).tolist() == pool[0].sum(1).view(2, 20).amax(1).tolist()


def test_prompts_are_read_once_for_all_their_copies():
    model, shapes = tiny.gpt2(), []
    model.register_forward_pre_hook(lambda _, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True)
    decoder = Decoder(Sample(), Tournament(samples=5, beams=2, every=99))
    model.generate(**call(decoder, n=3, min_new_tokens=3), custom_generate=decoder)
    assert shapes[0] == (2, 9)
    assert all(rows <= 20 and rows * width <= 22 for rows, width in shapes[1:])  # equal draws count as one
    assert sum(rows * width for rows, width in shapes[2:]) <= 40  # the first step was taken twice, to compare


@pytest.mark.parametrize("picker", [Greedy(), Sample()])
def test_step_scores_are_log_probabilities(picker):
    model, ids = tiny.gpt2(), list(PROMPTS[0])
    drawn = {"do_sample": True, "top_k": 0, "generator": torch.Generator().manual_seed(0)}
    options = drawn if picker.draws else {}
    for step in Decoder(picker).stream(model, **tiny.batch([ids]), max_new_tokens=4, **options):
        log_p = oracles.log_p(model, ids)
        ids.append(int(step.tokens))
        torch.testing.assert_close(step.scores, log_p[ids[-1:]])


def test_stream_is_lazy_and_needs_no_gradients():
    model, seen = tiny.gpt2(), []
    model.register_forward_pre_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    steps = Decoder(Greedy()).stream(model, **tiny.batch(PROMPTS), max_new_tokens=6)
    assert seen == []
    next(steps)
    assert seen == [False]
    next(steps)
    assert seen == [False, False]
    assert torch.is_grad_enabled()


def test_stream_takes_the_options_of_generate():
    model, decoder = tiny.gpt2(), Decoder()
    options = {**tiny.batch(PROMPTS), "max_new_tokens": 7, "repetition_penalty": 1.5, "do_sample": True, "top_k": 5}
    steps = decoder.stream(model, **options, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    assert torch.equal(rebuild(list(steps)), model.generate(**options)[:, 9:])


def test_stream_refuses_at_once():
    with pytest.raises(ValueError, match="cannot do beam search"):
        Decoder().stream(tiny.gpt2(), **tiny.batch(PROMPTS), num_beams=2, max_new_tokens=3)


class Recorder:
    def __init__(self):
        self.columns, self.ended = [], 0

    def put(self, tokens):
        self.columns.append(tokens)

    def end(self):
        self.ended += 1


@pytest.mark.parametrize("parts", [[], [Greedy()], [ContrastiveSearch()]], ids=tiny.named)
def test_streamer_gets_what_model_generate_would_put(parts):
    model, streamer, inputs = tiny.gpt2(), Recorder(), tiny.batch(PROMPTS)
    out = decoding.generate(model, **inputs, processors=parts, streamer=streamer, max_new_tokens=8)
    assert torch.equal(streamer.columns[0], inputs["input_ids"])
    assert torch.equal(torch.stack(streamer.columns[1:], 1), out[:, 9:])
    assert streamer.ended == 1


def test_streamer_gets_only_what_a_reranker_cannot_take_back():
    model, streamer, decoder = tiny.gpt2(), Recorder(), Decoder(Sample(), Tournament(samples=4, beams=1))
    options = call(decoder, n=12)
    counts = []
    streamer.put = lambda tokens: streamer.columns.append(tokens) or counts.append(len(counts))
    out = model.generate(**options, custom_generate=partial(decoder, streamer=streamer))
    assert torch.equal(torch.stack(streamer.columns, 1), out[:, 9:])


def test_text_streamers(tokenizer, capsys):
    model, inputs = tiny.gpt2(), tokenizer("Hello", return_tensors="pt")
    options = {**inputs, "processors": [ContrastiveSearch()], "max_new_tokens": 12}
    text = tokenizer.decode(decoding.generate(model, **options)[0])
    decoding.generate(model, **options, streamer=TextStreamer(tokenizer))
    assert capsys.readouterr().out == text + "\n"
    streamer = TextIteratorStreamer(tokenizer, timeout=30)
    thread = threading.Thread(target=decoding.generate, args=(model,), kwargs={**options, "streamer": streamer})
    thread.start()
    assert "".join(streamer) == text
    thread.join()


def test_streamer_ends_when_generation_fails():
    """A consumer in another thread must not wait for ever."""

    def broken(tokens, logits):
        raise ZeroDivisionError

    streamer = Recorder()
    with pytest.raises(ZeroDivisionError):
        decoding.generate(tiny.gpt2(), torch.tensor([[5]]), processors=[broken], streamer=streamer, max_new_tokens=2)
    assert streamer.ended == 1


def test_guides_apply_in_order_before_the_calls_own_processors():
    model, seen = tiny.gpt2(), []

    def first(tokens, logits):
        return logits + 1

    def second(tokens, logits):
        seen.append(logits)
        return logits * 2

    class Last(RepetitionPenaltyLogitsProcessor):
        def __call__(self, input_ids, scores):
            seen.append(scores)
            return scores

    inputs = {"input_ids": torch.tensor([PROMPTS[0]]), "max_new_tokens": 1}
    decoding.generate(model, **inputs, processors=[first, second], logits_processor=LogitsProcessorList([Last(1.0)]))
    raw, _ = oracles.read(model, PROMPTS[0])
    torch.testing.assert_close(seen[0][0], raw + 1)
    torch.testing.assert_close(seen[1][0], 2 * (raw + 1))


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([Greedy(), Sample()], ValueError, r"at most one picker at a time, not Greedy\(\) and Sample\(\)"),
        ([Tournament(), Tournament()], ValueError, "at most one reranker at a time"),
        ([ContrastiveSearch], TypeError, r"ContrastiveSearch is a class: make a part of it, ContrastiveSearch\(...\)"),
        (["greedy"], TypeError, "'greedy' is no part of a decoder"),
        ([None], TypeError, "None is no part of a decoder"),
        ([[Greedy()]], TypeError, "is no part of a decoder"),
        ([torch.nn.Linear(2, 2)], TypeError, "is no part of a decoder"),
    ],
)
def test_refuses_what_does_not_compose(parts, error, message):
    with pytest.raises(error, match=message):
        Decoder(*parts)


def test_a_single_part_must_stand_in_a_list():
    with pytest.raises(TypeError, match=r"write processors=\[Greedy\(\)\]"):
        decoding.generate(tiny.gpt2(), torch.tensor([[5]]), processors=Greedy())


def test_guidance_with_a_cache_of_its_own_cannot_follow_a_reranker():
    decoder = Decoder(Sample(), Tournament())
    with pytest.raises(ValueError, match="cannot follow a reranker"):
        tiny.gpt2().generate(**call(decoder, guidance_scale=1.5), custom_generate=decoder)


def test_repr_names_the_parts():
    decoder = Decoder(RepetitionPenaltyLogitsProcessor(1.2), ContrastiveSearch(k=4))
    assert repr(decoder).endswith("ContrastiveSearch(k=4, alpha=0.6))")


@pytest.mark.parametrize("part", [Greedy(), ContrastiveSearch(k=4)], ids=tiny.named)
def test_a_stream_that_is_left_early_leaves_a_callers_cache_in_order(part):
    """What was generated so far can be gone on with over the same cache."""
    model, prompt = tiny.llama(), torch.tensor([PROMPTS[0]])
    cache = DynamicCache(config=model.config)
    steps = Decoder(part).stream(model, prompt, past_key_values=cache, max_new_tokens=9)
    text = torch.cat([prompt, *(next(steps).tokens[:, None] for _ in range(3))], dim=1)
    steps.close()
    assert cache.get_seq_length() == 5 + 3 - 1
    more = {"max_new_tokens": 4, "do_sample": False}
    assert torch.equal(model.generate(text, past_key_values=cache, **more), model.generate(text, **more))


def test_a_column_waits_for_the_prompt_that_settles_last():
    """Two prompts of two rows each: the first agree at once, the second only when one of them is dropped."""
    agree, differ, dropped = [7, 7, 8, 9], [5, 5, 6, 6], [1, 1, 2, 2]
    steps = [
        Step(torch.tensor([0, 0, 1, 1]), torch.tensor(agree), torch.zeros(4)),
        Step(torch.tensor([0, 1, 2, 3]), torch.tensor(differ), torch.zeros(4)),
        Step(torch.tensor([0, 1, 3, 3]), torch.tensor(dropped), torch.zeros(4)),
    ]
    streamer, seen = Recorder(), []
    for n in (1, 2, 3):
        streamer.columns.clear()
        stream_settled(steps[:n], 2, streamer)
        seen.append([column.tolist() for column in streamer.columns])
    assert seen == [[], [], [[7, 9], [5, 6], [1, 2]]]


def test_a_guide_that_writes_into_its_logits_does_not_change_the_models():
    def no_sevens(tokens, logits):
        logits[:, 7] = -torch.inf
        return logits

    asked = {"return_dict_in_generate": True, "output_logits": True, "max_new_tokens": 1}
    out = decoding.generate(tiny.gpt2(), torch.tensor([PROMPTS[0]]), processors=[no_sevens], **asked)
    torch.testing.assert_close(out.logits[0][0], oracles.read(tiny.gpt2(), PROMPTS[0])[0])
