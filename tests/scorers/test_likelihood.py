"""Likelihood: equal to reading the whole text anew for every token, for any family; prefixes are read once."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from scorers import Likelihood, Weighted
from scorers.language_model import log_p, read_spans, token_log_p, tokenise_apart
from tests.support import tiny
from tests.support.families import FAMILIES
from tests.support.oracles import scorers as oracles

WORDS = tiny.tokenizer()
MODELS = {"gpt2": tiny.gpt2(), "llama": tiny.llama()}
PREFIXES = ["The night was, and so it went on", "Hm", "", "Is it"]
PAIRS = [
    (PREFIXES[0], " yes"), (PREFIXES[0], " no, not"), (PREFIXES[1], " I cannot say"), (PREFIXES[1], "!"),
    (PREFIXES[2], " so it"), (PREFIXES[3], "s"), (PREFIXES[0], "?"),
]  # fmt: skip
GIVEN, SAID = [prefix for prefix, _ in PAIRS], [text for _, text in PAIRS]


def ids(text, words=WORDS):
    return words(text, add_special_tokens=False)["input_ids"]


def start(text):
    return ids(text) or [tiny.BOS]


def expected(model, pairs, of="direct", length="mean"):
    scores = []
    for prefix, text in pairs:
        given, said = {
            "direct": (start(prefix), ids(text)), "prior": ([tiny.BOS], ids(text)),
            "channel": (start(text), ids(prefix)), "whole": ([tiny.BOS], ids(prefix) + ids(text)),
        }[of]  # fmt: skip
        total = oracles.log_p(model, given, said)
        scores.append(total / max(len(said), 1) if length == "mean" else total)
    return torch.tensor(scores)


def close(found, expected):
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=2e-5)


class Shapes:
    """The shapes of the tokens of each forward made meanwhile."""

    def __init__(self, model):
        self.model = model

    def __enter__(self):
        seen = []
        see = lambda _, values, inputs: seen.append(tuple(inputs["input_ids"].shape))
        self.hook = self.model.register_forward_pre_hook(see, with_kwargs=True)
        return seen

    def __exit__(self, *_):
        self.hook.remove()


# what is probable


@pytest.mark.parametrize("length", ["mean", "sum"])
@pytest.mark.parametrize("of", ["direct", "prior", "channel", "whole"])
@pytest.mark.parametrize("name", MODELS)
def test_scores_equal_the_oracle(name, of, length):
    scores = expected(MODELS[name], PAIRS, of, length)
    for batch_size in (1, 2, 8):
        close(Likelihood(MODELS[name], WORDS, of, length, batch_size=batch_size)(GIVEN, SAID), scores)


def family(name):
    return next(family for family in FAMILIES if str(family) == name).model().eval()


@pytest.mark.parametrize(
    "name",
    ["opt", "mistral (window)", "gemma2 (hybrid window)", "llama4 (chunks)", "bloom (ALiBi)", "mamba2",
     "qwen3_next (linear attention)", "rwkv"],
)  # fmt: skip
def test_families_with_their_own_positions_caches_and_states(name):
    assert_family(family(name))


@pytest.mark.slow
@pytest.mark.parametrize("family", [f for f in FAMILIES if f.kind not in ("t5", "bart", "marian")], ids=str)
def test_every_family(family):
    assert_family(family.model().eval())


def assert_family(model):
    scorer = Likelihood(model, WORDS, length="sum", batch_size=3)
    state = scorer.read(PREFIXES)
    torch.testing.assert_close(
        scorer.score(state, [PREFIXES.index(prefix) for prefix in GIVEN], SAID),
        expected(model, PAIRS, length="sum").float(), rtol=1e-5, atol=1e-4,
    )  # fmt: skip


TEXTS = st.text("abcXYZ .!", max_size=6)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS.filter(bool)), min_size=1, max_size=5), st.integers(1, 4), st.data())
def test_any_texts_equal_the_oracle(pairs, batch_size, data):
    model = MODELS[data.draw(st.sampled_from(sorted(MODELS)))]
    of = data.draw(st.sampled_from(["direct", "prior", "channel", "whole"]))
    scorer = Likelihood(model, WORDS, of, batch_size=batch_size)
    close(scorer([prefix for prefix, _ in pairs], [text for _, text in pairs]), expected(model, pairs, of))


def test_a_continuation_without_tokens_is_rejected_and_an_empty_prefix_is_not():
    for of in ("direct", "prior", "channel", "whole"):
        scorer = Likelihood(MODELS["gpt2"], WORDS, of)
        said = scorer(["a"] * 3, ["", "\u6f22", "b"])  # the second has a character of no token
        assert said.isfinite().tolist() == [False, False, True]
        assert scorer([""], ["b"]).isfinite().all()


# what is read


def test_a_prefix_is_read_once_and_without_its_last_token():
    model = MODELS["llama"]
    scorer = Likelihood(model, WORDS)
    with Shapes(model) as seen:
        state = scorer.read(["abcdef", "abc", "abcdef"])
    assert seen == [(2, 5)]
    with Shapes(model) as seen:
        first = scorer.score(state, [0, 1, 2, 0], [" one", " two", " one", " three"])
        again = scorer.score(state, [0, 1, 2, 0], [" one", " two", " one", " three"])
    # the last token of the prefix and all but the last of the continuation; no text twice but of two owners
    assert seen == [(4, 6)] * 2
    assert torch.equal(first, again)
    assert first[0] == first[2]


def test_calls_hold_a_few_prefixes_at_a_time():
    model = MODELS["llama"]
    scorer, held = Likelihood(model, WORDS, batch_size=2), []
    read = scorer.reader.read
    scorer.reader.read = lambda texts: held.append(len(texts)) or read(texts)
    prefixes = ["abc", "a", "abcd", "ab", "abcde"]
    scores = scorer(prefixes, [" x"] * 5)
    assert held == [2, 2, 1]
    close(scores, expected(model, [(prefix, " x") for prefix in prefixes]))


def test_pmi_too_holds_a_few_prefixes_at_a_time():
    scorer, held = Likelihood.pmi(MODELS["llama"], WORDS, batch_size=2), []
    direct = scorer.terms[0][1]
    read = direct.reader.read
    direct.reader.read = lambda texts: held.append(len(texts)) or read(texts)
    scorer(["abc", "a", "abcd"], [" x"] * 3)
    assert held == [2, 1]


def test_few_logits_are_made():
    model, seen = MODELS["llama"], []
    hook = model.lm_head.register_forward_hook(lambda _, args, out: seen.append(out.shape[1]))
    scorer = Likelihood(model, WORDS)
    scorer.read(["a" * 50])
    Likelihood(model, WORDS, "channel")(["ab"], ["a" * 50])
    hook.remove()
    assert seen == [1, 2]


# borders, beginnings and lengths


def merging(**options):
    """A byte-pair tokenizer that merges ab, cd, a space and c, and abcd."""
    tokens = ["<pad>", "<bos>", "<eos>", *"abcdexyz\u0120", "ab", "cd", "\u0120c", "abcd"]
    core = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)},
                                [("a", "b"), ("c", "d"), ("\u0120", "c"), ("ab", "cd")]))  # fmt: skip
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", **options}
    return PreTrainedTokenizerFast(tokenizer_object=core, **special)


@pytest.mark.parametrize(
    ("prefix", "continuation", "given", "said"),
    [
        ("xx", "ab", ["x", "x"], ["ab"]),
        ("xa", "bx", ["x"], ["ab", "x"]),  # the border runs through "ab": it counts, after "x"
        ("xab", "cd", ["x"], ["abcd"]),
        ("x ", "cy", ["x"], ["\u0120c", "y"]),  # a space at the end of the prefix is the next token's
        ("a", "b", [], ["ab"]),  # nothing is left that is given
        ("", "ab", [], ["ab"]),
        ("x", "y", ["x"], ["y"]),
    ],
)
@pytest.mark.parametrize("name", MODELS)
def test_borders_of_byte_pairs(name, prefix, continuation, given, said):
    words = merging()
    tokens = [words.convert_tokens_to_ids(part) for part in (given, said)]
    assert ids(prefix + continuation, words) == tokens[0] + tokens[1]
    total = oracles.log_p(MODELS[name], tokens[0] or [tiny.BOS], tokens[1])
    scorer = Likelihood(MODELS[name], words, length="sum")
    pairs = [("xx", "ab"), (prefix, continuation), ("xxx", "cd")]  # in company
    found = scorer([prefix for prefix, _ in pairs], [text for _, text in pairs])[1]
    close(found, torch.tensor(total))
    mean = Likelihood(MODELS[name], words)([prefix], [continuation])
    close(mean, torch.tensor([total / len(said)]))


def beginning(template):
    words = tiny.tokenizer()
    special = [("<bos>", tiny.BOS), ("<eos>", tiny.EOS)]
    words.backend_tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=special)
    return words


@pytest.mark.parametrize("template", ["<bos> $A", "<bos> $A <eos>"])
def test_special_tokens_begin_a_text_and_do_not_end_it(template):
    model = MODELS["llama"]
    total = oracles.log_p(model, [tiny.BOS, *ids("Is it")], ids(" so"))
    close(Likelihood(model, beginning(template), length="sum")(["Is it"], [" so"]), torch.tensor([total]))
    alone = oracles.log_p(model, [tiny.BOS], ids(" so"))
    close(Likelihood(model, beginning(template), "prior", "sum")(["Is it"], [" so"]), torch.tensor([alone]))


def test_the_end_of_text_begins_where_there_is_no_beginning():
    words = tiny.tokenizer()
    words.bos_token = None
    total = oracles.log_p(MODELS["gpt2"], [tiny.EOS], ids("so"))
    close(Likelihood(MODELS["gpt2"], words, length="sum")([""], ["so"]), torch.tensor([total]))
    words.eos_token = None
    with pytest.raises(ValueError, match="neither a beginning nor an end of text"):
        Likelihood(MODELS["gpt2"], words)


def test_long_prefixes_keep_their_end():
    model, text = MODELS["gpt2"], "abcdefghijklmnopqrstuvwxyz"
    total = oracles.log_p(model, ids(text)[-5:], ids(" so"))
    close(Likelihood(model, WORDS, length="sum", prefix_tokens=5)([text], [" so"]), torch.tensor([total]))
    begun = Likelihood(model, beginning("<bos> $A"), length="sum", prefix_tokens=5)
    total = oracles.log_p(model, [tiny.BOS, *ids(text)[-4:]], ids(" so"))
    close(begun([text], [" so"]), torch.tensor([total]))


def test_the_models_context_is_shared_out():
    """128 tokens: 96 for the prefix, the rest for the continuation, of which the end does not count."""
    model, prefix, text = MODELS["gpt2"], "ab" * 60, "cd" * 20
    total = oracles.log_p(model, ids(prefix)[-96:], ids(text)[:32])
    with pytest.warns(UserWarning, match="reads 128 tokens, and some texts are longer"):
        close(Likelihood(model, WORDS, length="sum")([prefix], [text]), torch.tensor([total]))
    close(Likelihood(model, WORDS)([prefix, "a"], [text[:32], " b"])[:1],
          expected(model, [(prefix[-96:], text[:32])]))  # fmt: skip
    pairs = [(prefix[-96:], " b"), ("a", "cd" * 50)]  # behind the first, padding has no position left
    close(Likelihood(model, WORDS)([prefix, "a"], [text for _, text in pairs]), expected(model, pairs))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`")  # of transformers, at peft
def test_adapters_are_read_with_the_model():
    peft = pytest.importorskip("peft")
    adapter = peft.LoraConfig(target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True)
    model = peft.get_peft_model(tiny.gpt2(), adapter)
    found = Likelihood(model, WORDS)(GIVEN, SAID)
    close(found, expected(model, PAIRS))
    assert (found - expected(MODELS["gpt2"], PAIRS)).abs().max() > 1e-3


def test_logits_of_half_precision_are_summed_in_single():
    logits, tail = torch.randn(1, 5, 61, generator=torch.Generator().manual_seed(0)).bfloat16(), [7, 8, 9]
    wanted = sum(logits[0, 1 + i].double().log_softmax(-1)[token] for i, token in enumerate(tail))
    torch.testing.assert_close(log_p(logits, [1], [tail])[0], wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", MODELS)
def test_every_token_of_a_span_has_its_probability(name):
    model = MODELS[name]
    spans = [([5, 9], [11, 30]), ([7], [5, 9, 7, 2, 8]), ([5, 9, 11], []), ([5, 9], [7])]
    found = read_spans(model, spans, batch_size=2)
    for (head, tail), log_ps in zip(spans, found, strict=True):
        wanted = [oracles.log_p(model, head + tail[:t], tail[t : t + 1]) for t in range(len(tail))]
        assert (log_ps.dtype, log_ps.shape) == (torch.float64, (len(tail),))
        torch.testing.assert_close(log_ps, torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=1e-9)
    assert read_spans(model, []) == []


def test_tokens_have_the_probability_that_logits_give_them():
    logits = torch.randn(2, 3, 61, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens = torch.tensor([[1, 2, 3], [60, 0, 5]])
    wanted = torch.stack([logits.log_softmax(-1)[i, j, tokens[i, j]] for i in range(2) for j in range(3)]).view(2, 3)
    torch.testing.assert_close(token_log_p(logits, tokens), wanted, rtol=0, atol=0)


def test_prefix_and_text_tokenised_apart():
    spans = tokenise_apart(WORDS, ["Is it", ""], [" so", ""])
    assert spans == [(WORDS("Is it")["input_ids"], ids(" so")), (WORDS("")["input_ids"] or [tiny.BOS], [])]


# several evidences


def test_evidences_are_mixed_or_multiplied():
    model, passages = MODELS["llama"], ("The shop opens at noon.", "It rains.", "")
    prefixes = [passages, "Hm", (passages[1],), passages]
    texts = [" yes", " no", " yes", " so it is"]
    for i, text in enumerate(texts):
        own = prefixes[i] if isinstance(prefixes[i], tuple) else (prefixes[i],)
        sums = [oracles.log_p(model, start(x), ids(text)) for x in own]
        mixture = math.log(sum(math.exp(s) for s in sums) / len(sums))
        product = sum(sums) / len(sums)
        for evidences, total in (("mixture", mixture), ("product", product)):
            for length, n in (("sum", 1), ("mean", len(ids(text)))):
                scorer = Likelihood(model, WORDS, length=length, evidences=evidences, batch_size=2)
                close(scorer(prefixes, texts)[i], torch.tensor(total / n))


def test_evidence_has_its_say_in_the_channel_and_none_in_the_prior():
    model, own = MODELS["llama"], ("It rains.", "So")
    sums = torch.tensor([oracles.log_p(model, start(" yes"), ids(x)) for x in own], dtype=torch.float64)
    close(Likelihood(model, WORDS, "channel", "sum")([own], [" yes"]), (sums.logsumexp(0) - math.log(2))[None])
    prior = Likelihood(model, WORDS, "prior", "sum")
    assert torch.equal(prior([own], [" yes"]), prior(["Hm"], [" yes"]))


def test_a_prefix_of_no_evidence_is_refused():
    with pytest.raises(ValueError, match="a tuple of at least one"):
        Likelihood(MODELS["llama"], WORDS)([()], [" yes"])


# sums of them


def test_pmi_and_the_noisy_channel_are_their_formulas():
    model = MODELS["gpt2"]
    sums = {of: expected(model, PAIRS, of, "sum") for of in ("direct", "prior")}
    close(Likelihood.pmi(model, WORDS)(GIVEN, SAID), sums["direct"] - sums["prior"])
    means = {of: expected(model, PAIRS, of) for of in ("direct", "prior", "channel")}
    close(Likelihood.pmi(model, WORDS, length="mean")(GIVEN, SAID), means["direct"] - means["prior"])
    noisy = Likelihood.noisy_channel(model, WORDS, channel=0.5, prior=0.25, batch_size=2)
    close(noisy(GIVEN, SAID), means["direct"] + 0.5 * means["channel"] + 0.25 * means["prior"])
    written = Weighted([(1, Likelihood(model, WORDS)), (0.5, Likelihood(model, WORDS, "channel"))])
    close(Likelihood.noisy_channel(model, WORDS, channel=0.5, prior=0)(GIVEN, SAID), written(GIVEN, SAID))


def test_rounds_of_pmi_equal_its_call():
    scorer = Likelihood.pmi(MODELS["gpt2"], WORDS)
    found = scorer.score(scorer.read(PREFIXES), [PREFIXES.index(prefix) for prefix in GIVEN], SAID)
    close(found, scorer(GIVEN, SAID))


@pytest.mark.parametrize(("options", "says"), [
    ({"of": "posterior"}, "of must be 'direct' or 'prior' or 'channel' or 'whole'"),
    ({"length": "max"}, "length must be"),
    ({"evidences": "sum"}, "evidences must be"),
    ({"batch_size": 0}, "batch_size must be"),
    ({"prefix_tokens": 0}, "prefix_tokens must be a whole number"),
    ({"prefix_tokens": 128}, "prefix_tokens must leave room for a text: less than the 128"),
])  # fmt: skip
def test_options_are_checked(options, says):
    with pytest.raises(ValueError, match=says):
        Likelihood(MODELS["gpt2"], WORDS, **options)


def test_encoder_decoders_are_refused():
    with pytest.raises(ValueError, match="is an encoder-decoder"):
        Likelihood(family("t5 (encoder-decoder)"), WORDS)


@pytest.mark.slow
def test_a_real_model_prefers_what_follows(default_model):
    model, tokenizer = default_model
    prefixes = ["The capital of France is", "She opened the umbrella because it was"]
    texts = [" Paris.", " raining."]
    for scorer in (Likelihood(model, tokenizer), Likelihood.pmi(model, tokenizer)):
        assert (scorer(prefixes, texts) > scorer(prefixes, texts[::-1])).all()
