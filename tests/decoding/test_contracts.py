"""What parts promise: a picker of somebody's own that draws is treated as ours, by what it says of itself."""

import ast

import pytest
import torch

import decoding
from decoding import Decoder, Greedy, Picker, Sample
from decoding.jobs.continuation import Job
from decoding.jobs.prompts import Prompt
from tests.support import tiny
from tests.support.imports import modules
from tests.support.stub_parts import Counted, Longest

PROMPTS = [[5, 9, 11, 30, 7], [8, 3]]
SETTINGS = {"max_new_tokens": 12, "top_k": None, "top_p": None, "repetition_penalty": None, "batch_size": 2}


class Own(Picker):
    """`Sample` once more, and no relation of it."""

    draws = True

    def __call__(self, hypotheses):
        hypotheses.append(hypotheses.draw(hypotheses.logits().softmax(-1)))


class LongestDraw(Longest):
    needs_draws = True


def generate(*parts, seed=7, **options):
    generator = torch.Generator().manual_seed(seed)
    call = {"max_new_tokens": 12, "generator": generator, **tiny.batch(PROMPTS), **options}
    return decoding.generate(tiny.gpt2(), processors=parts, **call)


WARPED = [{}, {"temperature": 0.05}, {"temperature": 3.0, "top_p": 0.7}, {"top_k": 2}]


@pytest.mark.parametrize("options", WARPED, ids=str)
def test_an_own_picker_that_draws_gets_the_options_of_sampling(options):
    assert torch.equal(generate(Own(), **options), generate(Sample(), **options))


def test_the_options_make_a_difference():
    assert len({str(generate(Own(), **options).tolist()) for options in WARPED}) == len(WARPED)


@pytest.mark.parametrize("options", WARPED, ids=str)
def test_so_it_does_in_transformers_own_call(options):
    call = {**tiny.batch(PROMPTS), "do_sample": True, "max_new_tokens": 12, **options}
    found = [
        tiny.gpt2().generate(**call, custom_generate=Decoder(picker), generator=torch.Generator().manual_seed(7))
        for picker in (Own(), Sample())
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("temperature", [0.05, 3.0])
def test_so_it_does_in_a_job_of_the_command(temperature):
    texts = [Prompt(str(i), text) for i, text in enumerate(["Hello", "to be"])]
    found = [
        [
            {name: record[name] for name in ("id", "continuation", "tokens")}
            for batch in Job(texts, picker, "tiny", 3, {**SETTINGS, "temperature": temperature}).run(
                tiny.gpt2(), tiny.tokenizer()
            )
            for record in batch
        ]
        for picker in (Own(), Sample(), Greedy())
    ]
    assert found[0] == found[1]
    assert (found[0] == found[2]) == (temperature < 1)


@pytest.mark.parametrize("picker", [Own(), Sample(), decoding.Mirostat(), decoding.ArithmeticSample()], ids=tiny.named)
def test_a_picker_that_draws_is_refused_without_sampling(picker):
    message = f"^{type(picker).__name__} needs do_sample=True: without it temperature, top_k and top_p are left out$"
    with pytest.raises(ValueError, match=message):
        generate(picker, do_sample=False)
    with pytest.raises(ValueError, match=message):
        tiny.gpt2().generate(**tiny.batch(PROMPTS), custom_generate=Decoder(picker), do_sample=False, max_new_tokens=3)


def test_an_own_picker_may_say_that_the_options_are_nothing_to_it():
    class First(Greedy):
        def __repr__(self):
            return "First()"

    with pytest.raises(ValueError, match=r"First\(\) draws nothing, and do_sample=True asks for it"):
        generate(First(), do_sample=True)


def test_an_own_reranker_that_needs_draws_has_them_without_a_picker():
    assert torch.equal(generate(LongestDraw()), generate(LongestDraw(), Sample()))
    assert torch.equal(generate(Longest()), generate(Longest(), Greedy()))
    assert not torch.equal(generate(Longest()), generate(LongestDraw()))


def test_a_reranker_that_cuts_texts_is_not_streamed():
    with pytest.raises(ValueError, match="this Longest cuts what a streamer would have had"):
        generate(Longest(streams=False), Sample(), streamer=object())


def test_a_reranker_that_starts_no_search_is_refused_before_any_work():
    class Astray(Counted):
        def start(self, hypotheses, tokenizer=None):
            return 7

    model = tiny.gpt2()
    model.register_forward_pre_hook(lambda *_: pytest.fail("a forward"))
    with pytest.raises(TypeError, match=r"^Astray.start must return a decoding.Search, not 7$"):
        decoding.generate(model, **tiny.batch(PROMPTS), processors=[Sample(), Astray()], max_new_tokens=3)


def test_no_module_asks_whether_a_part_is_one_of_ours():
    """What a part needs, it says: a question for its class is answered wrongly for a part of somebody's own."""
    ours = {"Sample", "Greedy", "Mirostat", "ContrastiveSearch", "Rerank", "BestOfN"}
    asked = [
        (name, ast.unparse(node))
        for name, file in modules("decoding", "benchmarks").items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass", "getattr")
        for word in ast.walk(node)
        if (word.id if isinstance(word, ast.Name) else word.attr if isinstance(word, ast.Attribute) else "") in ours
    ]
    assert asked == []
