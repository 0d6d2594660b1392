"""Fine-tuning: what is learnt, measured, saved, said and refused."""

import gzip
import json
import os
import random
import string
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, T5Config, T5ForConditionalGeneration, Trainer

from decoding import finetune as command
from decoding.finetune import Settings, encode, finetune, split
from decoding.jobs.fine_tuning import training
from tests.support import tiny

peft = pytest.importorskip("peft")

# Runs of the alphabet, of very different lengths: the next letter is all there is to learn.
TEXTS = [(string.ascii_lowercase * 3)[i : i + length] for i in range(26) for length in (2, 9, 25)]


def save(folder, model=None, **tokenizer):
    (model or tiny.llama().float()).save_pretrained(folder)
    words = tiny.tokenizer()
    for name, value in tokenizer.items():
        setattr(words, name, value)
    words.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model and tokenizer, saved as any other; its end of sequence pads, as many models have it."""
    return save(tmp_path_factory.mktemp("tiny"), pad_token="<eos>")


@pytest.fixture
def examples(tmp_path):
    file = tmp_path / "examples.txt"
    file.write_text("".join(text + "\n" for text in TEXTS))
    return file


@pytest.fixture
def run(folder, capsys):
    """Run the command in this process: (exit status, lines of stdout, lines of stderr)."""

    def run(*arguments):
        given = [] if "--model" in arguments else ["--model", folder]
        given += [] if "--max-length" in arguments else ["--max-length", "64"]
        capsys.readouterr()  # what the test itself has saved, with a bar
        status = command.main([*given, *map(str, arguments)])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run


@torch.no_grad()
def losses(model, texts, prompt=""):
    """-log p of every token behind the prompt and of the end, text by text: one row, no padding, no trainer."""
    words, found = tiny.tokenizer(), []
    for text in texts:
        head = words(prompt).input_ids if prompt else [tiny.BOS]
        ids = [*head, *words(text).input_ids, tiny.EOS]
        logp = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        found.append([-logp[i - 1, ids[i]].item() for i in range(len(head), len(ids))])
    return found


def mean(rows):
    values = [value for row in rows for value in row]
    return sum(values) / len(values)


def load(base, output, full):
    """What was saved, by the libraries' own loaders."""
    if full:
        return AutoModelForCausalLM.from_pretrained(output)
    return peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), output)


REPORT = {
    "model": "some/model", "file": "/home/me/private/some.txt", "full": False, "rank": 16, "prompt": "", "epochs": 1,
    "batch_size": 8, "learning_rate": 1e-3, "max_length": 64, "seed": 0,
    "examples": {"train": 3, "held_out": 1}, "tokens": {"train": 9, "held_out": 3}, "cut": {"train": 0, "held_out": 0},
    "loss": {"before": 2.0, "after": 1.0}, "perplexity": {"before": 7.389, "after": 2.718},
}  # fmt: skip
FAST = ("--epochs", "2", "--learning-rate", "1e-2")
KINDS = pytest.mark.parametrize("full", [False, True], ids=["adapter", "full"])


@KINDS
@pytest.mark.parametrize("prompt", ["", "Go on, "])
def test_learns_and_saves_what_it_says(run, folder, examples, tmp_path, full, prompt):
    output = tmp_path / "expert"
    status, out, err = run(examples, "--output", output, "--prompt", prompt, *FAST, *(["--full"] if full else []))
    assert (status, len(out), err) == (0, 1, [])
    report = json.loads((output / "finetune.json").read_text())
    loss = report["loss"]
    assert loss["after"] < 0.7 * loss["before"]
    assert f"{loss['before']:.4f} -> {loss['after']:.4f}" in out[0]
    for when, value in loss.items():
        assert report["perplexity"][when] == pytest.approx(torch.tensor(value).exp().item(), rel=1e-5)

    parts = {name: (output / f"{name}.jsonl").read_text().splitlines() for name in ("train", "held_out")}
    parts = {name: [json.loads(line)["text"] for line in lines] for name, lines in parts.items()}
    assert sorted(parts["train"] + parts["held_out"]) == sorted(TEXTS)
    assert report["examples"] == {"train": 70, "held_out": 8}
    assert report["tokens"] == {name: sum(len(text) + 1 for text in texts) for name, texts in parts.items()}
    said = {"model": folder, "file": str(examples), "field": "text", "held_out": 0.1, "prompt": prompt, "epochs": 2}
    said |= {"batch_size": 8, "learning_rate": 0.01, "rank": 16, "full": full, "max_length": 64, "seed": 0}
    assert said.items() <= report.items()

    base, expert = AutoModelForCausalLM.from_pretrained(folder), load(folder, output, full)
    assert loss["before"] == pytest.approx(mean(losses(base, parts["held_out"], prompt)), rel=1e-5)
    assert loss["after"] == pytest.approx(mean(losses(expert, parts["held_out"], prompt)), rel=1e-5)
    assert AutoTokenizer.from_pretrained(output)("Hello") == tiny.tokenizer()("Hello")


