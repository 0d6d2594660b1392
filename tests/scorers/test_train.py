"""Training a ranker: windows, batches, the loss, what is measured, resumed, said and refused."""

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer

from scorers import train as command
from scorers.ranker import Heads, Ranker, load_encoder
from scorers.ranker_training import job
from scorers.ranker_training.accuracy import WAYS
from scorers.ranker_training.negatives import Generator
from scorers.ranker_training.pairs import (  # fmt: skip
    Cut,
    draw_distractors,
    read_documents,
    split,
    with_generated,
)
from scorers.ranker_training.training import (
    Settings,
    read_states,
)
from tests.support import tiny
from tests.support.chains import CUT, report_of
from tests.support.rankers import WORDS, make_ranker, needs_package

# --------------------------------------------------------------------------------------------------------- the figures


def recount(ranker, windows, seed):
    """The accuracies, by asking the ranker for the scores of each window's texts."""
    drawn, found = draw_distractors(windows, seed=seed), {}
    for i, this in enumerate(windows):
        rivals = {
            "document": [windows[j].continuation for j in drawn.document[i]],
            "random": [windows[j].continuation for j in drawn.random[i]],
            "generated": [this.generated] if this.generated else [],
        }
        for task, texts in rivals.items():
            true, *wrong = ranker([this.prefix] * (1 + len(texts)), [this.continuation, *texts]).tolist()
            wins = [true > other for other in wrong]
            if wins:
                found.setdefault(task, []).append(sum(wins) / len(wins))
            if len(wins) == WAYS:
                found.setdefault(f"{task} 11-way", []).append(float(all(wins)))
    return {task: sum(values) / len(values) for task, values in found.items()}


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("full", [False, True])
def test_learns_a_signal_that_the_encoder_does_not_know(run, chains, tmp_path, full):
    """Each word leads to one other word, the same in all documents: chance before, nearly all after."""
    extra = (
        ("--full", "--epochs", 20, "--learning-rate", 3e-3, "--dropout", 0)
        if full
        else ("--epochs", 60, "--learning-rate", 1e-2, "--dropout", 0)
    )
    status, out, err = run(chains, "--output", tmp_path / "new", *CUT, *extra, "--scale", 10, "--batch-size", 18)
    assert (status, err, len(out)) == (0, [], 1)
    accuracy = report_of(tmp_path / "new")["accuracy"]
    assert accuracy["before"]["document"]["mean"] < 0.65
    assert accuracy["after"]["document"]["mean"] > 0.9
    assert accuracy["after"]["document 11-way"]["mean"] > 0.6
    assert accuracy["gain"]["document"]["low"] > 0.2
    assert accuracy["after"]["document"]["documents"] == 4


@pytest.mark.parametrize("full", [False, True, 2])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_report_tells_what_the_saved_ranker_does(run, chains, tmp_path, encoder, full, similarity):
    made = tmp_path / "made.jsonl"
    documents = read_documents([chains])
    cut = Cut(6, 5, 5, 5, 3)
    sides = split(documents, 0.3, 3)
    windows = [[w for i in side for w in cut.windows(i, documents[i].text)] for side in sides]
    records = [{"prompt": w.prefix, "continuation": w.prefix + " aa"} for side in windows for w in side[::2]]
    made.write_text("".join(json.dumps(record) + "\n" for record in records))
    output = tmp_path / "new"
    extra = (["--full"] if full else []) + (["--rank", full, "--learning-rate", 1e-2] if full == 2 else [])
    status, out, _ = run(
        chains, "--output", output, *CUT, "--windows", 6, "--seed", 3, "--held-out", 0.3, "--generated", made,
        "--epochs", 1, "--similarity", similarity, *extra,
    )  # fmt: skip
    assert status == 0
    report = report_of(output)
    continued = {record["prompt"]: record["continuation"] for record in records}
    held_out = [with_generated(w, continued[w.prefix]) if w.prefix in continued else w for w in windows[1]]
    ranker = Ranker.from_pretrained(output)
    after = recount(ranker, held_out, 3)
    assert {task: found["mean"] for task, found in report["accuracy"]["after"].items()} == pytest.approx(
        after, abs=1e-4
    )
    ranker.heads.prefix.weight.data.zero_()
    ranker.heads.suffix.weight.data.zero_()
    ranker.heads.similarity = "cosine"
    if not full:
        before = recount(ranker, held_out, 3)
        found = {task: entry["mean"] for task, entry in report["accuracy"]["before"].items()}
        assert found == pytest.approx(before, abs=1e-4)
        for task, gain in report["accuracy"]["gain"].items():
            assert gain["mean"] == pytest.approx(after[task] - before[task], abs=2e-4)
    assert report["command"].startswith(f"python -m scorers.train {chains} --output {output} --prefix-words 5 ")
    training = report["training"]
    assert training["windows"] == {"train": len(windows[0]), "held_out": len(windows[1])}
    assert training["generated"] == {
        name: sum(w.prefix in continued for w in windows[i]) for i, name in enumerate(("train", "held_out"))
    }
    assert (training["negatives"], training["rank"]) == ("both", 2 if full == 2 else None)
    assert training["documents"]["held_out"] == [documents[i].name for i in sides[1]]
    assert (report["encoder"], (output / "encoder").exists()) == ((None, True) if full is True else (encoder, False))
    assert f"document {100 * report['accuracy']['before']['document']['mean']:.1f} -> " in out[0]
    assert sorted(file.name for file in output.iterdir()) == sorted(
        ["ranker.json", "ranker.safetensors", "run.json", *(["encoder"] if full is True else [])]
    )


