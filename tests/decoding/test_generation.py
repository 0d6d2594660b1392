"""`generate` and `Decoder` in the place of `model.generate`: the same answer to the same call."""

import warnings
from functools import partial

import pytest
import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessorList,
    MaxTimeCriteria,
    MinLengthLogitsProcessor,
    StaticCache,
    StoppingCriteriaList,
    TextGenerationPipeline,
)
from transformers.generation import GenerateDecoderOnlyOutput

import decoding
from decoding import ContrastiveSearch, Decoder, Greedy, Sample
from decoding.engine.transformers_api import DEFAULT_CACHE_NAME as CACHE
from tests.support import tiny
from tests.support.families import FAMILIES

PROMPTS = [[5, 9, 11, 30, 7], [8, 8, 3], [12, 40, 33, 21, 6, 50, 44, 19, 27]]
MODELS = [tiny.gpt2, tiny.llama]

OPTIONS = [
    {},
    {"do_sample": True},
    {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.9},
    {"do_sample": True, "typical_p": 0.6, "min_p": 0.02, "temperature": 1.5},
    {"do_sample": True, "num_return_sequences": 3},
    {"min_new_tokens": 9},
    {"eos_token_id": [2, 17, 33, 48]},
    {"bad_words_ids": [[7], [30, 11]]},
    {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2},
    {"do_sample": True, "epsilon_cutoff": 0.02, "renormalize_logits": True},
    {"forced_eos_token_id": 2},
    {"exponential_decay_length_penalty": (3, 1.5)},
    {"sequence_bias": [[[9], 5.0]]},
    {"eos_token_id": None, "pad_token_id": 0},
    {"use_cache": False},
    {"prefill_chunk_size": 4},
    {"cache_implementation": "static"},
    {"guidance_scale": 1.5},
    {"logits_processor": LogitsProcessorList([MinLengthLogitsProcessor(14, 2)])},
    {"stopping_criteria": StoppingCriteriaList([MaxTimeCriteria(60)])},
    {"max_length": 12, "max_new_tokens": None},
]


def without_parts(model, **options):
    return decoding.generate(model, **options)


def as_custom_generate(model, **options):
    return model.generate(**options, custom_generate=Decoder())


def with_a_picker(model, **options):
    return decoding.generate(model, **options, processors=[Sample() if options.get("do_sample") else Greedy()])


WAYS = [without_parts, as_custom_generate, with_a_picker]


