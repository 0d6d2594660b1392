"""STEER's loop: negatives drawn from real and made examples, files that a stopped run goes on with, one-line errors."""

import gzip
import json

import pytest
import torch

import decoding
from decoding import steer
from decoding.jobs.examples import read_examples
from decoding.jobs.synthesis import Synthesis, read_made
from tests.support import tiny
from tests.support.oracles import methods as oracles
from tests.support.saved import saved

REAL = ["is it far", "the red sun", "a dim star", "gas and dust", "an old disk"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return saved(tiny.llama(0), root / "base"), saved(tiny.llama(1), root / "expert")


@pytest.fixture
def call(folders, tmp_path):
    """Run the command on the tiny models; the arguments given replace those here."""
    (tmp_path / "real.txt").write_text("\n".join(REAL) + "\n\n")
    base, expert = folders

    def run(*more, output="made.jsonl", file=None):
        fixed = {
            "--model": base, "--expert": expert, "--output": tmp_path / output, "--prompt": "tell.", "-n": 7,
            "--batch-size": 3, "--max-new-tokens": 5, "--negatives": 2,
        }  # fmt: skip
        fixed |= dict(zip(more[::2], more[1::2], strict=True))
        arguments = [str(word) for pair in fixed.items() for word in pair]
        status = steer.main([str(file or tmp_path / "real.txt"), *arguments])
        path = tmp_path / output
        return status, [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return run


def test_makes_what_was_asked_for(call, capsys):
    status, made = call()
    assert status == 0
    assert [entry["id"] for entry in made] == list(range(7))
    assert all(isinstance(entry["continuation"], str) and entry["prompt"] == "tell." for entry in made)
    assert made[0]["settings"]["gamma"] == 0.2
    assert made[0]["settings"]["beta"] == 0.1
    assert "7 written to" in capsys.readouterr().err
    again = call(output="other.jsonl")[1]
    assert again == made
    other = call("--seed", 1, output="third.jsonl")[1]
    assert [entry["continuation"] for entry in other] != [entry["continuation"] for entry in made]


def test_every_example_is_sampled_from_the_formula(folders):
    """Round by round, from models and text alone: the draws, the negative prompts, the sum, the mask and top-k."""
    (base, tokenizer), (expert, _) = (decoding.load(folder) for folder in folders)
    settings = {"gamma": 0.3, "eta": 0.4, "beta": 0.05, "max_new_tokens": 5, "top_k": 10, "batch_size": 3}
    job = Synthesis(REAL, 6, "tell.", "expert", "base", 11, 2, settings)
    rounds = list(job.run(base, tokenizer, expert, {}))
    pool, prompt = list(REAL), tokenizer("tell.")["input_ids"]
    import random

    from decoding.jobs.continuation import seed_of_batch

    for number, records in enumerate(rounds):
        draws = random.Random(seed_of_batch(11, number))
        negatives = [tokenizer(" ".join(draws.sample(pool, 2)))["input_ids"] for _ in records]
        guides = [oracles.guided(oracles.steer(expert, base, prompt, n, 0.3, 0.4, 0.05)) for n in negatives]
        generator = torch.Generator().manual_seed(seed_of_batch(11, number))
        rows, done = [list(prompt) for _ in records], [False] * len(records)
        for _ in range(5):
            scores = []
            for row, guide in zip(rows, guides, strict=True):
                z = guide(row, oracles.read(base, row)[0])
                scores.append(z.masked_fill(z < z.topk(10).values[-1], -torch.inf))
            drawn = torch.multinomial(torch.stack(scores).softmax(-1), 1, generator=generator)[:, 0].tolist()
            for i, token in enumerate(drawn):
                if not done[i]:
                    rows[i].append(token)
                    done[i] = token == tiny.EOS
            if all(done):
                break
        for record, row in zip(records, rows, strict=True):
            text = tokenizer.decode(row, skip_special_tokens=True)[len("tell.") :].strip()
            assert record["continuation"] == text
        pool += [record["continuation"] for record in records if record["continuation"]]


def test_negatives_come_from_real_and_made_examples(folders):
    job = Synthesis(REAL, 9, "tell.", "e", "b", 0, 4, {"batch_size": 3})
    pool = [*REAL, "made one", "made two"]
    drawn = " ".join(job.draw(pool, 1, 200))
    assert all(text in drawn for text in pool)
    assert job.draw(pool, 1, 3) == job.draw(pool, 1, 3) != job.draw(pool, 2, 3)
    assert len(job.draw(REAL[:2], 0, 1)[0].split()) == len(" ".join(REAL[:2]).split())  # fewer than were asked for


@pytest.mark.parametrize("cut", [1, 60, 400, -1, -30])
def test_goes_on_after_a_kill_with_nothing_lost_or_twice(call, tmp_path, cut):
    whole = call()[1]
    path, data = tmp_path / "made.jsonl", (tmp_path / "made.jsonl").read_bytes()
    lines = data.split(b"\n")
    path.write_bytes(b"\n".join(lines[:4]) + b"\n" + lines[4][:cut])  # in the middle of the second round
    status, made = call()
    assert (status, made) == (0, whole)
    assert path.read_bytes() == data


def test_a_larger_number_goes_on_where_a_smaller_one_ended(call):
    few = call("-n", 6)[1]
    more = call("-n", 9)[1]
    assert more[:6] == few
    assert len(more) == 9


@pytest.mark.parametrize("options", [("--eta", 0.3), ("--seed", 3), ("--negatives", 3), ("--prompt", "other")])
def test_refuses_to_mix_what_was_made_differently(call, options, capsys):
    call()
    status, made = call(*options)
    assert status == 2
    assert len(made) == 7
    assert "give another --output" in capsys.readouterr().err


def test_interrupted_keeps_whole_rounds_and_says_so(call, monkeypatch, capsys):
    made_round, calls = Synthesis.make_round, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return made_round(self, *arguments)

    monkeypatch.setattr(Synthesis, "make_round", interrupted)
    status, made = call()
    assert (status, len(made)) == (130, 3)
    assert "stopped; 3 of 7 are in" in capsys.readouterr().err
    monkeypatch.undo()
    assert call()[1] == call(output="other.jsonl")[1]


def test_without_negatives_and_published_parity(call):
    """eta 0 draws nothing; beta 0 is the published sum."""
    status, made = call("--eta", 0, "--beta", 0, "--gamma", 0)
    assert status == 0
    assert len(made) == 7


def test_copies_of_what_is_there_are_marked(folders):
    (base, tokenizer), (expert, _) = (decoding.load(folder) for folder in folders)
    settings = {"gamma": 0.0, "eta": 0.0, "beta": 0.0, "max_new_tokens": 4, "top_k": 1, "batch_size": 2}
    rounds = list(Synthesis(REAL, 4, "tell.", "e", "b", 0, 2, settings).run(base, tokenizer, expert, {}))
    assert [record["copy"] for records in rounds for record in records] == [False, True, True, True]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft uses the old name
def test_adapter_as_expert_and_the_prompt_it_was_trained_with(call, folders, tmp_path):
    from tests.support.saved import save_adapter

    save_adapter(tmp_path / "adapter")
    (tmp_path / "adapter" / "finetune.json").write_text('{"prompt": "trained with."}')
    status, made = call("--expert", tmp_path / "adapter")
    assert status == 0
    assert len(made) == 7
    assert steer.trained_prompt(str(tmp_path / "adapter")) == "trained with."
    assert steer.trained_prompt("somebody/elses-model") == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-n", 0), "--number must be at least 1, not 0"),
        (("--gamma", -1), "--gamma must be a number of at least 0"),
        (("--beta", 2), r"--beta must lie in [0, 1]"),
        (("--eta", 1, "--beta", 0), "without a mask turns the distribution around"),
        (("--negatives", 40), "over the model's context window of 128"),
        (("--expert", "./nowhere"), "no such folder"),
        (("--output", "/no/such/folder/x.jsonl"), "there is no folder"),
    ],
)
def test_refuses_in_one_line(call, options, message, capsys, monkeypatch):
    monkeypatch.setattr("decoding.models.loading.load_model", lambda *_, **__: pytest.fail("weights were loaded"))
    status, made = call(*options)
    error = capsys.readouterr().err
    assert (status, made) == (2, [])
    assert error.startswith("decoding: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_refuses_files_in_one_line(call, tmp_path, capsys):
    for content, message in ((b"", "no examples in"), (b"\xff\xfe a", "not valid UTF-8"), (b'{"a": 1}\n', "")):
        (tmp_path / "bad.jsonl").write_bytes(content)
        status, _ = call(file=tmp_path / "bad.jsonl")
        error = capsys.readouterr().err
        assert status == 2
        assert message in error
    assert call(file=tmp_path / "missing.txt")[0] == 2


def test_reads_examples_of_every_kind(tmp_path):
    lines = "".join(json.dumps({"text": text, "other": 1}) + "\n" for text in REAL)
    for name, content in (
        ("a.txt", "\n".join(REAL)), ("a.jsonl", lines), ("b.txt", lines), ("c.txt", "\ufeff" + "\n\n".join(REAL)),
    ):  # fmt: skip
        (tmp_path / name).write_text(content)
        assert read_examples(tmp_path / name) == REAL
        (tmp_path / (name + ".gz")).write_bytes(gzip.compress(content.encode()))
        assert read_examples(tmp_path / (name + ".gz")) == REAL
    (tmp_path / "torn.txt.gz").write_bytes(gzip.compress(lines.encode())[:-9])
    (tmp_path / "none.txt.gz").write_text("no gzip")
    for name in ("torn.txt.gz", "none.txt.gz"):
        with pytest.raises(ValueError, match="not a whole gzip file"):
            read_examples(tmp_path / name)
    (tmp_path / "d.jsonl").write_text('{"question": "why"}\n')
    assert read_examples(tmp_path / "d.jsonl", "question") == ["why"]
    with pytest.raises(ValueError, match='line 1: needs a JSON object with a "text"'):
        read_examples(tmp_path / "d.jsonl")


def test_what_was_made_is_read_up_to_a_torn_line(tmp_path):
    (tmp_path / "made.jsonl").write_text('{"id": 0, "continuation": "one"}\n{"id": 1, "conti')
    assert read_made(tmp_path / "made.jsonl") == {0: "one"}
    assert read_made(tmp_path / "nothing.jsonl") == {}
