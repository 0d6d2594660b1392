"""Odd calls are right or one clear error: shapes, masks, limits, broken models, training mode, threads, interrupts."""

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

import decoding
from decoding.engine.transformers_api import DEFAULT_CACHE_NAME as CACHE
from tests.support import odd, tiny
from tests.support.odd import CASES, DRAWN, MODEL, NEW, PARTS, PLACES, VOCABULARY, batch, broken, ids

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "robustness.md"


def generate(model, parts, options):
    call = {"max_new_tokens": NEW, "generator": torch.Generator().manual_seed(0), **options}
    return decoding.generate(model, processors=parts, **call)


def new_tokens(out, width, eos=2):
    rows = out[:, width:].tolist()
    return [row[: row.index(eos) + 1] if eos in row else row for row in rows]


def counting(model):
    seen = []
    return seen, model.register_forward_pre_hook(lambda *_: seen.append(1))


@pytest.mark.filterwarnings("ignore:.*pad_token_id.*:UserWarning")
@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_odd_call(case, parts):
    model = case.model()
    seen, hook = counting(model)
    try:
        if case.error is not None:
            with pytest.raises((TypeError, ValueError), match=case.error) as caught:
                generate(model, [*case.before(), *PARTS[parts]()], case.options)
            assert "\n" not in str(caught.value)
            assert case.worked or not seen  # nothing was spent
            return
        out = generate(model, [*case.before(), *PARTS[parts]()], case.options)
    finally:
        hook.remove()
    width = case.options["input_ids"].shape[1] if case.options else 1
    eos = 2 if case.options.get("eos_token_id", 2) else VOCABULARY
    rows, oracle = new_tokens(out, width, eos), odd.expected(case, parts, model.eval())
    assert oracle is None or rows == oracle
    assert all(0 < len(row) <= NEW and min(row) >= 0 and max(row) < VOCABULARY for row in rows)


@settings(max_examples=DRAWN["prompts, masks and lengths"], deadline=None, derandomize=True, database=None)
@given(st.data(), st.sampled_from(list(odd.SEARCHES)), st.integers(1, NEW))
def test_any_prompts_and_masks(data, parts, new):
    """What is right to refuse is said here a second time, in other words."""
    width = data.draw(st.integers(1, PLACES + 1))
    token = st.integers(-1, VOCABULARY) if data.draw(st.booleans()) else st.integers(0, VOCABULARY - 1)
    rows = data.draw(st.lists(st.lists(token, min_size=width, max_size=width), min_size=1, max_size=3))
    shape = st.lists(st.integers(0, 1), min_size=width, max_size=width)
    left = st.integers(0, width).map(lambda n: [0] * n + [1] * (width - n))
    mask = [data.draw(st.one_of(left, left, shape)) for _ in rows]
    texts = [[t for t, real in zip(row, reals, strict=True) if real] for row, reals in zip(rows, mask, strict=True)]
    ahead = "Search" in parts
    known = all(0 <= t < VOCABULARY for row in rows for t in row)
    fits = max(map(len, texts)) + new - 1 + ahead <= PLACES
    readable = known and fits and all(reals[-1] for reals in mask)
    options = {**batch(*rows, mask=mask), "max_new_tokens": new}
    if not readable:
        seen, hook = counting(MODEL)
        with pytest.raises(ValueError, match=r"has the token|padding alone|on the right|positions"):
            generate(MODEL, PARTS[parts](), options)
        hook.remove()
        assert not seen
        return
    out = generate(MODEL, PARTS[parts](), options)
    assert new_tokens(out, width) == [odd.SEARCHES[parts](MODEL, text, new) for text in texts]


@settings(max_examples=DRAWN["logits of a broken model"], deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from([odd.NAN, odd.INF, -odd.INF]),
    st.integers(3, VOCABULARY - 1),
    st.integers(0, NEW - 1),
    st.sampled_from(list(PARTS)),
)
def test_any_broken_logit(value, column, step, parts):
    """One logit of every row from some forward on; the end of sequence is kept out, so that all rows go on."""
    model = broken(value, column, step=step)
    options = {**odd.PLAIN, "suppress_tokens": [2]}
    if value == -odd.INF:  # the token is forbidden
        out = generate(model, PARTS[parts](), options)
        assert step or column not in out[:, 3:]
        return
    when = step if parts in ("Greedy", "Sample") else r"\d"  # others have more forwards than tokens
    with pytest.raises(ValueError, match=rf"the model gave {value}\b.*after {when} tokens"):
        generate(model, PARTS[parts](), options)


def end_the_first(tokens, logits):
    """The first row's first token is the end, and no other row's."""
    logits[1:, 2] = -odd.INF
    if tokens.shape[1] == 3:
        logits[0] = logits[0].masked_fill(torch.arange(VOCABULARY) != 2, -odd.INF)
    return logits