def weights_of(folder):
    return {file.name: load_file(file) for file in sorted(folder.rglob("*.safetensors"))}


def stop_at(monkeypatch, step):
    """A Ctrl-C in the training, at a step."""
    train_step = Trainer.training_step

    def stopping(self, *arguments, **options):
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return train_step(self, *arguments, **options)

    monkeypatch.setattr(Trainer, "training_step", stopping)


@pytest.mark.parametrize("full", [False, True])
def test_a_killed_training_ends_with_the_same_weights(run, chains, tmp_path, monkeypatch, full):
    arguments = [chains, *CUT, "--batch-size", 6, "--epochs", 1, "--save-every", 4, *(["--full"] if full else [])]
    assert run(*arguments, "--output", tmp_path / "whole")[0] == 0
    output = tmp_path / "killed"
    with monkeypatch.context() as patch:
        stop_at(patch, 11)
        assert run(*arguments, "--output", output) == (130, [], ["stopped; run it again to go on"])
    assert [place.name for place in sorted((output / "checkpoints").iterdir())] == ["checkpoint-4", "checkpoint-8"]
    (output / "checkpoints" / "checkpoint-12").mkdir()  # a kill while it was written
    taken = []
    with monkeypatch.context() as patch:
        train_step = Trainer.training_step
        patch.setattr(
            Trainer, "training_step",
            lambda self, *a, **k: (taken.append(self.state.global_step), train_step(self, *a, **k))[1],
        )  # fmt: skip
        assert run(*arguments, "--output", output)[0] == 0
    assert taken == list(range(8, report_of(output)["training"]["steps"]))
    ours, theirs = weights_of(output), weights_of(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert all(torch.equal(ours[name][key], theirs[name][key]) for key in theirs[name]), name
    assert report_of(output)["accuracy"] == report_of(tmp_path / "whole")["accuracy"]


def test_a_finished_training_is_not_done_again(run, chains, tmp_path, monkeypatch):
    arguments = [chains, *CUT, "--output", tmp_path / "new", "--epochs", 1]
    first = run(*arguments)
    monkeypatch.setattr(job, "load_encoder", lambda *_: pytest.fail("the weights were loaded"))
    assert run(*arguments) == first
    status, _, err = run(*arguments, "--seed", 1)
    assert (status, len(err)) == (2, 1)
    assert "was begun with other texts or settings" in err[0]


def test_settings_come_last(tmp_path, monkeypatch):
    """A folder that has them is whole, wherever it was killed."""
    saved, output, moved = tmp_path / "saved", tmp_path / "output", []
    make_ranker().save_pretrained(saved, None)
    (output / "encoder").mkdir(parents=True)  # of a run that was killed here
    (output / "encoder" / "old").touch()
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (moved.append(self.name), replace(self, to))[1])
    job.publish(saved, output, {"command": "this"})
    assert sorted(moved[:2]) == ["encoder", "ranker.safetensors"]
    assert moved[2:] == ["ranker.json"]
    assert report_of(output)["command"] == "this"
    assert not (output / "encoder" / "old").exists()


def test_other_texts_are_another_training(run, chains, tmp_path):
    arguments = [chains, *CUT, "--output", tmp_path / "new", "--epochs", 1]
    assert run(*arguments)[0] == 0
    chains.write_text(chains.read_text().replace("aa", "ab"))
    assert "was begun with other texts or settings" in run(*arguments)[2][0]


