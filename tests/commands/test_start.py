"""How commands start: what needs no library imports none, Ctrl-C is answered, and importing them changes nothing."""

import subprocess
import sys

import pytest

from tests.support.imports import PACKAGES, ROOT, modules

HEAVY = ("torch", "transformers", "numpy", "rich", "sklearn", "matplotlib")
COMMANDS = sorted(name for name, file in modules(*PACKAGES).items() if 'if __name__ == "__main__":' in file.read_text())
CALLS = {  # that would begin to work
    "decoding.__main__": ["The night was"],
    "decoding.demo": [],
    "decoding.finetune": ["README.md", "--output", "no-such-output"],
    "decoding.steer": ["README.md", "--expert", "no-such-expert", "--output", "no-such-output"],
    "scorers.train": ["README.md", "--output", "no-such-output"],
    "benchmarks.__main__": ["run", "speeches", "--output", "no-such-output"],
    "benchmarks.steer": ["--output", "no-such-output"],
    "benchmarks.judging": ["README.md"],
    **{f"benchmarks.{name}": [] for name in ("arithmetic", "evidence", "guides", "languages", "rerank")},
}
SPOILED = {  # a value that is out of range
    "decoding.__main__": ["a", "--alpha", "2"],
    "decoding.demo": ["--new-tokens", "0"],
    "decoding.finetune": ["a", "--output", "b", "--epochs", "0"],
    "decoding.steer": ["a", "--expert", "b", "--output", "c", "--gamma", "-1"],
    "scorers.train": ["a", "--output", "b", "--dropout", "1"],
    "benchmarks.__main__": ["speed", "--output", "a", "--k", "5", "0"],
    "benchmarks.steer": ["--output", "a", "--epochs", "0"],
    "benchmarks.judging": ["a", "--held-out", "1"],
    "benchmarks.arithmetic": ["--texts", "1"],
    "benchmarks.evidence": ["--words", "1"],
    "benchmarks.guides": ["--lengths", "1"],
    "benchmarks.languages": ["--decoders", "no-such"],
    "benchmarks.rerank": ["--rounds", "0"],
}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)


def test_there_are_thirteen_commands():
    assert COMMANDS == sorted(CALLS) == sorted(SPOILED)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_needs_no_model_imports_no_library_for_one(command):
    """The help, the version, an option that there is not, a value of the wrong kind or out of range."""
    code = f"""
import sys
from {command} import main

calls = [["--help"], ["--version"], ["--no-such-option"], {SPOILED[command]!r}]
print([main(call) for call in calls], [name for name in {HEAVY!r} if name in sys.modules])
"""
    done = python("-c", code)
    assert done.stdout.splitlines()[-1] == "[0, 0, 2, 2] []", done
    assert done.stderr.count("\n") == 2
    assert all("error: " in line for line in done.stderr.splitlines())


@pytest.mark.parametrize("imported", ["torch", "scorers._common.commands"])
@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_while_modules_are_imported_is_a_line(command, imported):
    """As it comes: in the middle of an import, where numpy and torch would make something else of an exception."""
    code = f"""
import os, runpy, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background inherit deafness

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name in ("transformers", {imported!r}):
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["command", *{CALLS[command]!r}]
runpy.run_module({command!r}, run_name="__main__", alter_sys=True)
"""
    done = python("-c", code)
    assert (done.returncode, done.stdout) == (130, ""), done
    assert done.stderr.startswith("stopped; ")
    assert done.stderr.count("\n") == 1
    assert not (ROOT / "no-such-output").exists()


@pytest.mark.parametrize("start", ["-c", "file", "module"])
def test_imports_leave_the_process_as_it_was(start, tmp_path):
    """The hook for exceptions and the answer to Ctrl-C are the program's own, in every way of starting it."""
    code = """
import signal, sys

before = sys.excepthook, signal.getsignal(signal.SIGINT)
import benchmarks, decoding, scorers
import decoding.__main__, decoding.finetune, scorers.train, benchmarks.__main__
assert (sys.excepthook, signal.getsignal(signal.SIGINT)) == before
assert sys.excepthook is sys.__excepthook__
"""
    file = tmp_path / "program.py"
    file.write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}")
    if start == "module":  # a name that one of our commands begins with, too
        (tmp_path / "decoding_program.py").write_text(file.read_text())
        call = [sys.executable, "-m", "decoding_program"]
        done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path)
    else:
        done = python("-c", code) if start == "-c" else python(str(file))
    assert (done.returncode, done.stderr) == (0, "")
