"""What the commands share: tables on terminals and in pipes, and what a stopped one says."""

import io
import os
import sys
from pathlib import Path

import pytest

from decoding import demo
from scorers._common import terminal
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


def test_what_a_stopped_command_says_stands_in_a_line_of_its_own(monkeypatch):
    def work(options):
        raise KeyboardInterrupt

    for kind, before in ((Screen, "\n"), (io.StringIO, "")):  # a terminal has written ^C
        monkeypatch.setattr(sys, "stderr", err := kind())
        assert demo.COMMAND.serve([], work, lambda: "9 are there") == 130
        assert err.getvalue() == f"{before}stopped; 9 are there\n"


def test_the_demonstration_takes_prompts_and_says_what_to_read_next(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("decoding.models.loading.load", lambda: (tiny.llama().float(), tiny.tokenizer()))
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
