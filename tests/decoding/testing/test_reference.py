"""The reference loop, by hand: a model of three tokens whose next token depends on the last one alone."""

from types import SimpleNamespace

import pytest
import torch

from decoding.testing.reference import Reader, chosen, continue_texts, drawn
from tests.support.imports import ROOT, imports, modules

INF = float("inf")
NEXT = torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 2.0], [3.0, 1.0, 0.0]])  # after 0 comes 1, after 1 comes 2, then 0


class Chain:
    """Counts how often it reads."""

    def __init__(self, table=NEXT):
        self.table, self.reads = table, []

    def __call__(self, ids, attention_mask, use_cache, output_hidden_states):
        assert not use_cache
        assert bool(attention_mask.all())
        self.reads.append(ids[0].tolist())
        states = torch.nn.functional.one_hot(ids, 3).double()
        return SimpleNamespace(logits=self.table[ids], hidden_states=(states * 0, states))


def best(text, logits):
    return logits


def run(prompts, length, pick=best, **options):
    return continue_texts(Reader(Chain()), dict(enumerate(prompts)), length, pick, **{"eos": -1, **options})


def test_it_takes_the_best_token_and_ends_after_so_many_or_after_the_end():
    assert [text.new for text in run([[0], [2, 2]], 4)] == [[1, 2, 0, 1], [0, 1, 2, 0]]
    texts = run([[0], [1]], 4, eos=2)
    assert [text.new for text in texts] == [[1, 2], [2]]
    assert all(text.ended for text in texts)


def test_guides_come_first_and_processors_last():
    seen = []

    def guide(name):
        return lambda text, logits: (seen.append((name, logits.tolist())), logits + 1)[1]

    run([[0]], 1, guides=[guide("a"), guide("b")], processors=guide("c"))
    assert seen == [("a", [0, 2, 1]), ("b", [1, 3, 2]), ("c", [2, 4, 3])]


def test_where_nothing_is_left_the_guides_are_left_out():
    forbid = lambda text, logits: torch.full_like(logits, -INF)
    only_0 = lambda text, logits: logits.masked_fill(torch.tensor([False, True, True]), -INF)
    assert run([[0]], 2, guides=[forbid], processors=only_0)[0].new == [0, 0]


def test_a_reader_reads_each_text_once_and_gives_copies():
    model, other = Chain(), Chain(-NEXT)
    reader = Reader(model)
    logits, states = reader([0, 1])
    assert logits.tolist() == [1, 0, 2]
    assert states.tolist() == [[1, 0, 0], [0, 1, 0]]
    logits.zero_()
    assert reader([0, 1])[0].tolist() == [1, 0, 2]
    assert reader([0, 1], other)[0].tolist() == [-1, 0, -2]
    reader([0, 1], other)
    assert (model.reads, other.reads) == ([[0, 1]], [[0, 1]])


def test_copies_take_the_best_tokens_in_turn():
    row = SimpleNamespace(rank=0)
    for row.rank, token in enumerate([1, 2, 1, 2]):  # the first is forbidden
        assert chosen(row, torch.tensor([-INF, 2.0, 1.0])) == token
        assert chosen(row, {1: 2.0, 2: 1.0, 0: -INF}) == token
    assert chosen(row, 7) == 7
    assert chosen(SimpleNamespace(rank=0), {5: 1.0, 4: 1.0}) == 5  # of equal ones the first


def test_rows_of_a_prompt_are_drawn_together_by_its_generator():
    p = torch.full((9,), 1 / 9)
    rows = [SimpleNamespace(place=place) for place in (0, 0, 4)]
    generators = {place: torch.Generator().manual_seed(place) for place in (0, 4)}
    found = drawn(rows, [p, None, p], generators)
    own = {place: torch.Generator().manual_seed(place) for place in (0, 4)}
    assert found[:2] == torch.multinomial(p.expand(2, 9), 1, generator=own[0]).flatten().tolist()
    assert found[2:] == torch.multinomial(p[None], 1, generator=own[4]).flatten().tolist()


def test_a_reranker_moves_rows_with_what_they_remember():
    def pick(text, logits):
        text.memory["tokens"] = [*text.memory.get("tokens", []), (len(text.new), text.rank, text.copies)]
        return logits

    def rerank(texts, ended):
        return [1] if ended else ([1, 1] if len(texts[0].new) == 1 else None)

    [text] = run([[0]], 3, pick, rerank=rerank, width=2)
    # at first the second of two copies; then of the two copies of that one, the second; then alone
    assert text.memory["tokens"] == [(0, 1, 2), (1, 1, 2), (2, 0, 1)]
    assert text.new == [2, 1, 2]
    assert [len(logits) for logits in text.history] == [3, 3, 3]


@pytest.mark.parametrize("name", ["reference", "tiny_models"])
def test_it_imports_nothing_of_the_toolkit(name):
    file = ROOT / "decoding" / "testing" / f"{name}.py"
    found = imports(f"decoding.testing.{name}", file, modules("decoding", "scorers", "benchmarks"))
    assert not {other for other in found if other.partition(".")[0] in ("decoding", "scorers", "benchmarks", "tests")}
