"""Imports run one way: between the packages, between the folders, and inside each folder."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest

import scorers
from tests.support.imports import PACKAGES, ROOT, imports, modules

MODULES = modules(*PACKAGES)
GRAPH = {name: imports(name, file, MODULES) for name, file in MODULES.items()}

# The folders, from the ground up. A folder imports from those above it in this list, never from those below it.
# A new file needs no line here: it belongs to its folder. A module at the top of a package is named where folders
# stand on it; "*" is every other one.
FLOORS = {
    "scorers": [["_common"], ["*"], ["ranker_training"], ["train"]],
    "decoding": [
        ["models", "engine"],
        ["row_states"],
        ["hypotheses"],
        ["parts"],
        ["guides", "pickers", "rerankers", "trace", "outputs", "contracts", "calibration"],
        ["decoder"],
        ["generation", "arithmetic_encoding"],
        ["jobs"],
        ["*"],
    ],
    "benchmarks": [["metrics"], ["harness", "report"], ["speed"], ["studies"], ["*"]],
}
BELOW = {"scorers": ["scorers"], "decoding": ["scorers", "decoding"], "benchmarks": [*PACKAGES]}


def floor(name: str) -> int:
    """The floor of a module in its package; the package itself, which imports lazily, is the ground."""
    package, _, rest = name.partition(".")
    if not rest:
        return -1
    floors = FLOORS[package]
    own = rest.partition(".")[0]
    named = [i for i, rooms in enumerate(floors) if own in rooms]
    return named[0] if named else next(i for i, rooms in enumerate(floors) if "*" in rooms)


def room(name: str) -> str:
    """The folder of a module, or the module itself where it is at the top of its package."""
    return ".".join(name.split(".")[:2])


def test_every_module_is_looked_at():
    """Files are found at any depth, and every name in FLOORS is there."""
    assert len(MODULES) >= 140
    for package, floors in FLOORS.items():
        rooms = {room(name) for name in MODULES}
        missing = {f"{package}.{own}" for level in floors for own in level if own != "*"} - rooms
        assert not missing, missing


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_stand_on_each_other(package):
    for name in modules(package):
        others = {other.partition(".")[0] for other in GRAPH[name]} & {*PACKAGES, "tests"}
        assert others <= {*BELOW[package]}, (name, others)


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_import_from_lower_floors(package):
    for name in modules(package):
        for other in GRAPH[name]:
            if name != package and other.partition(".")[0] == package and room(other) != room(name):
                assert floor(other) <= floor(name), f"{name} imports {other}, which stands above it"


def test_no_circle_between_folders():
    rooms: dict[str, set[str]] = {}
    for name, others in GRAPH.items():
        rooms.setdefault(room(name), set()).update(room(other) for other in others if other in MODULES)
    TopologicalSorter({name: others - {name} for name, others in rooms.items()}).prepare()


def test_no_circle_between_modules():
    TopologicalSorter({name: others & MODULES.keys() for name, others in GRAPH.items()}).prepare()


def test_modules_import_what_they_need_and_not_the_face_of_their_package():
    """The face is for users. Commands may stand on it, since it imports nothing until it is asked."""
    for name in MODULES:
        package = name.partition(".")[0]
        if name != package and package != "benchmarks" and floor(name) < max(map(floor, modules(package))):
            assert package not in GRAPH[name], name


def test_only_the_engine_touches_caches_masks_and_positions():
    of_caches = ("DEFAULT_CACHE_NAME", "GIVEN_CACHE_NAMES", "past_key_values", "cache_params", "reorder_cache", "crop")
    words = (*of_caches, "attention_mask", "position_ids")
    of_the_call = (
        "testing.tiny_models",
        "jobs.continuation",
        "guides.second_prompts",
        "guides.processor",
        "calibration",
    )
    allowed = {f"decoding.{name}": {"attention_mask"} for name in of_the_call} | {
        "decoding.outputs": {"DEFAULT_CACHE_NAME"},
        "decoding.generation": {"attention_mask", "GIVEN_CACHE_NAMES"},  # of the call: do they fit?
    }
    seen = 0
    for name, file in modules("decoding").items():
        if name.startswith("decoding.engine."):
            continue
        seen += 1
        tree = ast.parse(file.read_text())
        docs = {id(node.body[0].value) for node in ast.walk(tree) if is_documented(node)}
        strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs]
        attributes = [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
        names = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]
        touched = {word for word in words if word in attributes or word in strings or word in names}
        assert touched <= allowed.get(name, set()), (name, touched)
    assert seen >= 40


def is_documented(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node) is not None


def test_tests_take_helpers_from_support_alone():
    files = list((ROOT / "tests").rglob("test_*.py"))
    assert len(files) >= 50
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert not any(".test_" in alias.name for alias in node.names), file
            if isinstance(node, ast.ImportFrom):
                named = [
                    node.module or "",
                    *(alias.name for alias in node.names if (node.module or "").startswith("tests")),
                ]
                assert not any(part.startswith("test_") for name in named for part in name.split(".")), (file, named)


# Modules without a test file of their name, and where their tests are. The test of decoding/guides/steer.py is
# tests/decoding/guides/test_steer.py: whoever looks for the tests of a module finds them by its name.
ELSEWHERE = {
    # what a command does is seen in its calls
    "decoding.__main__": "commands/test_decoding.py",
    "decoding.demo": "commands/test_decoding.py",
    "decoding.finetune": "commands/test_finetune.py",
    "decoding.steer": "commands/test_steer.py",
    "decoding.methods": "commands/test_options.py",
    "decoding.jobs.continuation": "commands/test_decoding.py",
    "decoding.jobs.prompts": "commands/test_decoding.py",
    "decoding.jobs.results": "commands/test_decoding.py",
    "decoding.jobs.synthesis": "commands/test_steer.py",
    "decoding.jobs.fine_tuning.folder": "commands/test_finetune_runs.py",
    "decoding.jobs.fine_tuning.model_card": "commands/test_finetune_runs.py",
    "decoding.jobs.fine_tuning.settings": "commands/test_finetune.py",
    "decoding.jobs.fine_tuning.trainer": "commands/test_finetune.py",
    "decoding.jobs.fine_tuning.training": "commands/test_finetune.py",
    "scorers._common.commands": "commands/test_options.py",
    "scorers._common.interrupts": "commands/test_interrupts.py",
    "scorers._common.options": "commands/test_options.py",
    "scorers._common.part_options": "commands/test_options.py",
    "scorers._common.ranges": "commands/test_options.py",
    "scorers._common.terminal": "commands/test_start.py",
    "scorers.ranker_training.job": "scorers/test_train.py",
    "scorers.ranker_training.options": "scorers/test_train.py",
    # parts of a context: any program of calls must give what plain forwards give
    "decoding.engine.forwards": "decoding/engine/test_context.py",
    "decoding.engine.prepared_prompt": "decoding/engine/test_context.py",
    "decoding.engine.row_state": "decoding/engine/test_context.py",
    "decoding.engine.transformers_api": "project/test_private_api.py",
    # what scorers read with: the law of every scorer, that a batch is its texts alone
    "scorers.encoding": "scorers/test_scorer.py",
    "scorers.language_model": "scorers/test_scorer.py",
    # the kit's own parts, which its checks are made of
    "decoding.testing.stub_parts": "decoding/testing/test_checks.py",
}


def test_every_module_has_a_test_file_of_its_name():
    tests = ROOT / "tests"
    without, seen = set(), 0
    for name, file in MODULES.items():
        if file.name == "__init__.py" or (
            name.startswith("benchmarks.") and not name.startswith("benchmarks.metrics.")
        ):
            continue
        seen += 1
        folder, _, own = name.replace(".", "/").rpartition("/")
        if not (tests / folder / f"test_{own}.py").exists():
            without.add(name)
    assert seen >= 110
    assert without == ELSEWHERE.keys(), "give the module a test file of its name, or take it out of ELSEWHERE"
    assert not [file for file in ELSEWHERE.values() if not (tests / file).exists()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "absent"),
    [
        ("scorers", ["decoding", "benchmarks", "sacrebleu", "peft", "sklearn", "torch"]),
        ("decoding", ["scorers.ranker", "benchmarks", "peft", "torch", "transformers"]),
    ],
)
def test_packages_load_alone_and_without_extras(package, absent):
    code = f"import sys, {package}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_public_scorers_are_there_and_documented():
    for name in scorers.__all__:
        value = getattr(scorers, name)
        assert not callable(value) or len(value.__doc__) > 60, name
