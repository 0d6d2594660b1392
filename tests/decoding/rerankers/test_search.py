"""The search of one call: what is scored, what is kept, and where a text is cut."""

from functools import partial

import torch

import decoding
from decoding import Rerank
from scorers import Scorer
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.judges import TOKENIZER, as_text, judges
from tests.support.reranking import ask, new_tokens


def test_scorer_reads_prefixes_once_and_no_text_twice():
    class Spy(Scorer):
        reads, seen = 0, []

        def read(self, prefixes):
            Spy.reads += 1
            return super().read(prefixes)

        def score(self, state, owners, continuations):
            Spy.seen += [(owner, text) for owner, text in zip(owners, continuations, strict=True)]
            return torch.tensor(judges([state[owner] for owner in owners], continuations))

    model = tiny.llama()
    with torch.no_grad():
        model.lm_head.weight[tiny.EOS] = 0.5 * model.lm_head.weight[10:14].sum(0)
    ask(model, PROMPTS, Rerank(Spy(), 2, 4, 2, tokenizer=TOKENIZER))
    assert Spy.reads == 1
    assert len(Spy.seen) == len(set(Spy.seen)) > 20


def test_equal_scores_go_to_the_first_and_copies_count_once():
    model, part = tiny.gpt2(), Rerank(lambda prefixes, texts: [0.0] * len(texts), 2, 4, 2, tokenizer=TOKENIZER)
    out = ask(model, PROMPTS, part, do_sample=True, n=6)
    for found in out.rounds[:-1]:
        for prompt in range(3):
            own = [i for i, owner in enumerate(found.owners) if owner == prompt]
            assert [i for i in found.kept if found.owners[i] == prompt] == own[:2]
            assert len({found.texts[i] for i in own}) == len(own)


def test_fewer_candidates_than_beams():
    """A model that can say one thing alone: there is one hypothesis, whatever was asked for."""
    model = tiny.gpt2()

    def only_one(tokens, logits):
        return logits.masked_fill(torch.arange(tiny.VOCABULARY) != 7, -torch.inf)

    out = ask(model, PROMPTS, Rerank(judges, 2, 3, 3, tokenizer=TOKENIZER), only_one, n=5)
    assert [len(found.texts) for found in out.rounds] == [3, 3, 3]
    assert new_tokens(out.sequences, 9) == [[7] * 5] * 3


def test_setwise_scorers_see_every_copy():
    class Votes(Scorer):
        setwise = True

        def score(self, state, owners, continuations):
            pairs = list(zip(owners, continuations, strict=True))
            return torch.tensor([float(pairs.count(pair)) for pair in pairs])

    def three(tokens, logits):
        return logits.masked_fill(torch.arange(tiny.VOCABULARY) < tiny.VOCABULARY - 3, -torch.inf)

    out = ask(tiny.gpt2(), PROMPTS[:2], Rerank(Votes(), None, 12, 1, tokenizer=TOKENIZER), three, n=1)
    [found] = out.rounds
    assert len(found.texts) == 24
    for prompt, kept in enumerate(found.kept):
        own = [text for owner, text in zip(found.owners, found.texts, strict=True) if owner == prompt]
        assert own.count(found.texts[kept]) == max(map(own.count, own))

    out = ask(tiny.gpt2(), PROMPTS[:2], Rerank(Votes(), 1, 6, 2, tokenizer=TOKENIZER), three, n=2)
    kept = [(out.rounds[0].owners[i], out.rounds[0].texts[i]) for i in out.rounds[0].kept]
    assert len(kept) == len(set(kept)) == 4  # but no copy of another is kept


def test_paper_cuts_at_the_end_of_a_sentence():
    """As released: 115 tokens, top-k 50 and nucleus 0.9, and nothing after the last . ? ! or ;"""
    model = tiny.gpt2()
    part = Rerank(judges, every=20, samples=3, beams=2, tokenizer=TOKENIZER, paper=True)
    inputs = tiny.batch(PROMPTS)
    call = partial(decoding.generate, model, **inputs, suppress_tokens=[0, 1, 2], return_dict_in_generate=True)
    generator = torch.Generator().manual_seed(0)
    out = call(processors=[part], generator=generator, output_scores=True)
    allowed = (out.scores[0] > -torch.inf).sum(-1)
    assert allowed.max() <= 50
    for row, kept in zip(out.sequences[:, 9:].tolist(), out.rounds[-1].kept, strict=True):
        text = out.rounds[-1].texts[kept]
        end = max(text.rfind(mark) for mark in ".?!;") + 1
        assert 0 < end < len(text) <= 115
        assert as_text(row) == text[:end]
        assert row[end:] == [tiny.PAD] * (115 - end)


def test_paper_cuts_where_what_is_kept_has_ended_before_the_rest():
    """Of two texts the one that has ended is kept, so that the search is over: it is cut all the same."""
    full_stop, a, b = TOKENIZER.convert_tokens_to_ids([".", "a", "b"])

    def say(tokens, logits):
        place = tokens.shape[1] - 9
        said = torch.tensor([[full_stop, a, tiny.EOS, b][place]] * len(tokens))
        if place == 2:
            said[1::2] = b
        return torch.full_like(logits, -torch.inf).scatter(1, said[:, None], 0.0)

    shortest = lambda prefixes, texts: [-float(len(text)) for text in texts]
    part = Rerank(shortest, every=3, samples=2, beams=1, tokenizer=TOKENIZER, paper=True)
    out = ask(tiny.gpt2(), PROMPTS, part, say, top_k=50)
    assert out.sequences[:, 9:].tolist() == [[full_stop, tiny.PAD, tiny.PAD]] * 3
