"""What is written in two places says the same in both: hooks and `make lint`, versions, papers, the changelog."""

import configparser
import re

import pytest
import yaml

from tests.support.imports import ROOT, modules

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
WORKFLOWS = {file.name: yaml.safe_load(file.read_text()) for file in (ROOT / ".github/workflows").glob("*.yml")}


def test_hooks_run_what_make_lint_runs():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    linted = [line.strip().removeprefix("$(BIN)/").removesuffix(" .") for line in recipe.splitlines()]
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"].removeprefix(".venv/bin/") for hook in repository["hooks"]]
    assert sorted(hooks) == sorted(linted)


def test_workflows_test_each_python_that_setup_names():
    named = re.findall(r"Python :: (3\.\d+)", SETUP["metadata"]["classifiers"])
    assert WORKFLOWS["ci.yml"]["jobs"]["versions"]["strategy"]["matrix"]["python"] == named
    assert SETUP["options"]["python_requires"] == f">={named[0]}"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_run_scripts_and_targets_that_are_there(name):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [step["run"] for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands
    for command in commands:
        for script in re.findall(r"\.github/[\w-]+", command):
            assert (ROOT / script).stat().st_mode & 0o100, f"{script} cannot be executed"
        assert {*re.findall(r"^make ([\w-]+)", command)} <= {*targets}


def test_every_paper_that_the_code_names_is_cited():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    papers = {url.rpartition("/")[2] for url in (paper.get("url", "") for paper in cited) if "arxiv.org" in url}
    named = {
        paper
        for file in modules("decoding", "scorers").values()
        for paper in re.findall(r"arXiv[ :]*(\d{4}\.\d{5})", file.read_text())
    }
    assert len(named) >= 20
    assert named - papers == set()


def test_the_changelog_is_by_release_and_by_kind():
    text = (ROOT / "CHANGELOG.md").read_text()
    releases = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert releases[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", release) for release in releases[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {*re.findall(r"^### (.*)$", text, re.MULTILINE)} <= kinds
