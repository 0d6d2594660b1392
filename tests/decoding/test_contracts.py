"""What parts promise: a picker of somebody's own that draws is treated as ours, by what it says of itself."""

import ast

import pytest
import torch

import decoding
from decoding import BestOfN, Decoder, Greedy, Picker, Rerank, Reranker, Sample, Search
from decoding.jobs.continuation import Job
from decoding.jobs.prompts import Prompt
from decoding.row_states import RowStates, State
from tests.support import tiny
from tests.support.imports import modules

PROMPTS = [[5, 9, 11, 30, 7], [8, 3]]
SETTINGS = {"max_new_tokens": 12, "top_k": None, "top_p": None, "repetition_penalty": None, "batch_size": 2}


class Own(Picker):
    """`Sample` once more, and no relation of it."""

    draws = True

    def __call__(self, hypotheses):
        hypotheses.append(hypotheses.draw(hypotheses.logits().softmax(-1)))


class Longest(Reranker):
    """Of as many rows as it wants, the longest of each prompt."""

    def __init__(self, width=4, **more):
        self.width = width
        vars(self).update(more)

    def __call__(self, hypotheses):
        return None

    def best(self, hypotheses):
        return hypotheses.lengths.view(-1, self.width).argmax(1) + torch.arange(hypotheses.prompts) * self.width


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


class Counting(Search):
    """The first row of each prompt, and how often it was asked."""

    def __init__(self, width):
        self.width, self.asked = width, 0

    def __call__(self, hypotheses):
        self.asked += 1

    def best(self, hypotheses):
        return torch.arange(hypotheses.prompts) * self.width

    def report(self):
        return {"rounds": [self.asked]}


class Counted(Reranker):
    width = 2

    def start(self, hypotheses, tokenizer=None):
        return Counting(self.width)


def test_a_reranker_starts_a_search_of_its_own_for_each_call():
    counted = Counted()
    found = [
        generate(Sample(), counted, max_new_tokens=n, min_new_tokens=n, return_dict_in_generate=True) for n in (5, 9)
    ]
    assert [out.rounds for out in found] == [[4], [8]]


def test_a_reranker_that_keeps_nothing_is_its_own_search():
    class Told(Longest):
        def report(self):
            return {"rounds": ["told"], "sequences_scores": None}

    assert isinstance(Told(), Search)
    assert generate(Sample(), Told(), return_dict_in_generate=True).rounds == ["told"]


def test_a_reranker_that_starts_a_search_is_none_and_has_no_method_that_cannot_be_called():
    for part in (Rerank(lambda prefixes, texts: [0.0] * len(texts)), BestOfN(lambda prefixes, texts: texts), Counted()):
        assert isinstance(part, Reranker)
        assert not isinstance(part, Search)
        assert not callable(part)
        assert not hasattr(part, "best")
        assert part.report() == {}


@pytest.mark.parametrize(
    "methods",
    [{}, {"best": Counting.best}, {"__call__": Counting.__call__}],
    ids=lambda methods: "".join(methods) or "none",
)
def test_half_a_reranker_is_refused_when_it_is_made(methods):
    with pytest.raises(TypeError, match=r"^Half needs both __call__\(hypotheses\) and best\(hypotheses\), or start"):
        type("Half", (Reranker,), methods)()


def test_a_reranker_that_starts_no_search_is_refused_before_any_work():
    class Astray(Counted):
        def start(self, hypotheses, tokenizer=None):
            return 7

    model = tiny.gpt2()
    model.register_forward_pre_hook(lambda *_: pytest.fail("a forward"))
    with pytest.raises(TypeError, match=r"^Astray.start must return a decoding.Search, not 7$"):
        decoding.generate(model, **tiny.batch(PROMPTS), processors=[Sample(), Astray()], max_new_tokens=3)


@pytest.mark.parametrize("missing", ["__call__", "best"])
def test_half_a_search_cannot_be_made(missing):
    methods = {name: getattr(Counting, name) for name in ("__call__", "best") if name != missing}
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (Search,), methods)()


def test_scores_are_set_by_append_alone():
    class Odd(Greedy):
        def __call__(self, hypotheses):
            assert torch.equal(hypotheses.scores, torch.full_like(hypotheses.scores, float(counts[-1])))
            counts.append(counts[-1] + 1)
            tokens = hypotheses.logits().argmax(-1)
            length = hypotheses.tokens.shape[1]

            def scores():
                assert hypotheses.tokens.shape[1] == length + 1  # they are asked for when the tokens are there
                return torch.full(tokens.shape, float(counts[-1]))

            hypotheses.append(tokens, scores)

    counts = [0]
    steps = list(Decoder(Odd()).stream(tiny.gpt2(), **tiny.batch(PROMPTS), max_new_tokens=3))
    assert [step.scores.tolist() for step in steps] == [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]

    class ByHand(Greedy):
        def __call__(self, hypotheses):
            super().__call__(hypotheses)
            hypotheses.scores = hypotheses.scores * 2

    with pytest.raises(AttributeError, match="scores"):
        generate(ByHand())


def test_what_was_seen_is_there_once_somebody_asked():
    class Early(Greedy):
        def __call__(self, hypotheses):
            if hypotheses.continuation.shape[1] == 0:
                with pytest.raises(RuntimeError, match=r"call hypotheses.logits\(\) first"):
                    _ = hypotheses.seen
            logits = hypotheses.logits()
            assert torch.equal(hypotheses.seen.scores, logits)
            assert torch.equal(hypotheses.seen.logits, hypotheses.read().logits)
            super().__call__(hypotheses)

    def half(tokens, logits):
        return logits / 2

    assert torch.equal(generate(half, Early()), generate(Greedy()))


def test_what_is_kept_of_rows_follows_them_under_its_own_key():
    one, two = State[torch.Tensor]("same name"), State[list]("same name")
    kept = RowStates()
    assert not kept
    kept[one], kept[two] = torch.tensor([[1], [2]]), ["a", "b"]
    kept.select(torch.tensor([1, 1, 0]))
    assert (kept[one].tolist(), kept[two]) == ([[2], [2], [1]], ["b", "b", "a"])
    assert (len(kept), two in kept, kept.get(State("same name"), [])) == (2, True, [])
    assert kept.remove(two) == ["b", "b", "a"]
    assert (kept.remove(two), two in kept, len(kept)) == (None, False, 1)


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