@pytest.mark.parametrize("parts", ["Greedy", "Sample", "FrustratinglySimple", "Mirostat", "ArithmeticSample"])
def test_nan_in_a_row_that_has_ended_does_not_matter(parts):
    whole, found = (
        generate(model, [end_the_first, *PARTS[parts]()], odd.PLAIN)
        for model in (MODEL, broken(odd.NAN, rows=0, step=1))
    )
    assert whole[0, 3:].tolist() == [2, 0, 0]
    assert torch.equal(found, whole)


@pytest.mark.parametrize("parts", PARTS)
def test_a_vocabulary_of_one_token(parts):
    one = odd.small(1, bos_token_id=0, eos_token_id=None)
    options = {"input_ids": ids([0, 0], [0, 0]), "attention_mask": torch.ones(2, 2, dtype=torch.int64)}
    if "Search" in parts or parts == "FrustratinglySimple":
        with pytest.raises(ValueError, match=r"k(_max)?=\d is over the model's vocabulary of 1 tokens"):
            generate(one, PARTS[parts](), options)
        return
    made = PARTS[parts]() if "Rerank" not in parts else PARTS[parts]()[1:]  # its second prompt has other tokens
    assert generate(one, made, options).tolist() == [[0] * (2 + NEW)] * 2


class Append(decoding.Picker):
    def __init__(self, *tokens, fork=1):
        self.tokens, self.fork = tokens, fork

    def __call__(self, hypotheses):
        for token in self.tokens:
            hypotheses.append(token)
        hypotheses.fork(self.fork)


@pytest.mark.parametrize(
    ("picker", "message"),
    [
        (Append(), "must append one token to each of 2 rows: it left 2 rows, 0 tokens longer"),
        (Append(ids([3, 3])[0], ids([3, 3])[0]), "2 tokens longer"),
        (Append(ids([3, 3])[0], fork=2), "it left 4 rows"),
        (Append(ids([3, VOCABULARY])[0]), "there are 0 to 22"),
        (Append(ids([3, -1])[0]), "there are 0 to 22"),
        (Append(ids([3])[0]), "one int64 token for each of 2 rows"),
        (Append(torch.tensor([3.0, 3.0])), "one int64 token for each of 2 rows"),
    ],
)
def test_a_picker_that_breaks_its_contract(picker, message):
    with pytest.raises(ValueError, match=message):
        generate(MODEL, [picker], odd.PLAIN)


class Take(decoding.Reranker):
    def __init__(self, rows, best, width=2):
        self.rows, self.last, self.width = rows, best, width

    def __call__(self, hypotheses):
        return self.rows

    def best(self, hypotheses):
        return self.last


FINE = ids([0, 2])[0]
WRONG = [ids([0, 9])[0], ids([0, 1])[0], ids([2, 0])[0], ids([])[0], torch.tensor([0.0, 2.0]), [0, 2], ids([0], [2]),
         ids([-4, 2])[0], torch.tensor([True, False, True, False])]  # fmt: skip


@pytest.mark.parametrize("rows", WRONG, ids=str)
@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_reranker_that_breaks_its_contract(rows, at_the_end):
    part = Take(None, rows) if at_the_end else Take(rows, FINE)
    with pytest.raises(ValueError, match="Take must give rows 0 to 3, int64, prompt by prompt"):
        generate(MODEL, [part], {**odd.PLAIN, "suppress_tokens": [2]})


def test_padding_that_is_no_token_of_the_models():
    """As where a tokenizer was given a padding token, and the embedding was not resized for it."""
    options = {**odd.PLAIN, "pad_token_id": VOCABULARY}
    rows = generate(MODEL, [end_the_first], {**options, "max_new_tokens": 2})  # it stands at the end, and is not read
    assert rows[0, 3:].tolist() == [2, VOCABULARY]
    with pytest.raises(ValueError, match="pad_token_id=23 is none of the model's tokens 0 to 22"):
        generate(MODEL, [end_the_first], options)
    alone = {"input_ids": ids([5, 6]), "pad_token_id": VOCABULARY, "min_new_tokens": NEW}
    assert generate(MODEL, [], alone).shape == (1, 2 + NEW)


def test_a_reranker_that_cannot_decide():
    with pytest.raises(ValueError, match=r"exactly one of each prompt, not \[0, 1, 2\]"):
        generate(MODEL, [Take(None, ids([0, 1, 2])[0])], {**odd.PLAIN, "suppress_tokens": [2]})


@pytest.mark.parametrize("width", [0, -1, 1.5, True, "2"])
def test_a_reranker_without_rows(width):
    with pytest.raises(ValueError, match="width must be a whole number of at least 1"):
        generate(MODEL, [Take(None, FINE, width)], odd.PLAIN)


