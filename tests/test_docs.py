"""What the pages of docs/ and the README name in backticks is there, and what they show works."""

from __future__ import annotations

import ast
import random
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fake_cells import around

from benchmarks.evidence.over_seeds import gather
from benchmarks.evidence.section import Verdict
from benchmarks.suite.cells import Cell
from benchmarks.suite.declarations import load_experiments
from common.tools.options import dotted
from examples.walks import WalksConfig, untrained, walks
from image.config import ImageRunConfig
from text.config import TextRunConfig

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", *DOCS]
PACKAGES = ("common", "text", "image", "benchmarks", "examples")
TOP = (*PACKAGES, "tests", "configs", "docs")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(.*\))?")
PLACEHOLDER = re.compile(r"\b(NAME|PROFILE|EXPERIMENT|CELL|CONDITION|SET|METRIC|MODEL|DIR)\b")
# Names that are no code of ours: files of a run folder stand in ours as text, these do not.
FOREIGN = {"from_pretrained", "recipe.yaml", "None", "True", "False", "PreTrainedModel", "Protocol"}


@cache
def sources() -> dict[str, str]:
    """Path -> text, of all our code."""
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in paths}


@cache
def defined() -> dict[str, set[str]]:
    """Name -> files that define it: functions, classes, "Class.method", constants, attributes."""
    found: dict[str, set[str]] = {}
    for path, text in sources().items():
        for name in names_of(ast.parse(text)):
            found.setdefault(name, set()).add(path)
    return found


