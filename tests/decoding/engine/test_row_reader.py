"""A part sees the same of a context, whether its prompts are read alone or in one batch with others."""

import inspect

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

import decoding
from decoding import Context, Guide, NegativePrompt, Picker, Sample
from decoding.engine.batched_contexts import BatchedContext, ContextSlice
from decoding.engine.row_reader import RowReader
from tests.support import tiny

PROMPTS = [[5, 9, 11, 30, 7], [8, 8, 3], [12]]
SECOND = [[5, 6, 7], [4, 5, 6, 9, 9, 3], [30, 4]]  # wider than the others: both kinds of padding
DATA = set(RowReader.__annotations__)
PROPERTIES = {name for name, value in vars(RowReader).items() if isinstance(value, property)}
METHODS = {name for name in RowReader.__abstractmethods__ if name not in PROPERTIES}
PUBLIC = sorted(DATA | PROPERTIES)


def seen(reader: RowReader) -> dict:
    """Every attribute that is not a method, in a form that can be compared."""
    found = {}
    for name in PUBLIC:
        value = getattr(reader, name)
        if isinstance(value, GenerationConfig):
            value = value.to_dict() | {"pad": value.pad_token_id}
        found[name] = value.clone() if isinstance(value, Tensor) else value
    return found


class Looks(Picker):
    """Takes the second best token, and notes what it can see of the main context before and after."""

    keep_states = True

    def __init__(self):
        self.notes = []

    def __call__(self, hypotheses):
        logits = hypotheses.logits()
        self.notes.append(seen(hypotheses.read()))
        hypotheses.fork(2)
        hypotheses.append(logits.topk(2).indices.flatten(), logits.topk(2).values.flatten())
        self.notes.append(seen(hypotheses.read()))
        hypotheses.select(torch.arange(1, len(hypotheses.done), 2))
        self.notes.append(seen(hypotheses.contexts[0]))


def same(one, other, name):
    if isinstance(one, Tensor):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, msg=name)
    else:
        assert one is other or one == other, name


def run(make, second, **options):
    picker, model = Looks(), make()
    parts = [NegativePrompt(second, gamma=1.5), picker]
    options = {"max_new_tokens": 4, "min_new_tokens": 4, **options}
    out = decoding.generate(model, **tiny.batch(PROMPTS), processors=parts, **options)
    return out, picker.notes, model


def test_the_contract_names_what_a_context_has():
    """No public attribute is left out of the contract, and both kinds have all of it."""
    of_the_class_alone = {"of", "of_prepared"}
    public = {name for name in dir(Context) if not name.startswith("_")}
    assert public - of_the_class_alone == (PROPERTIES | METHODS)
    context = Context.of(tiny.llama(), torch.tensor([PROMPTS[0]]))
    assert {name for name in vars(context) if not name.startswith("_")} == DATA
    assert {"prompt", "fed", "raw", "content", "is_plain", "encoder_outputs", "mask", "states"} <= {*PUBLIC}
    for kind in (Context, ContextSlice):
        assert not inspect.isabstract(kind)
        assert kind.__mro__[1] is RowReader  # neither is the other with half of it replaced


@pytest.mark.parametrize("make", [tiny.gpt2, tiny.llama])
@pytest.mark.parametrize("share", [None, False])
@pytest.mark.parametrize("traced", [False, True])
def test_a_picker_sees_the_same_of_prompts_read_in_one_batch(make, share, traced):
    trace = {"trace": decoding.Trace()} if traced else {}
    together, batched, _ = run(make, SECOND, share=share, **trace)
    trace = {"trace": decoding.Trace()} if traced else {}
    apart, alone, _ = run(make, SECOND, share=share, padding_limit=-1, **trace)
    assert torch.equal(together, apart)
    assert len(batched) == len(alone) == 12
    for one, other in zip(batched, alone, strict=True):
        assert one.keys() == other.keys() == {*PUBLIC}
        for name in set(PUBLIC) - {"model"}:
            same(one[name], other[name], name)
    for notes in batched:
        assert notes["prompt"].shape[1] == max(map(len, PROMPTS))


@pytest.mark.parametrize(
    ("second", "kind"), [([[5, 6, 7]], ContextSlice), ([[5] * 6], ContextSlice), ([[5] * 40], Context)]
)
def test_a_picker_that_reads_the_prompt_works_behind_a_second_prompt(second, kind):
    class Reads(Picker):
        def __call__(self, hypotheses):
            assert isinstance(hypotheses.read(), kind)
            prompts.append(hypotheses.read().prompt.tolist())
            hypotheses.append(hypotheses.logits().argmax(-1))

    main, prompts = [[5, 9, 11, 30]], []
    parts = [NegativePrompt(second), Reads()]
    decoding.generate(tiny.llama(), torch.tensor(main), processors=parts, max_new_tokens=3, min_new_tokens=3)
    assert prompts == [main] * 3


def test_a_slice_is_read_again_as_its_context_is():
    model, inputs = tiny.llama(), [tiny.batch(PROMPTS), tiny.batch(SECOND)]
    sources = [Context.of(model, each["input_ids"], each["attention_mask"]) for each in inputs]
    batched = BatchedContext(sources)
    rows, nothing = torch.tensor([2, 0, 0]), torch.zeros(3, 0, dtype=torch.long)
    for part in batched.slices:
        part.select(rows)
    for part, source in zip(batched.slices, sources, strict=True):
        part(torch.tensor([[7], [8], [9]]))
        expected = source.again()
        expected.select(rows)
        again = part.again()
        assert torch.equal(again.prompt, source.prompt[rows])
        torch.testing.assert_close(again(nothing), expected(nothing))
        assert torch.equal(again.mask, expected.mask)
        other = part.again(tiny.llama(1))
        assert other.model is not model
        assert torch.equal(other.prompt, source.prompt[rows])


def test_a_guide_gets_a_context_that_says_everything_before_it_is_read():
    """Guides declare contexts before any are batched, and another guide in front changes nothing of what they see."""

    class Watches(Guide):
        def __init__(self):
            self.notes = []

        def contexts(self, main):
            self.notes += [main.is_plain, main.fed, main.prompt.tolist(), main.content, main.raw]
            return [main.again(), main]

        def __call__(self, tokens, logits, blind, main):
            self.notes += [blind.argmax(-1).tolist(), main.argmax(-1).tolist()]
            return logits

    noted = []
    for limit in (0.25, -1):
        guide = Watches()
        parts = [NegativePrompt(SECOND), guide, Sample()]
        generator = torch.Generator().manual_seed(0)
        options = {"max_new_tokens": 3, "generator": generator, "padding_limit": limit}
        decoding.generate(tiny.llama(), **tiny.batch(PROMPTS), processors=parts, **options)
        noted.append(guide.notes)
    assert noted[0] == noted[1]
    assert noted[0][:2] == [True, -1]
