"""Output objects have what belongs to the rows returned; streamers get what is settled."""

import threading
from functools import partial

import pytest
import torch
from transformers import (
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