def test_settings_reach_the_training(run, chains, tmp_path):
    found = {}
    base = ("--windows", 8, "--epochs", 1, "--batch-size", 8)
    for name, extra in {
        "plain": (), "again": (), "epochs": ("--epochs", 2), "batch": ("--batch-size", 4),
        "rate": ("--learning-rate", 1e-4), "decay": ("--weight-decay", 9.0), "dropout": ("--dropout", 0.5),
        "seed": ("--seed", 1), "scale": ("--scale", 5),
        "dot": ("--similarity", "dot"), "held out": ("--held-out", 0.5), "windows": ("--windows", 6),
        "prefix": ("--prefix-length", 4), "suffix": ("--suffix-length", 4),
    }.items():  # fmt: skip
        output = tmp_path / name
        assert run(chains, "--output", output, *CUT, *base, *extra)[0] == 0, name
        found[name] = load_file(output / "ranker.safetensors")["prefix.weight"]
    assert torch.equal(found.pop("again"), found["plain"])
    for name in found.keys() - {"plain"}:
        assert not torch.equal(found[name], found["plain"]), name


def test_kinds_of_negatives(run, chains, tmp_path):
    prefixes = [w.prefix for i, d in enumerate(read_documents([chains])) for w in Cut(100, 5, 5, 5).windows(i, d.text)]
    made = tmp_path / "made.jsonl"
    made.write_text("".join(json.dumps({"prompt": p, "continuation": p[::-1]}) + "\n" for p in prefixes[::3]))
    found = {}
    for kind in ("book", "generated", "both"):
        status, *_ = run(chains, "--output", tmp_path / kind, *CUT, "--generated", made, "--negatives", kind,
                         "--epochs", 3)  # fmt: skip
        assert status == 0
        report = report_of(tmp_path / kind)
        found[kind] = load_file(tmp_path / kind / "ranker.safetensors")["prefix.weight"]
        assert report["accuracy"]["before"]["generated"]["windows"] == report["training"]["generated"]["held_out"] > 0
        assert report["training"]["negatives"] == kind
    assert not torch.equal(found["book"], found["both"])
    assert not torch.equal(found["generated"], found["both"])


def test_vectors_are_kept_for_other_trainings(run, chains, tmp_path, monkeypatch):
    vectors = tmp_path / "vectors"
    arguments = [chains, *CUT, "--vectors", vectors]
    assert run(*arguments, "--output", tmp_path / "a", "--epochs", 1)[0] == 0
    (tmp_path / "half").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Ranker, "pooled", lambda *_: pytest.fail("texts were read again"))
        assert run(*arguments, "--output", tmp_path / "b", "--epochs", 2)[0] == 0
    assert all(file.suffix == ".safetensors" for file in vectors.iterdir())


def test_vectors_that_are_kept_are_those_of_the_texts(tmp_path, monkeypatch):
    ranker, texts = make_ranker(), [f"{a} {b}" for a, b in pairwise(WORDS[:9])]
    found = read_states(ranker, "prefix", texts, tmp_path, chunk=3)
    expected = dict(zip(texts, ranker.pooled("prefix", texts), strict=True))
    assert found.keys() == expected.keys()
    for text in texts:
        torch.testing.assert_close(found[text], expected[text], rtol=1e-12, atol=1e-12)
    count = len(list(tmp_path.iterdir()))
    assert count == 3
    torn, other = sorted(tmp_path.iterdir())[:2]
    torn.write_bytes(torn.read_bytes()[:50])
    save_file({"states": torch.zeros(2, 2)}, other)  # not as many as it is for
    again = read_states(ranker, "prefix", texts, tmp_path, chunk=3)
    assert all(torch.equal(again[text], found[text]) for text in texts)
    read_states(ranker, "suffix", texts, tmp_path, chunk=3)
    other = make_ranker(prefix_length=4)
    read_states(other, "prefix", texts, tmp_path, chunk=3)
    assert len(list(tmp_path.iterdir())) == 3 * count
    other.encoder.embeddings.word_embeddings.weight.data += 1
    assert not torch.equal(read_states(other, "prefix", texts, tmp_path, chunk=3)[texts[0]], found[texts[0]])