@pytest.mark.parametrize("parts", PARTS)
def test_two_threads_and_one_model(parts):
    model, alone, found = tiny.llama(), {}, {0: [], 1: []}
    calls = [{**batch([5, 6, 7], [8, 9, 10])}, {**batch([11, 12, 13, 14, 15])}]

    def run(i):
        return generate(model, PARTS[parts](), {**calls[i], "max_new_tokens": 5, "tokenizer": odd.TOKENIZER})

    alone = [run(i) for i in range(2)]
    threads = [threading.Thread(target=lambda i=i: found[i].extend(run(i) for _ in range(4))) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found[i]) for i in range(2)] == [4, 4]
    assert all(torch.equal(out, alone[i]) for i in range(2) for out in found[i])


class Ended:
    ended = 0

    def put(self, tokens):
        pass

    def end(self):
        self.ended += 1


@contextmanager
def interrupted(model, forward):
    """The block's generation is interrupted in the middle of a forward, the first being 0, and must say so."""
    seen = []

    def interrupt(*_):
        seen.append(1)
        if len(seen) > forward:
            raise KeyboardInterrupt

    hook = model.transformer.h[0].mlp.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        yield
    hook.remove()


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("forward", [0, 2])
def test_an_interrupt_leaves_nothing_behind(parts, forward):
    """In the middle of a forward: no hooks, gradients as before, the stream ended, and the next call is right."""
    model, streamer = odd.small(), Ended()
    expected = generate(model, PARTS[parts](), odd.PLAIN)
    hooks = lambda: [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in model.modules()]
    before, attention = hooks(), model.config._attn_implementation  # the hooks are transformers' own, which stay

    with interrupted(model, forward):
        generate(model, PARTS[parts](), {**odd.PLAIN, "streamer": streamer})
    assert torch.is_grad_enabled()
    assert streamer.ended == 1
    assert hooks() == before
    assert model.config._attn_implementation == attention
    assert torch.equal(generate(model, PARTS[parts](), odd.PLAIN), expected)
    cache = DynamicCache(config=model.config)
    assert torch.equal(generate(model, PARTS[parts](), {**odd.PLAIN, CACHE: cache}), expected)


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("forward", [0, 1])
def test_an_interrupt_leaves_a_callers_cache_as_it_was(parts, forward):
    """Rows forked, candidates fed: none of it is in the cache, and the call can be made again over it."""
    model, asked, call = odd.small(), PARTS[parts], batch([5, 6, 7])
    cache, read = DynamicCache(config=model.config), 0
    if not any(getattr(part, "keep_states", False) for part in asked()):  # a look-ahead must see the whole prompt
        model(call["input_ids"][:, :2], **{CACHE: cache})
        read = 2
    expected = generate(model, asked(), call)
    before = [layer.keys.clone() for layer in cache.layers if read]
    with interrupted(model, forward):
        generate(model, asked(), {**call, CACHE: cache})
    assert cache.get_seq_length() == read
    assert all(torch.equal(layer.keys, keys) for layer, keys in zip(cache.layers, before, strict=False))
    assert torch.equal(generate(model, asked(), {**call, CACHE: cache}), expected)
    assert cache.get_seq_length() == expected.shape[1] - 1


def test_a_second_prompt_at_the_limit():
    """Not the main prompt alone must have room for what is generated."""
    with pytest.raises(ValueError, match="has 16 positions, and prompt and new tokens take 17"):
        generate(MODEL, [decoding.NegativePrompt([[7] * (PLACES - NEW + 2)])], batch([5]))


@pytest.mark.parametrize("token", [VOCABULARY, -1])
def test_a_second_prompt_of_unknown_tokens(token):
    seen, hook = counting(MODEL)
    with pytest.raises(ValueError, match=f"a second prompt has the token {token}, and the model knows 0 to 22"):
        generate(MODEL, [decoding.NegativePrompt([[5, token]])], batch([5]))
    hook.remove()
    assert not seen


@pytest.mark.parametrize("last_token_only", [False, True])
def test_a_prompt_of_tokens_that_an_expert_does_not_know(last_token_only):
    """Vocabularies may differ by what pads them: where the prompt has none of that, they go together."""
    amateur = odd.small(VOCABULARY - 1)
    part = decoding.ContrastiveDecoding(amateur, last_token_only=last_token_only)
    generate(MODEL, [part], batch([5, VOCABULARY - 2]))
    seen, hook = counting(MODEL)
    with pytest.raises(ValueError, match=r"prompt.* has the token 22, and the model knows 0 to 21"):
        generate(MODEL, [part], batch([5, VOCABULARY - 1]))
    hook.remove()
    assert not seen


def test_a_device_that_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    from transformers import GPT2Config

    from decoding.models import loading as models
    from scorers._common import loading

    for load in (
        lambda: models.load_model("x", GPT2Config(), device="cuda"),
        lambda: loading.load_model(None, "x", device="cuda"),
    ):
        with pytest.raises(ValueError, match="no device 'cuda': ") as caught:
            load()
        assert "\n" not in str(caught.value)


def test_the_page_has_the_count():
    for table in odd.report().split("\n\n"):
        assert table.strip() in PAGE.read_text(), f"run python -m tests.support.odd and put it into {PAGE.name}"
