"""Negatives that a model generates: the nucleus, the seed, and going on after a kill."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation import TopKLogitsWarper

from scorers.ranker_training.negatives import Generator, choose, generate_into, read_generated
from scorers.ranker_training.pairs import (  # fmt: skip
    Cut,
    Window,
    with_generated,
)
from tests.support import tiny


@given(st.text("ab \n", max_size=20), st.text("cd \n", max_size=20))
def test_true_and_generated_are_cut_to_the_same_words(true, made):
    cut = with_generated(Window(0, 0, 5, 5 + len(true), "p", true), made)
    length = min(len(true.split()), len(made.split()))
    assert cut.continuation.split() == true.split()[:length]
    assert cut.generated.split() == made.split()[:length]
    assert cut.end - cut.middle == len(cut.continuation)


def some_windows():
    return [
        w for i in range(3) for w in Cut(4, 6, 2, 6).windows(i, " ".join(f"Ab{'c' * j} d{'e' * i}." for j in range(9)))
    ]


def test_choice_takes_documents_in_turn():
    windows = some_windows()
    prefixes = [w.prefix for w in windows]
    assert choose(windows, 5) == [prefixes[i] for i in (0, 4, 8, 1, 5)]
    assert choose(windows, 99) == [prefixes[i] for i in (0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11)]


def test_generating_goes_on_where_it_was_killed(language_model, tmp_path, monkeypatch):
    generator = Generator(language_model, new_tokens=6, context=9, batch_size=3, seed=4)
    prefixes = choose(some_windows(), 8)
    state = torch.get_rng_state()
    made = generate_into(tmp_path / "whole.jsonl", generator, prefixes)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(made) == prefixes
    assert made == read_generated(tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    for kept in (0, 1, len(whole) // 2, len(whole) - 1, len(whole)):
        (tmp_path / "part.jsonl").write_bytes(whole[:kept])
        assert generate_into(tmp_path / "part.jsonl", generator, prefixes) == made
        assert (tmp_path / "part.jsonl").read_bytes() == whole
    monkeypatch.setattr(Generator, "_load", lambda self: pytest.fail("the weights were loaded"))
    assert generate_into(tmp_path / "whole.jsonl", generator, prefixes) == made
    others = {"new_tokens": 7, "context": 8, "top_p": 0.8, "batch_size": 2, "seed": 5, "dtype": "bfloat16"}
    for name, value in others.items():
        with pytest.raises(ValueError, match="made with other settings"):
            generate_into(tmp_path / "whole.jsonl", replace(generator, **{name: value}), prefixes)


def test_generates_from_the_nucleus_behind_the_end_of_the_prefix(language_model):
    """With a nucleus of one token it is greedy, which can be recounted row by row."""
    generator = Generator(language_model, new_tokens=5, context=7, top_p=1e-9, batch_size=2)
    words, model = tiny.tokenizer(), tiny.llama().float()
    prefixes = ["abcdefghijkl", "xyz", "hello there"]
    records = [record for batch in generator.batches(prefixes) for record in batch]
    for prefix, record in zip(prefixes, records, strict=True):
        ids = words(prefix).input_ids[-7:]
        new: list[int] = []
        while len(new) < 5 and tiny.EOS not in new:
            new.append(model(torch.tensor([ids + new])).logits[0, -1].argmax().item())
        assert record["continuation"] == words.decode(new, skip_special_tokens=True)
        assert record["prompt"] == prefix
    sampled = Generator(language_model, new_tokens=5, batch_size=2).batches(prefixes)
    assert [r["continuation"] for batch in sampled for r in batch] != [r["continuation"] for r in records]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_of_the_precision_that_was_asked_for(language_model, dtype):
    model, _ = Generator(language_model, dtype=dtype)._load()
    assert model.dtype == getattr(torch, dtype)


def test_only_the_nucleus_cuts_and_the_models_own_settings_have_no_say(language_model, tmp_path, monkeypatch):
    model = tiny.llama().float()
    model.generation_config.update(do_sample=True, temperature=0.1, repetition_penalty=3.0, top_k=5)
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    monkeypatch.setattr(TopKLogitsWarper, "__init__", lambda *_, **__: pytest.fail("cut at a number"))
    first, second = (
        [record["continuation"] for batch in Generator(folder, new_tokens=40).batches(["ab"] * 3) for record in batch]
        for folder in (language_model, str(tmp_path))
    )
    assert first == second


def test_every_batch_and_seed_draws_anew(language_model):
    generate = lambda seed: Generator(language_model, new_tokens=9, batch_size=2, seed=seed).batches(
        ["ab"] * 2 + ["ac"] * 2
    )
    same = lambda seed: Generator(language_model, new_tokens=9, batch_size=1, seed=seed).batches(["ab", "ab"])
    texts = lambda batches: [record["continuation"] for batch in batches for record in batch]
    assert texts(generate(0)) == texts(generate(0)) != texts(generate(1))
    first, second = texts(same(0))
    assert first != second


def test_reads_what_other_programs_made(tmp_path):
    file = tmp_path / "made.jsonl"
    file.write_text(
        '{"id": 0, "prompt": "a", "continuation": " b", "tokens": 1}\n\n'
        '{"prompt": "a", "continuation": "second"}\n{"prompt": "c", "continuation": "d"}\n{"prompt": "to'
    )
    assert read_generated(file) == {"a": " b", "c": "d"}
    file.write_text('{"prompt": "a"}\n{"prompt": "c", "continuation": "d"}\n')
    with pytest.raises(ValueError, match=r"made.jsonl, line 1: needs"):
        read_generated(file)
