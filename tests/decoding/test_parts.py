"""What a part must be: a reranker is its own search, or starts one."""

import pytest
import torch

import decoding
from decoding import BestOfN, Rerank, Reranker, Sample, Search
from tests.support import tiny
from tests.support.stub_parts import Counted, Counting, Longest

PROMPTS = [[5, 9, 11, 30, 7], [8, 3]]


def generate(*parts, seed=7, **options):
    generator = torch.Generator().manual_seed(seed)
    call = {"max_new_tokens": 12, "generator": generator, **tiny.batch(PROMPTS), **options}
    return decoding.generate(tiny.gpt2(), processors=parts, **call)


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


@pytest.mark.parametrize("missing", ["__call__", "best"])
def test_half_a_search_cannot_be_made(missing):
    methods = {name: getattr(Counting, name) for name in ("__call__", "best") if name != missing}
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (Search,), methods)()