def names_of(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


@cache
def words() -> set[str]:
    """Every word of our code and its data: keys of JSON, fields, files of a run."""
    schema = (ROOT / "common/record/schema/metrics.schema.json").read_text("utf-8")
    yaml = [path.read_text("utf-8") for path in (ROOT / "benchmarks").rglob("*.yaml")]
    every = "\n".join([*sources().values(), schema, *yaml])
    # Families such as rep_4 are made of a name and a number.
    families = {f"rep_{n}" for n in (2, 3, 4)} | {f"distinct_{n}" for n in (2, 3)}
    families |= {f"across_distinct_{n}" for n in (2, 3)} | {"across_self_bleu_4", "self_bleu_4"}
    families |= {"dataset_bleu_4", "dataset_bleu_4_no_bp", "overlap_over_10"}
    return families | set(re.findall(r"[\w.\-]+", every)) | set(re.findall(r"\w+", every))


@cache
def options() -> set[str]:
    configs = (TextRunConfig(), ImageRunConfig(), WalksConfig())
    return {name for config in configs for name in dotted(config)} | {"config", "help"}


def prose(page: Path) -> list[str]:
    """Paragraphs, and rows of tables, without the code blocks."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    return re.sub(r"(?<=[^\n|])\n(?=[^\n|])", " ", text).splitlines()


def in_backticks(text: str) -> list[str]:
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)]


def fault(span: str) -> str | None:
    """What is wrong with what a page names; None where it is right, or no name at all."""
    if span.startswith("python -m "):
        module = span.split()[2].replace(".", "/")
        there = [(ROOT / f"{module}{end}").is_file() for end in (".py", "/__main__.py")]
        return None if any(there) else "no such command"
    if span.startswith("--"):
        return option_fault(span.removeprefix("--").split()[0])
    first = span.split("/")[0]
    if "/" in span and first in TOP and not PLACEHOLDER.search(span):
        return None if any(ROOT.glob(span.rstrip("/"))) else "no such path"
    if (ROOT / span).is_file():
        return None
    module, _, rest = span.partition(".")
    if module in PACKAGES and rest and NAME.fullmatch(span):
        return dotted_fault(span)
    if span in options() or span in FOREIGN or not NAME.fullmatch(span):
        return None
    bare = span.split("(")[0]
    if bare in defined() or bare in words():
        return None
    if "." in bare and all(part in words() for part in bare.split(".")):
        return None if bare[0].islower() else "no such method"
    return "nothing of that name"


def option_fault(name: str) -> str | None:
    plain = name.replace("-", "_")
    command = any(f'"--{name}"' in text for text in sources().values())
    fields = any(re.search(rf"^    {plain}: ", text, re.M) for text in sources().values())
    return None if plain in options() or command or fields else "no such option"


def dotted_fault(span: str) -> str | None:
    """A dotted module, with or without a name in it."""
    path = ROOT / span.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return None
    module, _, name = span.rpartition(".")
    inside = f"{module.replace('.', '/')}.py"
    return None if inside in defined().get(name, set()) else "no such module or name"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_named_exists(page: Path) -> None:
    spans = [span for line in prose(page) for span in in_backticks(line)]
    assert {span: found for span in spans if (found := fault(span))} == {}


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_a_function_beside_a_file_is_in_one_of_that_row(page: Path) -> None:
    wrong = []
    for row in (line for line in prose(page) if line.startswith("| ")):
        *_, before, last = row.strip("| ").split(" | ")
        files = {span for span in in_backticks(before + last) if span.endswith(".py")}
        named = [span for span in in_backticks(last) if span in defined()]
        wrong += [(span, files) for span in named if files and not defined()[span] & files]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    assert targets
    for target in targets:
        if target.startswith(("http:", "https:")):
            continue
        name, _, heading = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), target
        assert not heading or heading in anchors(there), target


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def test_a_wrong_name_is_seen() -> None:
    for span in (
        "common/hyperfit/lopp.py", "python -m text.rnu", "common.measure.prob", "type_tokn_ratio",
        "--train.log_evry", "TrainingLoop.runs", "common.domain.Domian",
    ):  # fmt: skip
        assert fault(span), span
    for span in (
        "common/hyperfit/loop.py", "python -m text.run", "common.measure.probe", "judge(generated)",
        "--train.log_every 4", "TrainingLoop.run", "train.log_every", "metrics.json",
        "common.domain.Domain",
    ):  # fmt: skip
        assert fault(span) is None, span


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


def test_the_experiment_of_the_page_is_one(tmp_path: Path) -> None:
    """Its declaration plans cells, and its view judges them."""
    (declared,) = blocks("adding-an-experiment.md", "yaml")
    (view,) = blocks("adding-an-experiment.md", "python")
    shutil.copy(ROOT / "benchmarks/experiments/profiles.yaml", tmp_path)
    (tmp_path / "batch_size.yaml").write_text(declared, encoding="utf-8")
    (experiment,) = load_experiments(tmp_path)
    planned = experiment.cells("quick")
    assert [one.cell for one in planned[:2]] == ["text-4-seed0", "text-16-seed0"]
    assert planned[1].options["train.batch_size"] == 16
    namespace: dict[str, Any] = {"__name__": "batch_size"}
    exec(compile(view, "batch_size.py", "exec"), namespace)
    section = namespace["view"](gather(experiment, [made_up(one) for one in planned]))
    assert [finding.domain for finding in section.findings] == ["text", "image"]
    assert {finding.verdict for finding in section.findings} == {Verdict.NEW}
    assert len(section.tables) == 2


def test_the_measures_work_on_their_own() -> None:
    (code,) = blocks("measures.md", "python")
    ids = walks(12, seed=1)
    texts = [row.numpy() for row in ids]
    namespace: dict[str, Any] = {"sequences": texts, "continuations": texts, "ids": ids}
    namespace["model"] = untrained()
    exec(compile(code.replace("start=32", "start=4"), "own.py", "exec"), namespace)
    assert namespace["metrics"]["overlap_over_10"].mean == 1.0  # the training set itself
    assert namespace["sharp"].tokens == 12 * 28


def made_up(planned: Any) -> Cell:
    rng = random.Random(planned.cell)
    greedy = "hyperfitted-greedy/all"
    ttr = "ttr_96" if planned.domain == "text" else "code_ttr"
    return Cell(
        experiment=planned.experiment,
        cell=planned.cell,
        domain=planned.domain,
        profile=planned.profile,
        seed=planned.seed,
        axes=planned.axes,
        status="done",
        command="",
        config=planned.options,
        metrics={f"{greedy}/{ttr}": around(0.6, rng), f"{greedy}/rep_4": around(0.02, rng)},
        provenance={},
        seconds=1.0,
    )


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [page.name for page in DOCS if f"docs/{page.name}" not in readme] == []


def test_the_annotated_tree_is_true() -> None:
    """Folders of "Where things are" exist, and no chapter is left out."""
    text = (ROOT / "README.md").read_text("utf-8")
    (tree,) = re.findall(r"## Where things are\n.*?```\n(.*?)```", text, flags=re.S)
    named = set(re.findall(r"([a-z_]+)/", tree))
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    folders = {part for name in tracked for part in Path(name).parts[:-1]}
    if tracked:
        assert named <= folders
    chapters = {p.name for p in (ROOT / "common").iterdir() if (p / "__init__.py").is_file()}
    assert chapters | {*PACKAGES, "tests", "configs", "docs"} <= named