def test_makes_negatives_itself(run, tmp_path, language_model, monkeypatch):
    file = tmp_path / "texts.jsonl"
    texts = [" ".join(f"Aa bb {WORDS[12 * i + j]} cc." for j in range(12)) for i in range(5)]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    output = tmp_path / "new"
    arguments = [file, "--output", output, "--prefix-words", 8, "--continuation-words", 1, 8, "--generate", 15,
                 "--generator", language_model, "--generated-tokens", 40,
                 "--generator-context", 16, "--epochs", 1]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(job, "load_encoder", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*arguments)[0] == 130
    made = (output / "generated.jsonl").read_bytes()
    assert run(*arguments)[0] == 0
    assert (output / "generated.jsonl").read_bytes() == made
    assert len(made.splitlines()) == 15
    training = report_of(output)["training"]
    words = [len(json.loads(line)["continuation"].split()) for line in made.splitlines()]
    assert sum(training["generated"].values()) == sum(count >= 1 for count in words) > 5
    assert training["generator"]["top_p"] == 0.9
    assert training["negatives"] == "both"


def test_prompts_for_another_program(run, chains, tmp_path):
    prompts, output = tmp_path / "prompts.jsonl", tmp_path / "new"
    status, out, err = run(chains, *CUT, "--generate", 30, "--prompts", prompts)
    assert (status, out, err) == (0, [], [f"30 prefixes written to {prompts}"])
    lines = [json.loads(line) for line in prompts.read_text().splitlines()]
    again = tmp_path / "again.jsonl"
    assert run(chains, *CUT, "--generate", 30, "--prompts", again, "--held-out", 0.5)[0] == 0
    assert again.read_text() == prompts.read_text()
    made = tmp_path / "made.jsonl"
    made.write_text("".join(json.dumps({**line, "continuation": "aa ab ac ad ae af"}) + "\n" for line in lines))
    assert run(chains, *CUT, "--output", output, "--generated", made, "--epochs", 1)[0] == 0
    asked = {line["prompt"] for line in lines}
    windows = [w for i, d in enumerate(read_documents([chains])) for w in Cut(100, 5, 5, 5).windows(i, d.text)]
    assert sum(report_of(output)["training"]["generated"].values()) == sum(w.prefix in asked for w in windows) >= 30


def test_what_is_generated_too_short_is_left_out(run, chains, tmp_path):
    prefixes = [w.prefix for i, d in enumerate(read_documents([chains])) for w in Cut(100, 5, 5, 5).windows(i, d.text)]
    made = tmp_path / "made.jsonl"
    texts = ["aa ab ac ad", "aa ab ac ad ae", ""]
    made.write_text(
        "".join(json.dumps({"prompt": p, "continuation": t}) + "\n" for p, t in zip(prefixes, texts, strict=False))
    )
    assert run(chains, *CUT, "--output", tmp_path / "new", "--generated", made, "--epochs", 1)[0] == 0
    assert sum(report_of(tmp_path / "new")["training"]["generated"].values()) == 1


