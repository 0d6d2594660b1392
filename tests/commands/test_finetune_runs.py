"""What a fine-tuning leaves while it runs: checkpoints that a killed one goes on from, and reports; and its card."""

import json
import os
import signal
import string
import struct
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub import ModelCard
from transformers import Trainer, TrainerCallback, integrations

from decoding import finetune as command
from decoding.finetune import Run, Settings, finetune
from decoding.jobs.fine_tuning.folder import REPORT
from decoding.jobs.fine_tuning.model_card import make_card
from decoding.models import default_model
from tests.support import tiny

pytest.importorskip("peft")
TEXTS = [(string.ascii_lowercase * 3)[i : i + length] for i in range(26) for length in (2, 9, 25)]
FAST = ("--max-length", "64", "--epochs", "2", "--learning-rate", "1e-2")  # 9 steps an epoch
KINDS = pytest.mark.parametrize("full", [False, True], ids=["adapter", "full"])


@pytest.fixture
def call(tmp_path):
    """Arguments of a training of a tiny model; what else is given is put behind them."""
    tiny.llama().float().save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("".join(text + "\n" for text in TEXTS))
    given = [tmp_path / "texts.txt", "--model", tmp_path / "model", *FAST]
    return lambda *more: [str(argument) for argument in (*given, *more)]


def contents(folder):
    """What was learnt and measured."""
    files = [*folder.glob("*.safetensors"), folder / REPORT]
    return {file.name: file.read_bytes() for file in files}


KILLED = """\
import os, signal, sys
from transformers import Trainer
from transformers.trainer_callback import TrainerState
from decoding.finetune import main

place, wanted = sys.argv[1], int(sys.argv[2])
train, write = Trainer.training_step, TrainerState.save_to_json


def die_in_a_step(self, *rest, **named):
    if place == "step" and self.state.global_step == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    return train(self, *rest, **named)


def die_in_a_checkpoint(self, *rest, **named):
    if place == "checkpoint" and self.global_step == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, *rest, **named)


Trainer.training_step, TrainerState.save_to_json = die_in_a_step, die_in_a_checkpoint
main(sys.argv[3:])
"""


def test_a_killed_training_ends_with_the_same_weights(call, tmp_path, monkeypatch):
    """Killed in the first epoch, while a checkpoint is written, and in the second; then it goes on to the end."""
    whole, output = tmp_path / "whole", tmp_path / "expert"
    assert command.main(call("--output", whole)) == 0
    arguments = call("--output", output, "--save-every", 3)
    for place, step, left in (("step", 5, {3}), ("checkpoint", 9, {6, 9}), ("step", 14, {12})):
        line = [sys.executable, "-c", KILLED, place, str(step), *arguments]
        done = subprocess.run(line, capture_output=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        assert not output.exists()
        found = {int(place.name[11:]) for place in (tmp_path / ".expert.training").glob("checkpoint-*")}
        assert found == left
    steps = []
    train = Trainer.training_step
    monkeypatch.setattr(Trainer, "training_step", lambda self, *a, **k: steps.append(1) or train(self, *a, **k))
    assert command.main(arguments) == 0
    assert len(steps) == 18 - 12
    assert contents(output) == contents(whole)
    assert not (tmp_path / ".expert.training").exists()


def stop_at(monkeypatch, step):
    """Ctrl-C in a step of the training."""
    train = Trainer.training_step

    def stop(self, *rest, **named):
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return train(self, *rest, **named)

    monkeypatch.setattr(Trainer, "training_step", stop)


@pytest.mark.parametrize("there", [False, True])
@KINDS
def test_a_stopped_training_goes_on(call, tmp_path, monkeypatch, capsys, full, there):
    """In a folder that is there, too, which nothing but the training is in meanwhile."""
    more = ["--full"] if full else []
    whole, output = tmp_path / "whole", tmp_path / "expert"
    assert command.main(call("--output", whole, *more)) == 0
    if there:
        output.mkdir()
    arguments = call("--output", output, "--save-every", 4, *more)
    with monkeypatch.context() as patch:
        stop_at(patch, 11)
        assert command.main(arguments) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; run it again to go on"
    assert (output / ".training" if there else tmp_path / ".expert.training").is_dir()
    assert output.exists() == there
    assert command.main(arguments) == 0
    assert contents(output) == contents(whole)
    assert {file.name for file in tmp_path.iterdir()} == {"whole", "expert", "model", "texts.txt"}
    assert {file.name for file in output.iterdir()} == {file.name for file in whole.iterdir()}


def test_a_kill_while_the_output_is_written(call, tmp_path, monkeypatch):
    """Into a folder that is there, files are moved one by one; `finetune.json` is the last."""
    whole, output = tmp_path / "whole", tmp_path / "expert"
    output.mkdir()
    assert command.main(call("--output", whole)) == 0
    replace, moved = Path.replace, []

    def stop(self, target):
        moved.append(self.name)
        if len(moved) == 5:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda self, to: stop(self, to) if "saved" in str(self) else replace(self, to))
        assert command.main(call("--output", output)) == 130
    assert REPORT not in moved
    assert command.main(call("--output", output)) == 0
    assert contents(output) == contents(whole)
    assert not (output / ".training").exists()


