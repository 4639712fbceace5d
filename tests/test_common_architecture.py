"""Who may import whom, read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "common": {"text", "image", "benchmarks", "tests"},
    "text": {"image", "benchmarks", "tests"},
    "image": {"text", "benchmarks", "tests"},
}
FILES = [
    (package, path) for package in FORBIDDEN for path in sorted((ROOT / package).rglob("*.py"))
]


def imported_packages(source: str) -> set[str]:
    """Top-level packages that a file imports, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports would hide the package"
            found.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {str(arg.value).split(".")[0] for arg in node.args[:1] if is_text(arg)}
    return found


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_the_walk_sees_every_form() -> None:
    source = """
import text.run as run
from image import model
def late():
    from benchmarks.speed import main
    importlib.import_module("tests.x")
"""
    assert imported_packages(source) == {"text", "image", "benchmarks", "tests"}


def test_there_is_something_to_walk() -> None:
    assert {"common/train.py", "text/run.py"} <= {str(p.relative_to(ROOT)) for _, p in FILES}


@pytest.mark.parametrize(("package", "path"), FILES, ids=[str(p.name) for _, p in FILES])
def test_packages_keep_apart(package: str, path: Path) -> None:
    breach = imported_packages(path.read_text(encoding="utf-8")) & FORBIDDEN[package]
    assert not breach, f"{path.relative_to(ROOT)} imports {breach}"


@pytest.mark.parametrize(("package", "path"), FILES, ids=[str(p.name) for _, p in FILES])
def test_files_say_what_they_are(package: str, path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    if path.name != "__init__.py" or source.strip():
        assert ast.get_docstring(ast.parse(source)), f"{path.relative_to(ROOT)} has no docstring"
