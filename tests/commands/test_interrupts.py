"""What the commands share: tables on terminals and in pipes, and Ctrl-C at any moment."""

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from decoding import demo
from scorers._common import commands, terminal
from tests.support import tiny


class Screen(io.StringIO):
    """A terminal's output."""

    def isatty(self):
        return True


def show_table():
    with terminal.table(["name", "value"]) as add_row:
        add_row(["a", 1])
        add_row(["b", 2.5])


def test_a_terminal_is_told_what_is_being_worked_at(monkeypatch):
    monkeypatch.setattr(sys, "stdout", screen := Screen())
    monkeypatch.setenv("TERM", "xterm-256color")
    with terminal.table(["name"], ["the first", "the second"]) as add_row:
        assert "1 of 2: the first" in screen.getvalue()
        assert "the second" not in screen.getvalue()
        add_row(["a"])
        assert "2 of 2: the second" in screen.getvalue()
        add_row(["b"])
    ended = screen.getvalue().rpartition("name")[2]
    assert "a" in ended
    assert "of 2" not in ended


@pytest.mark.parametrize("kind", [Screen, io.StringIO])
def test_progress_is_for_terminals(monkeypatch, kind):
    monkeypatch.setattr(sys, "stderr", err := kind())
    with terminal.progress(3, "round") as tick:
        for _ in range(3):
            tick()
    assert ("/3" in err.getvalue()) is (kind is Screen)
    assert "\n" not in err.getvalue()


def test_a_table_is_markdown_in_a_pipe(capsys):
    show_table()
    assert capsys.readouterr().out == "| name | value |\n|---|---|\n| a | 1 |\n| b | 2.5 |\n"


@pytest.mark.parametrize("plain", [False, True])
def test_a_table_is_drawn_on_a_terminal_in_colour_unless_that_is_unwanted(monkeypatch, plain):
    monkeypatch.setattr(sys, "stdout", screen := Screen())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    show_table()
    text = screen.getvalue()
    assert "━" in text
    assert all(word in text for word in ("name", "value", "a", "2.5"))
    assert ("36m" in text) is not plain  # cyan, alone or behind bold


@pytest.mark.parametrize("name", ["benchmarks.__main__", "scorers.train"])
def test_ctrl_c_during_imports_is_a_line(monkeypatch, capsys, name):
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    for spec, arguments in ((SimpleNamespace(name=name), [name]), (None, ["-m"])):  # the module's, the package's
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.setattr(sys, "orig_argv", ["python", "-W", "ignore", "-m", name, "--help"])
        monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
        commands.answer_interrupts()
        sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
        assert (left.pop(), capsys.readouterr().err) == (130, "stopped; nothing was begun\n")
        sys.excepthook(ValueError, ValueError("as ever"), None)
        assert "as ever" in capsys.readouterr().err


def test_what_a_stopped_command_says_stands_in_a_line_of_its_own(monkeypatch):
    def work():
        raise KeyboardInterrupt

    for kind, before in ((Screen, "\n"), (io.StringIO, "")):  # a terminal has written ^C
        monkeypatch.setattr(sys, "stderr", err := kind())
        assert commands.serve("decoding", work, lambda: "9 are there") == 130
        assert err.getvalue() == f"{before}stopped; 9 are there\n"


@pytest.mark.parametrize(("argument", "asked"), [
    ("program.py", ["python", "program.py"]), ("-m", ["python", "-m", "theirs", "-m"]), ("-m", ["python", "-mtheirs"]),
])  # fmt: skip
def test_a_program_that_imports_the_package_keeps_its_own_answer(monkeypatch, argument, asked):
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=None))
    monkeypatch.setattr(sys, "argv", [argument])
    monkeypatch.setattr(sys, "orig_argv", asked)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    before = sys.excepthook
    commands.answer_interrupts()
    assert sys.excepthook is before


def test_the_demonstration_takes_prompts_and_says_what_to_read_next(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(demo, "load", lambda: (tiny.llama().float(), tiny.tokenizer()))
    monkeypatch.setattr(demo, "silence", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert demo.main(["Hello", "no", "--new-tokens", "4"]) == 0
    out = capsys.readouterr().out
    assert "Hello" in out
    for line in out.splitlines()[-3:]:
        if line.endswith(".md"):
            assert Path(line.split()[-1]).resolve().is_file(), line
    assert out.count(".md\n") == 2
    assert f"{terminal.interpreter()} -m decoding " in out
    assert "no" in (tmp_path / demo.TRACE).read_text()
    assert demo.main([" "]) == 2
    assert demo.main(["--new-tokens", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_the_interpreter_is_named_so_that_the_command_works_from_here(monkeypatch, tmp_path):
    bin = tmp_path / "an environment" / "bin"
    bin.mkdir(parents=True)
    (bin / "python").write_text("#!/bin/sh\n")
    (bin / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bin / "python"))
    monkeypatch.setenv("PATH", str(bin))
    assert terminal.interpreter() == "python"
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.chdir(tmp_path)
    assert terminal.interpreter() == "'an environment/bin/python'"
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert terminal.interpreter() == f"'{bin}/python'"