def test_refuses_to_go_on_with_something_else(call, tmp_path, monkeypatch, capsys):
    output = tmp_path / "expert"
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        command.main(call("--output", output, "--save-every", 4))
    for more in (("--seed", "1"), ("--prompt", "a"), ("--epochs", "3"), ("--held-out", "0.5"), ("--full",)):
        capsys.readouterr()
        assert command.main(call("--output", output, *more)) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "was begun with other examples or settings: give another, or remove" in line
        assert (tmp_path / ".expert.training" / "checkpoint-4").is_dir()
    assert command.main(call("--output", output, "--save-every", 2)) == 0  # which changes nothing that is learnt


def test_in_python_too(tokenizer, tmp_path, monkeypatch):
    def train(**run):
        settings = Settings(epochs=2, learning_rate=1e-2, max_length=64)
        return finetune(tiny.llama().float(), tokenizer, TEXTS[:60], TEXTS[60:], settings=settings, run=Run(**run))

    whole = train()
    with monkeypatch.context() as patch:
        stop_at(patch, 11)
        with pytest.raises(KeyboardInterrupt):
            train(folder=tmp_path, save_every=3)
    assert sorted(place.name for place in tmp_path.glob("checkpoint-*")) == ["checkpoint-9"]
    again = train(folder=tmp_path, save_every=3)
    assert (again.before, again.after) == (whole.before, whole.after)
    for name, value in whole.model.state_dict().items():
        assert value.equal(again.model.state_dict()[name]), name


class Listener(TrainerCallback):
    """What a reporter is told."""

    heard: ClassVar[list[tuple[int, str]]] = []

    def on_log(self, args, state, control, logs=None, **_):
        self.heard += [(state.global_step, name) for name in logs if name in ("loss", "eval_loss")]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_reporters_are_told(call, tmp_path, monkeypatch, name):
    """By transformers' own callbacks: of the first step in each ten, and of held-out losses, before and each epoch."""
    monkeypatch.setattr("decoding.jobs.fine_tuning.settings.find_spec", lambda _: True)
    monkeypatch.setitem(integrations.integration_utils.INTEGRATION_TO_CALLBACK, name, Listener)
    monkeypatch.setattr(Listener, "heard", [])
    assert command.main(call("--output", tmp_path / "expert", "--report-to", name)) == 0
    assert Listener.heard == [(0, "eval_loss"), (9, "eval_loss"), (10, "loss"), (18, "eval_loss")]


def test_nobody_is_told_unasked(tokenizer, monkeypatch):
    """No reporter that happens to be installed, and not those who make trl."""
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda *_, **__: pytest.fail("it phoned"))
    monkeypatch.delenv("CI", raising=False)  # where trl would not
    callbacks = integrations.integration_utils.INTEGRATION_TO_CALLBACK
    for name in callbacks:
        monkeypatch.setitem(callbacks, name, lambda name=name: pytest.fail(f"{name} was set up"))
    settings = Settings(epochs=1, max_length=64)
    finetune(tiny.llama().float(), tokenizer, TEXTS[:9], TEXTS[60:], settings=settings)


