"""Who may import whom, read from the source."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FORBIDDEN = {
    "common": {"text", "image", "benchmarks", "tests"},
    "text": {"image", "benchmarks", "tests"},
    "image": {"text", "benchmarks", "tests"},
}
CHAPTERS = ["tools", "decode", "model", "measure", "record", "hyperfit", "report"]
"""Of `common`, in order: each may import those before it and `common.errors`."""
BELOW_REPORT = {"common.config"}
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


def imported_modules(source: str) -> set[str]:
    """Modules of `common` that a file imports, dotted; of `from X import y` both X and X.y."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.startswith("common.")}


def upward(chapter: str, source: str) -> set[str]:
    """What a file of a chapter imports and may not."""
    below = CHAPTERS[: CHAPTERS.index(chapter) + 1]
    allowed = {"common.errors"} | (BELOW_REPORT if chapter == "report" else set())
    return {
        name
        for name in imported_modules(source)
        if name.split(".")[1] not in below and name not in allowed
    }


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
    assert {"common/hyperfit/loop.py", "text/run.py"} <= {
        str(p.relative_to(ROOT)) for _, p in FILES
    }


@pytest.mark.parametrize(("package", "path"), FILES, ids=[str(p.name) for _, p in FILES])
def test_packages_keep_apart(package: str, path: Path) -> None:
    breach = imported_packages(path.read_text(encoding="utf-8")) & FORBIDDEN[package]
    assert not breach, f"{path.relative_to(ROOT)} imports {breach}"


@pytest.mark.parametrize(("package", "path"), FILES, ids=[str(p.name) for _, p in FILES])
def test_files_say_what_they_are(package: str, path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    if path.name != "__init__.py" or source.strip():
        assert ast.get_docstring(ast.parse(source)), f"{path.relative_to(ROOT)} has no docstring"


CHAPTER_FILES = [(path.parent.name, path) for path in sorted((ROOT / "common").glob("*/*.py"))]


@pytest.mark.parametrize(("chapter", "path"), CHAPTER_FILES, ids=[str(p) for _, p in CHAPTER_FILES])
def test_chapters_keep_their_order(chapter: str, path: Path) -> None:
    breach = upward(chapter, path.read_text(encoding="utf-8"))
    assert not breach, f"{path.relative_to(ROOT)} imports {breach}"


def test_every_chapter_is_there_and_an_upward_import_is_seen() -> None:
    assert {chapter for chapter, _ in CHAPTER_FILES} == set(CHAPTERS)
    source = "from common.hyperfit.loop import TrainingLoop\nfrom common.errors import UserError"
    assert upward("model", source) == {"common.hyperfit.loop"}
    assert upward("report", source) == set()
    assert upward("hyperfit", "import common.config") == {"common.config"}


def test_no_circle() -> None:
    """Within `common`, importing any file ends: no file is imported by what it imports."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for package, path in FILES
        if package == "common"
    }
    imports = {
        name: imported_modules(path.read_text(encoding="utf-8")) & names.keys()
        for name, path in names.items()
    }
    ready: set[str] = set()
    while waiting := {name for name in names if name not in ready}:
        free = {name for name in waiting if imports[name] <= ready}
        assert free, f"a circle among {sorted(waiting)}"
        ready |= free


def test_packages_are_all_listed() -> None:
    """What is installed is what is there: every folder with code or data that a package reads."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["tool"]["setuptools"]
    packages = {*FORBIDDEN, "benchmarks"}
    tracked = subprocess.run(
        ["git", "ls-files", *packages], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    with_code = {str(Path(name).parent).replace("/", ".") for name in tracked if name[-3:] == ".py"}
    if tracked:  # a checkout
        assert with_code <= set(listed["packages"])
    missing = [n for n in listed["packages"] if not (ROOT / n.replace(".", "/")).is_dir()]
    assert not missing
    assert set(listed["package-data"]) <= set(listed["packages"])
