"""Which module imports which, read from the text of the modules; nothing is imported for it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("scorers", "decoding", "benchmarks")


def modules(*packages: str) -> dict[str, Path]:
    """The file of every module of the packages, by its dotted name, at any depth."""
    files = [file for package in packages for file in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def is_for_types(node: ast.AST) -> bool:
    """Whether a block is read by type checkers alone."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def statements(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import that can run, wherever in the text."""
    skipped = {id(inner) for node in ast.walk(tree) if is_for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in skipped:
            yield node


def imports(name: str, file: Path, known: dict[str, Path]) -> set[str]:
    """Everything that a module imports: our modules as deep as they are named, of others the dotted name."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in statements(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            continue
        source = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join([*parents, *([node.module] if node.module else [])])
        inner = {f"{source}.{alias.name}" for alias in node.names}
        found |= inner & known.keys()
        if not inner <= known.keys():
            found.add(source)
    return found - {name}