def test_tensorboard_has_a_curve(call, tmp_path, monkeypatch):
    """In runs/NAME of the folder where the command runs, and not among the checkpoints, which are removed."""
    pb = pytest.importorskip("tensorboardX.proto.event_pb2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    assert command.main(call("--output", "expert", "--report-to", "tensorboard")) == 0
    points = []
    for file in (tmp_path / "runs" / "expert").rglob("events*"):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = pb.Event.FromString(data[12 : 12 + length])
            points += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            data = data[16 + length :]
    loss = json.loads((tmp_path / "expert" / REPORT).read_text())["loss"]
    curve = {step: value for step, tag, value in points if tag == "eval/loss"}
    assert set(curve) == {0, 9, 18}
    assert (curve[0], curve[18]) == pytest.approx((loss["before"], loss["after"]), rel=1e-5)
    assert [step for step, tag, _ in points if tag == "train/loss"] == [10]


def test_says_what_a_report_needs(call, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("decoding.jobs.fine_tuning.settings.find_spec", lambda name: None if name == "wandb" else True)
    monkeypatch.setattr("decoding.models.loading.load_model", lambda *_, **__: pytest.fail("the weights were loaded"))
    assert command.main(call("--output", tmp_path / "expert", "--report-to", "wandb")) == 2
    assert "--report-to wandb needs the package wandb: pip install wandb" in capsys.readouterr().err
    assert command.main(call("--output", tmp_path / "expert", "--report-to", "paper")) == 2
    assert "--report-to must be one of wandb, tensorboard, mlflow, not paper" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--report-to must be one of wandb, tensorboard, mlflow, not paper"):
        Run(report_to=("paper",))
    with pytest.raises(ValueError, match="--save-every must be at least 1, not 0"):
        Run(save_every=0)


@KINDS
def test_the_card_says_what_was_trained_and_measured(call, tmp_path, monkeypatch, full):
    monkeypatch.chdir(tmp_path)
    more = ["--full"] if full else []
    assert command.main(call("--output", "expert", "--prompt", "a 'b' ", *more)) == 0
    card = ModelCard.load(tmp_path / "expert" / "README.md")
    report = json.loads((tmp_path / "expert" / REPORT).read_text())
    assert card.data.library_name == ("transformers" if full else "peft")
    assert card.data.base_model is None  # it is a folder of this machine, which says nothing to others
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results == {"loss": report["loss"]["after"], "perplexity": report["perplexity"]["after"]}
    for figure in (f"{report['loss']['before']:.4f}", f"{report['perplexity']['after']:.2f}", "| 70 | 8 |", "seed 0"):
        assert figure in card.text
    assert ("All weights" if full else "A LoRA adapter of rank 16") in card.text
    assert str(tmp_path) not in str(card)
    assert "None" not in str(card)


def test_the_card_names_what_others_can_load():
    counts = {"train": 3, "held_out": 1}
    report = {
        "model": "org/some-model", "file": "/home/me/private/some.txt", "full": False, "rank": 4, "prompt": "",
        "epochs": 1, "batch_size": 8, "learning_rate": 1e-3, "max_length": 64, "seed": 0,
        "examples": counts, "tokens": counts, "cut": counts,
        "loss": {"before": 2.0, "after": 1.0}, "perplexity": {"before": 7.389, "after": 2.718},
    }  # fmt: skip
    card = make_card(report)
    assert card.data.base_model == "org/some-model"
    assert card.text.strip().startswith("# some-model fine-tuned on some.txt\n")
    assert "decoding.load('org/some-model')" in card.text
    assert "private" not in str(card)
    embedded = make_card(report | {"model": default_model.NAME})
    assert embedded.data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "decoding.load()" in embedded.text


def test_importing_the_packages_imports_no_extra():
    code = "import sys, decoding, scorers, decoding.finetune, decoding.steer; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split()
    assert not {"trl", "peft", "datasets", "sentence_transformers"} & set(loaded)