def seeded(call, *args, **options):
    torch.manual_seed(11)
    return call(*args, **options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("options", OPTIONS, ids=tiny.named)
def test_same_tokens_as_model_generate(make, options, way):
    model, call = make(), {**tiny.batch(PROMPTS), "max_new_tokens": 12, **options}
    expected = seeded(model.generate, **call)
    assert expected.shape[1] > call["input_ids"].shape[1]
    assert torch.equal(seeded(way, model, **call), expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("do_sample", [False, True])
def test_same_output_object_as_model_generate(make, do_sample, way):
    model = make()
    model.set_attn_implementation("eager")  # the one that gives attentions
    prompts = [[5, 9, 11, 30, 7], [8, 8, 3, 40, 6]]  # eager attention gives NaN for padded rows in float64
    flags = ("return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states")
    call = {**tiny.batch(prompts), "do_sample": do_sample, "max_new_tokens": 8, **dict.fromkeys(flags, True)}
    expected, got = seeded(model.generate, **call), seeded(way, model, **call)
    assert type(got) is GenerateDecoderOnlyOutput
    assert got.keys() == expected.keys()
    for name in ("sequences", "scores", "logits", "attentions", "hidden_states"):
        torch.testing.assert_close(got[name], expected[name], rtol=0, atol=0)
    for ours, theirs in zip(got[CACHE].layers, expected[CACHE].layers, strict=True):
        torch.testing.assert_close(ours.keys, theirs.keys, rtol=0, atol=0)


@pytest.mark.parametrize("flag", ["output_scores", "output_logits", "output_attentions", "output_hidden_states"])
def test_each_output_alone(flag):
    model, call = tiny.llama().float(), {**tiny.batch(PROMPTS), "max_new_tokens": 5, "return_dict_in_generate": True}
    model.set_attn_implementation("eager")  # in float64 it gives NaN behind padding
    expected, got = model.generate(**call, **{flag: True}), as_custom_generate(model, **call, **{flag: True})
    assert got.keys() == expected.keys()


@pytest.mark.parametrize("way", WAYS)
def test_generator_gives_reproducible_draws(way):
    model, call = tiny.llama(), {**tiny.batch(PROMPTS), "do_sample": True, "max_new_tokens": 12}

    def draw(seed):
        return way(model, **call, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize("way", WAYS)
def test_generation_config_object(way):
    model, config = tiny.llama(), GenerationConfig(max_new_tokens=9, do_sample=True, top_k=5, pad_token_id=0)
    before = config.to_dict()
    call = {**tiny.batch(PROMPTS), "generation_config": config}
    if way is with_a_picker:
        way = partial(decoding.generate, processors=[Sample()])
    assert torch.equal(seeded(way, model, **call), seeded(model.generate, **call))
    assert config.to_dict() == before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", MODELS)
def test_callers_cache_goes_on_with_a_conversation(make, way):
    """Two turns over one cache equal two turns without; the cache is left as generate leaves it."""
    model = make()
    call = {"attention_mask": None, "do_sample": False, "pad_token_id": 0, "eos_token_id": None, "max_new_tokens": 5}

    def talk(way, cache):
        ids = way(model, **{**call, "input_ids": torch.tensor([[5, 9, 11]]), CACHE: cache})
        ids = torch.cat([ids, torch.tensor([[8, 30]])], dim=1)
        return way(model, **{**call, "input_ids": ids, CACHE: cache})

    cache, theirs = DynamicCache(config=model.config), DynamicCache(config=model.config)
    ours, expected = talk(way, cache), talk(lambda model, **call: model.generate(**call), theirs)
    assert torch.equal(ours, expected)
    assert cache.get_seq_length() == theirs.get_seq_length() == expected.shape[1] - 1


def test_contrastive_search_leaves_a_callers_cache_as_generate_does():
    model, cache = tiny.llama(), DynamicCache(config=tiny.llama().config)
    inputs = tiny.batch(PROMPTS)
    call = {**inputs, "processors": [ContrastiveSearch()], "max_new_tokens": 20, "eos_token_id": None}
    without = decoding.generate(model, **call)
    with_cache = decoding.generate(model, **call, **{CACHE: cache})
    assert torch.equal(with_cache, without)
    assert cache.get_seq_length() == without.shape[1] - 1
    mask = torch.cat([inputs["attention_mask"], torch.ones(3, 20, dtype=torch.long)], dim=1)
    more = {"attention_mask": mask, "max_new_tokens": 4, "eos_token_id": None, "pad_token_id": 0}
    assert torch.equal(model.generate(without, **more, **{CACHE: cache}), model.generate(without, **more))


@pytest.mark.parametrize("way", WAYS)
def test_callers_static_cache(way):
    model, inputs = tiny.llama(), tiny.batch(PROMPTS)
    cache = StaticCache(config=model.config, max_cache_len=40)
    expected = model.generate(**inputs, max_new_tokens=9)
    assert torch.equal(way(model, **inputs, max_new_tokens=9, **{CACHE: cache}), expected)


def test_contrastive_search_over_transformers_static_cache():
    model, inputs = tiny.llama(), tiny.batch(PROMPTS)
    call = {**inputs, "max_new_tokens": 9, "processors": [ContrastiveSearch()]}
    static = decoding.generate(model, **call, cache_implementation="static", max_cache_len=18)
    assert torch.equal(static, decoding.generate(model, **call))
    with pytest.raises(ValueError, match="pass max_cache_len=18"):
        decoding.generate(tiny.llama(), **call, cache_implementation="static")


@pytest.mark.parametrize("make", MODELS)
def test_inputs_embeds(make):
    model, inputs = make(), tiny.batch(PROMPTS)
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    call = {"inputs_embeds": embeds, "attention_mask": inputs["attention_mask"], "max_new_tokens": 8}
    assert torch.equal(as_custom_generate(model, **call), model.generate(**call))
    search = {**inputs, "max_new_tokens": 8, "processors": [ContrastiveSearch()]}
    expected = decoding.generate(model, **search)[:, inputs["input_ids"].shape[1] :]
    assert torch.equal(decoding.generate(model, **call, processors=[ContrastiveSearch()]), expected)


@pytest.mark.parametrize("name", ["inputs", "input_ids"])
def test_prompt_by_position_or_name(name):
    model, ids = tiny.llama(), torch.tensor([PROMPTS[0]])
    expected = model.generate(ids, max_new_tokens=6)
    assert torch.equal(decoding.generate(model, ids, max_new_tokens=6, processors=[Greedy()]), expected)
    assert torch.equal(decoding.generate(model, **{name: ids}, max_new_tokens=6, processors=[Greedy()]), expected)


def test_no_prompt_at_all_starts_from_bos():
    model = tiny.llama()
    expected = model.generate(max_new_tokens=6, do_sample=False)
    assert torch.equal(decoding.generate(model, max_new_tokens=6, processors=[Greedy()]), expected)


@pytest.mark.parametrize("parts", [[Greedy()], [Sample()], [ContrastiveSearch()]])
def test_stop_strings(tokenizer, parts):
    """transformers loses the tokenizer on its way to a callable; decoding.generate does not."""
    model, inputs = tiny.llama(), tiny.batch(PROMPTS)
    call = {**inputs, "max_new_tokens": 30, "eos_token_id": None, "pad_token_id": 0, "top_k": 0}

    def run(**options):
        options["generator"] = torch.Generator().manual_seed(4)
        return decoding.generate(model, **call, processors=parts, **options)[:, 9:]

    free = run()
    word = tokenizer.decode(free[0, 12])
    stopped = run(stop_strings=[word], tokenizer=tokenizer)
    ends = [row.index(int(free[0, 12])) if int(free[0, 12]) in row else 29 for row in free.tolist()]
    assert torch.equal(stopped, free[:, : max(ends) + 1])
    with pytest.raises(ValueError, match="pass tokenizer="):
        run(stop_strings=[word])


@pytest.mark.parametrize("kwargs", [{}, {"processors": [Greedy()]}])
def test_stop_strings_as_model_generate(tokenizer, kwargs):
    model = tiny.llama()
    call = {**tiny.batch(PROMPTS), "max_new_tokens": 30, "stop_strings": ["e", "AB"], "tokenizer": tokenizer}
    assert torch.equal(decoding.generate(model, **call, **kwargs), model.generate(**call))


def test_inside_a_pipeline(tokenizer):
    model = tiny.llama()
    pipeline = TextGenerationPipeline(model=model, tokenizer=tokenizer)
    texts = ["Hello, you", "no"]
    call = {"max_new_tokens": 8, "do_sample": False, "return_full_text": False}
    for decoder, processors in ((Decoder(), []), (Decoder(ContrastiveSearch(k=4)), [ContrastiveSearch(k=4)])):
        found = [each[0]["generated_text"] for each in pipeline(texts, **call, custom_generate=decoder)]
        for text, new in zip(texts, found, strict=True):
            inputs = tokenizer(text, return_tensors="pt")
            ids = decoding.generate(model, **inputs, processors=processors, max_new_tokens=8)[0]
            assert new == tokenizer.decode(ids[inputs["input_ids"].shape[1] :], skip_special_tokens=True)


REFUSED = [
    ({"num_beams": 3}, [], "cannot do beam search as well"),
    ({"prompt_lookup_num_tokens": 2}, [], "cannot do assisted generation as well"),
    ({"penalty_alpha": 0.6, "top_k": 4}, [Greedy()], "at most one picker"),
    ({"penalty_alpha": 0.6, "do_sample": True}, [], "drop penalty_alpha or do_sample"),
    ({"penalty_alpha": 1.6, "top_k": 4}, [], "alpha must lie in"),
    ({"do_sample": False}, [Sample()], "needs do_sample=True"),
    ({"assistant_model": "any"}, [Greedy()], "assistant_model does not go together"),
    ({"custom_generate": print}, [Greedy()], "custom_generate does not go together"),
    ({"prefill_chunk_size": 2}, [ContrastiveSearch()], "leave it out"),
]


@pytest.mark.parametrize(("options", "parts", "message"), REFUSED, ids=tiny.named)
def test_refuses_before_the_first_forward(options, parts, message):
    model = tiny.llama()
    model.register_forward_pre_hook(lambda *_: pytest.fail("a forward was run"))
    parts = parts or [lambda tokens, logits: logits]
    with pytest.raises(ValueError, match=message) as error:
        decoding.generate(model, **tiny.batch(PROMPTS), processors=parts, max_new_tokens=5, **options)
    assert "\n" not in str(error.value)


def test_refuses_lost_states_of_a_cache_that_holds_the_prompt():
    model, cache = tiny.llama(), DynamicCache(config=tiny.llama().config)
    first = model.generate(torch.tensor([[5, 9, 11]]), **{CACHE: cache}, max_new_tokens=4, eos_token_id=None)
    with pytest.raises(ValueError, match=f"{CACHE} already holds tokens"):
        decoding.generate(model, first, **{CACHE: cache}, processors=[ContrastiveSearch()], max_new_tokens=3)


@pytest.mark.parametrize("name", ["mistral (no window)", "mistral (window)"])
def test_a_callers_static_cache_serves_a_look_ahead_or_is_refused(name):
    """It must be possible to crop it: it is since transformers 5.24, but for sliding windows."""
    model = next(family for family in FAMILIES if str(family) == name).model()
    cache = StaticCache(config=model.config, max_cache_len=40)
    call = {**tiny.batch(PROMPTS), "max_new_tokens": 9, "eos_token_id": None, "processors": [ContrastiveSearch()]}
    if "no window" in name and cache.is_croppable:
        found = decoding.generate(model, **call, **{CACHE: cache})
        assert torch.equal(found, decoding.generate(model, **call))
        assert cache.get_seq_length() == found.shape[1] - 1
        assert cache.layers[0].keys.shape[:3:2] == (3, 40)  # its rows and its places, as they were
    else:
        with pytest.raises(ValueError, match=f"leave {CACHE} out"):
            decoding.generate(model, **call, **{CACHE: cache})


@pytest.mark.parametrize("names", [["cache"], ["past_key_values"], ["cache_params"], ["cache", "past_key_values"]])
@pytest.mark.parametrize("parts", [[], [Greedy()]], ids=str)
def test_a_cache_is_taken_under_the_names_that_generate_takes(names, parts):
    """With the same warnings and the same refusals: which names there are depends on the version of transformers."""
    model, ids = tiny.llama(), torch.tensor([[5, 9, 11], [8, 8, 3]])

    def answer(way):
        caches = [DynamicCache(config=model.config) for _ in names]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found = way(ids, **dict(zip(names, caches, strict=True)), do_sample=False, max_new_tokens=4).tolist()
            except ValueError as error:
                return str(error)
        categories = [warning.category for warning in caught]
        return found, [cache.get_seq_length() for cache in caches], categories

    expected = answer(model.generate)
    assert answer(partial(decoding.generate, model, processors=parts)) == expected
    assert names != [CACHE] or expected[1:] == ([6], [])  # the version's own name: no warning


def test_a_cache_of_the_old_name_goes_on_with_a_conversation():
    """The mask tells of the tokens in the cache too: that is no error, whatever the name."""
    model, cache = tiny.llama(), DynamicCache(config=tiny.llama().config)
    call = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "max_new_tokens": 3}
    text = torch.tensor([[5, 9, 11, 30, 8, 6]])
    model(text[:, :4], **{CACHE: cache})
    more = {"attention_mask": torch.ones(1, 6, dtype=torch.long), "past_key_values": cache}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # since transformers 5.24
        found = decoding.generate(model, text[:, 4:], **more, **call, processors=[Greedy()])
    assert torch.equal(found[:, 2:], model.generate(text, **call)[:, 6:])


def test_decoder_refuses_penalty_alpha_and_says_what_to_write():
    with pytest.raises(ValueError, match=r"ContrastiveSearch\(k=4, alpha=0.6\)"):
        as_custom_generate(tiny.llama(), **tiny.batch(PROMPTS), penalty_alpha=0.6, top_k=4, max_new_tokens=3)


def test_penalty_alpha_in_configs():
    """Wherever they stand, penalty_alpha and top_k mean contrastive search; 50 is the top_k that went unsaid."""
    model, inputs = tiny.llama(), tiny.batch(PROMPTS)
    expected = decoding.generate(model, **inputs, max_new_tokens=9, processors=[ContrastiveSearch(k=4, alpha=0.9)])
    config = GenerationConfig(penalty_alpha=0.9, top_k=4, max_new_tokens=9)
    assert torch.equal(decoding.generate(model, **inputs, generation_config=config), expected)
    assert (config.penalty_alpha, config.top_k) == (0.9, 4)
    all_50 = decoding.generate(model, **inputs, max_new_tokens=9, processors=[ContrastiveSearch(k=50, alpha=0.9)])
    assert torch.equal(decoding.generate(model, **inputs, penalty_alpha=0.9, max_new_tokens=9), all_50)
    model.generation_config.penalty_alpha, model.generation_config.top_k = 0.9, 4
    model.generation_config.do_sample = True
    assert torch.equal(decoding.generate(model, **inputs, max_new_tokens=9), expected)
    assert torch.equal(decoding.generate(model, **inputs, generation_config=config), expected)


@pytest.mark.parametrize("old", [{"penalty_alpha": 0.6, "top_k": 1}, {"penalty_alpha": 0.0, "top_k": 4}])
def test_penalty_alpha_that_was_greedy_search_is(old):
    model, call = tiny.llama(), {**tiny.batch(PROMPTS), "max_new_tokens": 9}
    assert torch.equal(decoding.generate(model, **call, **old), model.generate(**call))


def test_generators_of_their_own_make_texts_independent_of_their_batch():
    """Each prompt draws the same alone, in a batch, and under a reranker whose other prompts keep other rows."""
    model = tiny.gpt2()
    for parts in ([Sample()], [decoding.Rerank(lambda p, t: [len(x) for x in t], 2, 3, 2, tokenizer=tiny.tokenizer())]):
        seeds = lambda places: [torch.Generator().manual_seed(place) for place in places]
        call = partial(decoding.generate, model, processors=parts, max_new_tokens=7, top_k=0)
        together = call(**tiny.batch(PROMPTS), generator=seeds(range(3)))
        for i, prompt in enumerate(PROMPTS):
            alone = call(**tiny.batch([prompt]), generator=seeds([i]))[0, len(prompt) :]
            assert together[i, 9 : 9 + len(alone)].tolist() == alone.tolist()
        assert torch.equal(call(**tiny.batch(PROMPTS), generator=seeds(range(3))), together)
    with pytest.raises(ValueError, match="2 generators for 3 prompts"):
        call(**tiny.batch(PROMPTS), generator=seeds(range(2)))