@KINDS
def test_saves_safetensors_alone(run, examples, tmp_path, full):
    output = tmp_path / "expert"
    output.mkdir()  # an empty folder may be there
    run(examples, "--output", output, "--epochs", 1, *(["--full"] if full else []))
    files = {file.name for file in output.iterdir()}
    weights = "model.safetensors" if full else "adapter_model.safetensors"
    config = "config.json" if full else "adapter_config.json"
    assert {weights, config, "tokenizer.json", "tokenizer_config.json"} <= files
    assert {name for name in files if not name.endswith((".json", ".jsonl"))} == {weights, "README.md"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["examples.txt", "expert"]
    if full:
        assert json.loads((output / config).read_text())["use_cache"] is True
    else:
        assert {"config.json", "generation_config.json"}.isdisjoint(files)  # transformers would take it for a model
        assert json.loads((output / config).read_text())["task_type"] == "CAUSAL_LM"


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_every_held_out_token_weighs_the_same(tokenizer, make, batch_size):
    """GPT-2 learned its positions: padding must not shift them."""
    rows = losses(make().float(), TEXTS[60:], "Go")
    per_text = sum(sum(row) / len(row) for row in rows) / len(rows)
    assert abs(mean(rows) - per_text) > 0.01  # the two are told apart
    settings = Settings(epochs=1, batch_size=batch_size, max_length=64)
    expert = finetune(make().float(), tokenizer, TEXTS[:4], TEXTS[60:], prompt="Go", settings=settings)
    assert expert.before == pytest.approx(mean(rows), rel=1e-5)
    assert expert.after == pytest.approx(mean(losses(expert.model, TEXTS[60:], "Go")), rel=1e-5)


def test_only_the_text_and_its_end_have_a_loss(tokenizer):
    config = tiny.llama().config
    a, b, c, space = (tokenizer.convert_tokens_to_ids(token) for token in ("a", "b", "c", "\u0120"))
    rows, cut = encode(config, tokenizer, ["c", "cab", "cabcab"], "a b", 6)
    assert [row["input_ids"] for row in rows] == [
        [a, space, b, c, tiny.EOS],
        [a, space, b, c, a, b],
        [a, space, b, c, a, b],
    ]
    assert [row["labels"] for row in rows] == [
        [-100, -100, -100, c, tiny.EOS],
        [-100, -100, -100, c, a, b],
        [-100, -100, -100, c, a, b],
    ]
    assert cut == 2
    rows, cut = encode(config, tokenizer, ["abca"], "", 6)  # it begins as `decoding.jobs.synthesis` begins one
    assert rows == [{"input_ids": [tiny.BOS, a, b, c, a, tiny.EOS], "labels": [-100, a, b, c, a, tiny.EOS]}]
    assert cut == 0


def test_training_goes_by_the_text_not_the_prompt(tokenizer):
    """The prompt's own tokens stay unlikely; with a loss they would be learnt first of all."""
    prompt, model = "zyxwvutsrqponm", tiny.llama().float()
    settings = Settings(full=True, epochs=3, learning_rate=1e-2, max_length=64)
    before = mean(losses(model, [prompt]))
    expert = finetune(model, tokenizer, TEXTS[:60], TEXTS[60:], prompt=prompt, settings=settings)
    assert expert.after < 0.7 * expert.before
    assert mean(losses(expert.model, [prompt])) > 0.8 * before


@KINDS
def test_the_same_seed_makes_the_same_expert(run, examples, tmp_path, full):
    files = "model.safetensors" if full else "adapter_model.safetensors", "finetune.json", "train.jsonl"
    contents = []
    for number, seed in enumerate((5, 5, 6)):
        torch.manual_seed(number)  # which must not matter
        output = tmp_path / str(number)
        run(examples, "--output", output, *FAST, "--seed", seed, *(["--full"] if full else []))
        contents.append([(output / name).read_bytes() for name in files])
    assert contents[0] == contents[1]
    assert all(one != other for one, other in zip(contents[0], contents[2], strict=True))


@KINDS
def test_leaves_the_callers_things_in_order(tokenizer, full):
    """The tokenizer pads on its side, the model caches again, and an adapter can be taken off."""
    model, inputs = tiny.llama().float(), torch.arange(3, 30)[None]
    state = torch.get_rng_state()
    before = model(inputs).logits
    expert = finetune(model, tokenizer, TEXTS[:8], TEXTS[60:], settings=Settings(full=full, epochs=1, max_length=64))
    torch.set_rng_state(state)
    assert tokenizer.padding_side == "left"
    assert (expert.model.config.use_cache, expert.model.training) == (True, False)
    assert (expert.model is model) == full
    assert not torch.equal(expert.model(inputs).logits, before)
    if not full:
        with expert.model.disable_adapter():
            torch.testing.assert_close(expert.model(inputs).logits, before)


def write_plain(file, texts):
    file.write_text("\n".join(["", *texts, "  ", ""]))


def write_json(file, texts):
    file.write_text("".join(json.dumps({"id": 1, "text": text}) + "\n\n" for text in texts))


def write_gzip(file, texts):
    with gzip.open(file, "wt") as stream:
        stream.write("".join(json.dumps({"text": text}) + "\n" for text in texts))


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.txt", write_plain), ("a.jsonl", write_json), ("a", write_json), ("a.jsonl.gz", write_gzip)],
)
def test_reads_plain_text_json_lines_and_gzip(run, tmp_path, name, write):
    write(tmp_path / name, TEXTS[:20])
    assert run(tmp_path / name, "--output", tmp_path / "expert", "--epochs", 1)[0] == 0
    train, held_out = split(TEXTS[:20], 0.1, 0)
    for part, texts in (("train", train), ("held_out", held_out)):
        lines = (tmp_path / "expert" / f"{part}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [{"text": text} for text in texts]


def test_another_field(run, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"story": "abc", "text": "no"}\n{"story": "def", "text": "no"}\n')
    output = tmp_path / "expert"
    assert run(tmp_path / "a.jsonl", "--output", output, "--epochs", 1, "--field", "story")[0] == 0
    assert sorted(map(len, split(["abc", "def"], 0.1, 0))) == [1, 1]
    both = (output / "train.jsonl").read_text() + (output / "held_out.jsonl").read_text()
    assert sorted(both.splitlines()) == ['{"text": "abc"}', '{"text": "def"}']


def test_no_text_is_on_both_sides():
    texts = random.Random(1).choices(TEXTS, k=200)
    train, held_out = split(texts, 0.25, 3)
    assert not set(train) & set(held_out)
    assert sorted(set(train) | set(held_out)) == sorted(set(texts))
    assert len(held_out) == round(0.25 * len(set(texts)))
    assert train == [text for text in texts if text not in held_out]
    assert split(texts, 0.25, 3) == (train, held_out) != split(texts, 0.25, 4)
    for fraction in (0.001, 0.999):
        assert all(split(texts, fraction, 0))


def test_saving_an_adapter_asks_no_hub(tokenizer, tmp_path):
    """peft would look for the base model's vocabulary there, and warn where it finds none."""
    model = training.add_adapter(tiny.llama().float(), Settings())
    model.peft_config["default"].base_model_name_or_path = "some/model"
    report = REPORT | {"model": "some/model"}
    command.save(model, tokenizer, {}, report, tmp_path)
    assert (tmp_path / "adapter_model.safetensors").is_file()


def test_says_how_many_were_cut(run, examples, tmp_path):
    output = tmp_path / "expert"
    status, _, err = run(examples, "--output", output, "--epochs", 1, "--max-length", 20)
    assert (status, err) == (0, ["26 of 78 examples were cut to 20 tokens"])
    report = json.loads((output / "finetune.json").read_text())
    assert sum(report["cut"].values()) == 26
    held_out = [json.loads(line)["text"] for line in (output / "held_out.jsonl").read_text().splitlines()]
    assert max(map(len, held_out)) == 25
    assert report["tokens"]["held_out"] == sum(min(len(text) + 1, 19) for text in held_out)


def test_a_bar_for_who_watches_and_nothing_on_stdout(run, examples, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    status, out, err = run(examples, "--output", tmp_path / "expert", "--epochs", 1)
    assert (status, len(out)) == (0, 1)
    assert any("9/9" in line for line in err)


REFUSED = [
    (("no-such-file", "--output", "new"), "no-such-file: No such file or directory"),
    ((".", "--output", "new"), "Is a directory"),
    (("empty", "--output", "new"), "no examples in empty"),
    (("one", "--output", "new"), "one example is not enough"),
    (("twice", "--output", "new"), "one example is not enough"),
    (("bad.jsonl", "--output", "new"), 'bad.jsonl, line 2: needs a JSON object with a "text"'),
    (("bad.gz", "--output", "new"), "bad.gz: not a whole gzip file"),
    (("latin", "--output", "new"), "latin: not valid UTF-8"),
    (("surrogate.jsonl", "--output", "new"), "'\\ud800': not valid UTF-8"),
    (("good", "--output", "new", "--prompt", "\udcff"), "not valid UTF-8"),
    (("good.jsonl", "--output", "new", "--field", "story"), 'line 1: needs a JSON object with a "story"'),
    (("snow", "--output", "new"), "the tokenizer makes no tokens of the example '\u2603'"),
    (("good",), "Missing option '--output'"),
    (("good", "--output", "."), "--output . is there already, and no empty folder"),
    (("good", "--output", "one"), "--output one is there already, and no empty folder"),
    (("good", "--output", "no/new"), "--output no/new: there is no folder no"),
    (("good", "--output", "new", "--epochs", "0"), "--epochs must be at least 1, not 0"),
    (("good", "--output", "new", "--epochs", "x"), "Invalid value for '--epochs': Input should be a valid integer"),
    (("good", "--output", "new", "--batch-size", "0"), "--batch-size must be at least 1, not 0"),
    (("good", "--output", "new", "--learning-rate", "0"), "--learning-rate must be above 0, not 0.0"),
    (("good", "--output", "new", "--learning-rate", "nan"), "--learning-rate must be above 0, not nan"),
    (("good", "--output", "new", "--rank", "0"), "--rank must be at least 1, not 0"),
    (("good", "--output", "new", "--rank", "4", "--full"), "--rank belongs to an adapter, and --full trains none"),
    (("good", "--output", "new", "--max-length", "1"), "--max-length must be at least 2, not 1"),
    (("good", "--output", "new", "--max-length", "129"), "--max-length 129 is over the model's context window of 128"),
    (("good", "--output", "new", "--held-out", "0"), "--held-out must lie between 0 and 1, not 0.0"),
    (("good", "--output", "new", "--held-out", "1"), "--held-out must lie between 0 and 1, not 1.0"),
    (("good", "--output", "new", "--seed", "-1"), "--seed must be between 0 and 2**32 - 1, not -1"),
    (("good", "--output", "new", "--seed", "4294967296"), "--seed must be between 0 and 2**32 - 1"),
    (("good", "--output", "new", "--prompt", "a" * 64), "the prompt's 64 tokens leave no room for a text"),
    (("good", "--output", "new", "--model", "./no-such-model"), "no model './no-such-model'"),
    (("good", "--output", "new", "--model", "no-such/model"), "no model 'no-such/model'"),
    (("good", "--output", "new", "--te", "1"), "No such option: --te"),
]


@pytest.fixture
def _files(tmp_path, monkeypatch):
    """The files that the refused calls name; no weights."""
    monkeypatch.chdir(tmp_path)
    contents = {
        "good": b"ab\ncd\n", "one": b"\nab\n", "twice": b"ab\nab\n", "empty": b"\n \n", "latin": b"ab\n\xff\n",
        "good.jsonl": b'{"text": "a"}\n{"text": "b"}\n', "bad.jsonl": b'{"text": "a"}\n{"text": ""}\n',
        "bad.gz": b"ab\ncd\n", "snow": "ab\n\u2603\n".encode(),
        "surrogate.jsonl": b'{"text": "a"}\n{"text": "\\ud800"}',
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr("decoding.models.loading.load_model", lambda *_, **__: pytest.fail("the weights were loaded"))


@pytest.mark.usefixtures("_files")
@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=str)
def test_refuses_in_one_line_before_weights_are_loaded(run, tmp_path, arguments, message):
    there = sorted(tmp_path.iterdir())
    status, out, err = run(*arguments)
    assert (status, out, len(err)) == (2, [], 1)
    assert err[0].startswith("decoding: error: ")
    assert message in err[0]
    assert sorted(tmp_path.iterdir()) == there


@pytest.mark.usefixtures("_files")
def test_refuses_models_that_cannot_be_experts(run, tmp_path):
    t5 = T5Config(
        vocab_size=61, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    answers = save(tmp_path / "t5", T5ForConditionalGeneration(t5))
    endless = save(tmp_path / "endless", eos_token=None)
    assert "is an encoder-decoder" in run("good", "--output", "new", "--model", answers)[2][0]
    assert "no end-of-sequence token" in run("good", "--output", "new", "--model", endless)[2][0]


@pytest.mark.usefixtures("_files")
def test_says_the_command_that_installs_peft(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    status, _, err = run("good", "--output", "new")
    assert (status, len(err)) == (2, 1)
    assert "pip install 'decoding-toolkit[train]'" in err[0]


def test_refuses_in_python_too(tokenizer):
    with pytest.raises(ValueError, match="--epochs must be at least 1, not 0"):
        Settings(epochs=0)
    for parts in (([], ["a"]), (["a"], [])):
        with pytest.raises(ValueError, match="no examples"):
            finetune(tiny.llama().float(), tokenizer, *parts, settings=Settings(max_length=64))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.usefixtures("_files")
def test_refuses_where_it_may_not_write(run, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    for output in ("locked", "locked/new"):
        status, _, err = run("good", "--output", output)
        assert (status, len(err)) == (2, 1)
        assert "Permission denied" in err[0]


def test_what_cannot_be_saved_is_not_trained(run, examples, tmp_path, monkeypatch):
    """transformers saves no generation settings that contradict each other."""
    model = tiny.llama().float()
    model.generation_config.pad_token_id = None
    folder = save(tmp_path / "model", model)
    settings = json.loads((tmp_path / "model" / "generation_config.json").read_text()) | {"temperature": 0.5}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(settings | {"do_sample": False}))
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("it was trained"))
    status, out, err = run(examples, "--output", tmp_path / "new", "--full", "--model", folder)
    assert (status, out, len(err)) == (2, [], 1)
    assert "temperature" in err[0]


@KINDS
def test_trains_and_saves_in_float32(run, examples, tmp_path, full):
    folder, output = save(tmp_path / "half", tiny.llama().bfloat16()), tmp_path / "new"
    run(examples, "--output", output, "--epochs", 1, "--model", folder, *(["--full"] if full else []))
    weights = load_file(output / ("model.safetensors" if full else "adapter_model.safetensors"))
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_settings_reach_the_training(tokenizer):
    def after(**settings):
        settings = Settings(**{"learning_rate": 1e-2, "max_length": 64, "epochs": 1} | settings)
        return finetune(tiny.llama().float(), tokenizer, TEXTS[:60], TEXTS[60:], settings=settings)

    once = after(full=True)
    assert once.after > after(full=True, epochs=3).after
    assert once.after != after(full=True, seed=1).after
    assert once.after != after(full=True, batch_size=4).after
    config = after(rank=3).model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (3, 6, 0.05)
    assert (Settings().rate, Settings(full=True).rate, Settings(learning_rate=0.5).rate) == (2e-4, 2e-5, 0.5)


@pytest.mark.parametrize("there", [False, True])
def test_builds_on_the_file_system_of_the_output(run, examples, tmp_path, monkeypatch, there):
    """So that putting it in its place is one move a file, and a place that is closed is found before the work."""
    output, places = tmp_path / "new", []
    if there:
        output.mkdir()
    monkeypatch.setattr("decoding.finetune.save", lambda *arguments: places.append(arguments[-1].parent.parent))
    run(examples, "--output", output, "--epochs", 1)
    assert places == [output if there else tmp_path]


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("place", ["decoding.models.loading.load_model", "transformers.Trainer.train"])
def test_ctrl_c_before_a_checkpoint_saves_nothing(run, examples, tmp_path, monkeypatch, place):
    monkeypatch.setattr(place, interrupt)
    monkeypatch.chdir(tmp_path)
    assert run(examples, "--output", "new") == (130, [], ["stopped; nothing was saved"])
    assert list(tmp_path.iterdir()) == [examples]


def test_ctrl_c_after_a_checkpoint_keeps_what_is_learnt(run, examples, tmp_path, monkeypatch):
    """The output is not there; started again, it is made without a step of training more, and nothing else is left."""
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("decoding.finetune.save", interrupt)
        assert run(examples, "--output", "new", *FAST) == (130, [], ["stopped; run it again to go on"])
    assert sorted(file.name for file in tmp_path.iterdir()) == [".new.training", "examples.txt"]
    run(examples, "--output", "whole", *FAST)
    monkeypatch.setattr("transformers.Trainer.training_step", lambda *_: pytest.fail("it was trained again"))
    assert run(examples, "--output", "new", *FAST)[0] == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["examples.txt", "new", "whole"]
    for name in ("adapter_model.safetensors", "finetune.json"):
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_training_that_diverges_is_not_saved(run, examples, tmp_path):
    status, out, err = run(examples, "--output", tmp_path / "new", "--full", "--learning-rate", "1e30")
    assert (status, out, len(err)) == (2, [], 1)
    assert "the training diverged" in err[0]
    assert list(tmp_path.iterdir()) == [examples]


def test_help_has_examples(capsys):
    assert command.main(["--help"]) == 0
    assert "examples:" in capsys.readouterr().out