def test_a_bar_for_who_watches_and_nothing_on_stdout(run, chains, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    status, out, err = run(chains, "--output", tmp_path / "new", *CUT, "--epochs", 1, "--windows", 8)
    assert (status, len(out)) == (0, 1)
    assert any(re.search(r"\b(\d+)/\1 ", line) for line in err)


REFUSED = [
    (("no-such-file", "--output", "new"), "no-such-file: No such file or directory"),
    ((".", "--output", "new"), "Is a directory"),
    (("empty.txt", "--output", "new"), "no text in empty.txt"),
    (("good.txt", "--output", "new"), "one document is not enough"),
    (("good.txt", "good.txt", "--output", "new"), "one document is not enough"),
    (("good.jsonl", "--output", "new", "--continuation-words", "900", "999"), "no texts to train on: a pair takes"),
    (("bad.jsonl", "--output", "new"), 'bad.jsonl, line 2: needs a JSON object with a "text"'),
    (("good.jsonl", "--output", "new", "--field", "story"), 'line 1: needs a JSON object with a "story"'),
    (("bad.gz", "--output", "new"), "bad.gz: not a whole gzip file"),
    (("latin.txt", "--output", "new"), "latin.txt: not valid UTF-8"),
    (("surrogate.jsonl", "--output", "new"), "surrogate.jsonl, line 1: needs a JSON object"),
    (("--output", "new"), "Missing argument 'FILE"),
    (("good.jsonl",), "--output DIR is missing"),
    (("good.jsonl", "--output", "."), "--output . is there already, and no empty folder"),
    (("good.jsonl", "--output", "good.txt"), "--output good.txt is there already, and no empty folder"),
    (("good.jsonl", "--output", "no/new"), "--output no/new: there is no folder no"),
    (("good.jsonl", "--output", "new", "--rank", "4"), "--rank belongs to --full"),
    (("good.jsonl", "--output", "new", "--rank", "0", "--full"), "--rank must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--bf16"), "--bf16 belongs to --full"),
    (("good.jsonl", "--output", "new", "--epochs", "0"), "--epochs must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--epochs", "x"), "Invalid value for '--epochs': Input should be a valid"),
    (("good.jsonl", "--output", "new", "--batch-size", "1"), "--batch-size must be at least 2: one window has no"),
    (("good.jsonl", "--output", "new", "--learning-rate", "0"), "--learning-rate must be above 0, not 0.0"),
    (("good.jsonl", "--output", "new", "--learning-rate", "nan"), "--learning-rate must be above 0, not nan"),
    (("good.jsonl", "--output", "new", "--weight-decay", "-1"), "--weight-decay must be at least 0, not -1.0"),
    (("good.jsonl", "--output", "new", "--dropout", "1"), "--dropout must be at least 0 and under 1, not 1.0"),
    (("good.jsonl", "--output", "new", "--seed", "-1"), "--seed must be between 0 and 2**32 - 1, not -1"),
    (("good.jsonl", "--output", "new", "--save-every", "0"), "--save-every must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--windows", "0"), "--windows must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--prefix-words", "0"), "--prefix-words must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--continuation-words", "9", "3"), "--continuation-words must be two numbers"),
    (("good.jsonl", "--output", "new", "--held-out", "0"), "--held-out must lie between 0 and 1, not 0.0"),
    (("good.jsonl", "--output", "new", "--held-out", "nan"), "--held-out must lie between 0 and 1, not nan"),
    (("good.jsonl", "--output", "new", "--scale", "0"), "--scale must be above 0, not 0.0"),
    (("good.jsonl", "--output", "new", "--similarity", "l2"), "--similarity must be one of cosine, dot, not l2"),
    (("good.jsonl", "--output", "new", "--prefix-length", "2"), "must be at least 3 tokens"),
    (("good.jsonl", "--output", "new", "--prefix-length", "41"), "41 tokens are over the encoder's window of 40"),
    (("good.jsonl", "--output", "new", "--encoder", "./nowhere"), "no encoder './nowhere': give a hub id or a folder"),
    (("good.jsonl", "--output", "new", "--encoder", "no-such/model"), "no encoder 'no-such/model'"),
    (("good.jsonl", "--output", "new", "--negatives", "both"), "--negatives both needs --generate N or --generated"),
    (("good.jsonl", "--output", "new", "--negatives", "all"), "--negatives must be one of book, generated, both"),
    (("good.jsonl", "--output", "new", "--generate", "0"), "--generate must be at least 1, not 0"),
    (("good.jsonl", "--output", "new", "--generate", "5"), "--generate N and --generator NAME go together"),
    (("good.jsonl", "--output", "new", "--generator", "x"), "--generate N and --generator NAME go together"),
    (("good.jsonl", "--output", "new", "--generate", "5", "--generated", "good.jsonl"), "do not go together"),
    (("good.jsonl", "--output", "new", "--generate", "5", "--generator", "./x"), "no language model './x'"),
    (("good.jsonl", "--output", "new", "--generate", "5", "--generator", "x", "--top-p", "0"), "--top-p must"),
    (("good.jsonl", "--output", "new", "--generated", "nothing"), "nothing: No such file or directory"),
    (("good.jsonl", "--output", "new", "--generated", "bad.jsonl"), 'bad.jsonl, line 1: needs "prompt" and'),
    (("good.jsonl", "--output", "new", "--generated", "made.jsonl"), "no prompt in made.jsonl is a prefix of"),
    (("good.jsonl", "--prompts", "p"), "--prompts FILE goes with --generate N, and without --output"),
    (("good.jsonl", "--prompts", "p", "--generate", "5", "--output", "new"), "--prompts FILE goes with --generate N"),
    (("good.jsonl", "--prompts", "no/p", "--generate", "5"), "--prompts no/p: there is no folder no"),
    (("good.jsonl", "--output", "new", "--ep", "1"), "No such option: --ep"),
]  # fmt: skip


