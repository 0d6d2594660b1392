"""The names that users write: public classes and functions, commands and their options.

They are listed here in full, so that one cannot vanish or be renamed by accident. Whoever adds a name adds it here.
Whoever takes one away breaks the code of users: say so in the changelog, under "Removed".
"""

import importlib
import re
import subprocess
import sys

import pytest

import decoding
import scorers
from tests.support.imports import PACKAGES, ROOT, modules

DECODING = """
Adapter AdaptiveContrastiveSearch ArithmeticSample BestOfN Between Context ContextAware ContrastiveDecoding
ContrastiveSearch DExperts DebiasSampling Decoder FrustratinglySimple Greedy Guidance Guide GuideProcessor Hypotheses
Interval Mirostat NegativePrompt NoImage NoisyImage Picker PostHocDebias Prompt Rerank Reranker Round Sample Search Span
State Steer Step Trace UnknownImage content_free_prior degeneration_penalty encode generate load pack score_choices
unpack
"""

SCORERS = """
Asked Classifier Embedding Evidence Form Function Gated Likelihood MBR Overlap PROMPT_EOL Pairwise RankGen Ranker
RewardModel Router Scorer T5EncoderWithProjection Weighted Whitening as_scorer bleu chrf
"""

# Packages of decoding that pages tell users to import from.
IMPORTABLE = ["decoding.guides", "decoding.models", "decoding.testing", "decoding.trace", "benchmarks.metrics"]

# What comes after `python -m`, and the options that it takes; `--help` is an option of each.
COMMANDS = {
    "decoding": """--alpha --batch-size --beams --device --dtype --eta --every --input --json --k --max-new-tokens
        --method --model --output --q --repetition-penalty --rerank --samples --seed --tau --temperature --top-k --top-p
        --trace --version""",
    "decoding.demo": "--new-tokens",
    "decoding.finetune": """--batch-size --epochs --field --full --held-out --learning-rate --max-length --model
        --output --prompt --rank --seed""",
    "decoding.steer": """--batch-size --beta --device --dtype --eta --expert --field --gamma --max-new-tokens --model
        --negatives --number -n --output --prompt --seed --temperature --top-k --top-p""",
    "scorers.train": """--batch-size --bf16 --continuation-words --device --dropout --encoder --epochs --field --full
        --generate --generated --generated-tokens --generator --generator-context --generator-dtype --held-out
        --learning-rate --negatives --output --prefix-length --prefix-words --prompts --rank --save-every --scale --seed
        --similarity --suffix-length --top-p --vectors --weight-decay --windows""",
    "benchmarks run": """--batch-size --cache --device --dtype --judge --judge-batch-size --metrics --model --output
        --prompts --protocol --step""",
    "benchmarks score": "--cache --json --judge-batch-size --metrics --model --protocol",
    "benchmarks report": "--output",
    "benchmarks speed": """--batches --contexts --dtype --k --methods --model --new-tokens --output --plain --quick
        --rounds --second --threads""",
    "benchmarks.arithmetic": "--model --new-tokens --prompts --seeds --temperature --texts",
    "benchmarks.evidence": """--batch-size --limit --model --new-tokens --output --passages --questions --samples --seed
        --texts --words""",
    "benchmarks.guides": "--batch --lengths --model --new-tokens --rounds",
    "benchmarks.judging": """--channel --generate --generated --held-out --json --longest --model --new-tokens --output
        --questions --rankgen --reward --seed --votes --windows --without-model""",
    "benchmarks.languages": """--batch-size --declarations --decoders --languages --model --prefix --prompts --seed
        --words""",
    "benchmarks.rerank": """--beams --clock --every --json --model --new-tokens --prefix --prompts --rounds --samples
        --scorer""",
    "benchmarks.steer": """--batch-size --dtype --encoder --epochs --grid-number --judge-epochs --max-new-tokens --model
        --negatives --number --output --prompt --real --released --seed""",
}


@pytest.mark.parametrize(("package", "names"), [(decoding, DECODING), (scorers, SCORERS)])
def test_public_names_are_there(package, names):
    assert sorted(package.__all__) == sorted(names.split())
    for name in names.split():
        assert getattr(package, name) is not None


@pytest.mark.parametrize("name", IMPORTABLE)
def test_packages_that_pages_name_can_be_imported(name):
    importlib.import_module(name)


def test_commands_are_there():
    """Each stands where `python -m` looks for it, and no command is missing in the list."""
    there = {
        name.removesuffix(".__main__")
        for name, file in modules(*PACKAGES).items()
        if 'if __name__ == "__main__":' in file.read_text()
    }
    assert there == {command.split()[0] for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_take_the_options(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # so that no option is broken at the end of a line
    name, *subcommand = command.split()
    module = importlib.import_module(name if "." in name else f"{name}.__main__")
    status = 0
    try:
        status = module.main([*subcommand, "--help"])
    except SystemExit as stop:
        status = stop.code
    assert not status
    shown = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", capsys.readouterr().out))
    assert {*COMMANDS[command].split(), "--help"} - shown == set()


def test_the_version_stands_in_one_place_and_is_cheap_to_ask_for():
    code = "import sys, decoding; print(decoding.__version__, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == [decoding.__version__, "False"]
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+|\.dev\d+)?", decoding.__version__)
    assert "version = attr: decoding.__version__" in (ROOT / "setup.cfg").read_text()


def test_the_command_says_its_version(capsys):
    main = importlib.import_module("decoding.__main__").main
    status = 0
    try:
        status = main(["--version"])
    except SystemExit as stop:
        status = stop.code
    assert not status
    assert capsys.readouterr().out == f"decoding-toolkit {decoding.__version__}\n"