@pytest.fixture
def _files(tmp_path, monkeypatch):
    """The files that the refused calls name; no weights."""
    monkeypatch.chdir(tmp_path)
    text = " ".join(f"Aa bb cc dd ee ff gg hh ii jj kk {word}." for word in WORDS[:30])
    contents = {
        "good.txt": text, "empty.txt": "\n ", "made.jsonl": '{"prompt": "a", "continuation": "b"}\n{}',
        "good.jsonl": json.dumps({"text": text}) + "\n" + json.dumps({"text": text.replace("Aa", "Bb")}) + "\n",
        "bad.jsonl": '{"text": "a"}\n{"text": 1}\n', "surrogate.jsonl": '{"text": "\\ud800"}',
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "latin.txt").write_bytes(b"ab\n\xff\n")
    (tmp_path / "bad.gz").write_bytes(b"ab\ncd\n")
    monkeypatch.setattr(job, "load_encoder", lambda *_: pytest.fail("the weights were loaded"))
    monkeypatch.setattr(Generator, "_load", lambda *_: pytest.fail("the weights were loaded"))


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=str)
def test_refuses_in_one_line_before_weights_are_loaded(run, tmp_path, arguments, message):
    there = sorted(tmp_path.iterdir())
    status, out, err = run(*arguments)
    assert (status, out, len(err)) == (2, [], 1)
    assert err[0].startswith("scorers.train: error: ")
    assert message in err[0]
    assert sorted(tmp_path.iterdir()) == there


@pytest.mark.usefixtures("_files")
def test_refuses_generators_that_generate_nothing(run, encoder, tmp_path, language_model):
    call = ("good.jsonl", "--output", "new", "--generate", 5, "--generator")
    assert "no causal language model" in run(*call, make_t5(tmp_path / "t5"))[2][0]
    assert "outgrow the model's window of 128" in run(*call, language_model)[2][0]


def test_a_generator_may_fill_its_window_and_needs_something_to_pad_with(language_model, tmp_path):
    Generator(language_model, context=100, new_tokens=28).check()
    with pytest.raises(ValueError, match="window of 128"):
        Generator(language_model, context=100, new_tokens=29).check()
    shutil.copytree(language_model, tmp_path / "lm")
    words = tiny.tokenizer()
    words.pad_token = words.eos_token = None
    words.save_pretrained(tmp_path / "lm")
    with pytest.raises(ValueError, match="no token to pad with"):
        Generator(str(tmp_path / "lm"), context=9, new_tokens=9).check()


def make_t5(folder):
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=61, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def test_refuses_in_python_too():
    for options, message in (({"negatives": "all"}, "book, generated or both"), ({"batch_size": 1}, "at least 2"),
                             ({"seed": 2**32}, "between 0"), ({"epochs": 0}, "at least 1")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Settings(**options)
    with pytest.raises(ValueError, match="--windows must be at least 1"):
        Cut(0)
    with pytest.raises(ValueError, match="must be at least 1"):
        Generator("x", context=0)


def test_help_has_examples(capsys):
    assert command.main(["--help"]) == 0
    assert "examples:" in capsys.readouterr().out


def test_knows_nothing_of_decoding():
    folder = Path(command.__file__).parent
    files = [folder / "ranker.py", folder / "train.py", *(folder / "ranker_training").glob("*.py")]
    assert len(files) >= 6
    for file in files:
        assert not re.search(r"^\s*(from|import) (decoding|benchmarks)", file.read_text(), re.M)


# ------------------------------------------------------------------------------------------------------ what is shipped


@needs_package
@pytest.mark.slow
def test_what_ships_beats_the_encoder_on_books_they_have_not_seen(real_data):
    """A few of the held-out windows of docs/methods/ranker.md."""
    found = read_documents([real_data("classic_books.jsonl.gz")])
    documents = {document.name: i for i, document in enumerate(found)}
    ranker = Ranker.from_pretrained()
    report = json.loads((Path(command.__file__).parent / "weights" / "ranker.json").read_text())
    held_out = [documents[name] for name in report["training"]["documents"]["held_out"]]
    assert held_out == split(found, 0.25, 0)[1]
    windows = [w for i in held_out for w in Cut(7).windows(i, found[i].text)]
    drawn = draw_distractors(windows).document

    def accuracy(ranker):
        p = ranker.read([w.prefix for w in windows])
        c = ranker.vectors("suffix", [w.continuation for w in windows])
        wins = [(p[i] @ c[i] > c[js] @ p[i]).double().mean().item() for i, js in enumerate(drawn)]
        return sum(wins) / len(wins)

    encoder, words = load_encoder(report["encoder"])
    after = accuracy(ranker)
    assert after > accuracy(Ranker(encoder, words, Heads(384, ranker.reading), ranker.reading)) + 0.02
    assert after == pytest.approx(report["accuracy"]["after"]["document"]["mean"], abs=0.04)
