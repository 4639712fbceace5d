"""One finished cell of an experiment as one JSON file, written whole and read with suspicion.

    benchmarks/results/suite/<profile>/<experiment>/<cell>.json

A cell holds what it measured, with intervals, and everything that makes it again. The report is
built from these files alone, so a file that is damaged, of another schema or not a number
anywhere is refused by name instead of becoming a hole in a table.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn

from common.errors import UserError
from common.measure.intervals import Interval
from common.tools.files import atomic_write_text, writing

SCHEMA_VERSION = 1
Axes = dict[str, str | int | float]
Key = tuple[str, str, tuple[tuple[str, str | int | float], ...]]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one cell measured.

    Attributes:
        experiment: its name.
        cell: name of the file, without its suffix.
        domain: text or image.
        profile: quick, full, ...
        seed: of the run.
        axes: what varies within the experiment; empty where nothing does.
        status: "failed" cells have an error and no figures.
        error: one line, or None.
        command: what makes the cell again.
        config: whole configuration of the run by dotted option; "suite." options say what was
            made of the run.
        metrics: name -> value with its interval.
        series: name -> records, for figures.
        provenance: of `common.record.provenance`.
        seconds: of the run, or of the analysis where the cell is one.
    """

    experiment: str
    cell: str
    domain: str
    profile: str
    seed: int
    axes: Axes
    status: Literal["done", "failed"]
    error: str | None = None
    command: str
    config: dict[str, Any]
    metrics: dict[str, Interval] = field(default_factory=dict)
    series: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def key(self) -> Key:
        """What the cells of all seeds and profiles have in common."""
        return self.experiment, self.domain, tuple(sorted(self.axes.items()))


def cell_path(folder: Path, *, profile: str, experiment: str, cell: str) -> Path:
    """Where a cell lies below the folder of results."""
    return folder / profile / experiment / f"{cell}.json"


def write_cell(folder: Path, cell: Cell) -> Path:
    """Write a cell below `folder`, replacing an earlier one of its name.

    Raises:
        UserError: a number that is not finite, or the disk is full or read-only.
    """
    path = cell_path(folder, profile=cell.profile, experiment=cell.experiment, cell=cell.cell)
    record = {"schema": SCHEMA_VERSION} | asdict(cell)
    record["metrics"] = {name: value.to_json() for name, value in cell.metrics.items()}
    _check_finite(record, str(path))
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, "\n".join(_lines(record)) + "\n")
    return path


def read_cell(path: Path) -> Cell:
    """One cell.

    Raises:
        UserError: not readable, cut short, not JSON, another schema, a number that is not finite,
            or fields that are missing, unknown or of another kind.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        _refuse(path, "a readable file", f"{error.strerror}", "check its permissions")
    except ValueError as error:
        _refuse(path, "one whole JSON object", f"{error}", "delete it and run the suite again")
    if not isinstance(record, dict):
        _refuse(path, "a JSON object", f"a {type(record).__name__}", "delete it")
    schema = record.pop("schema", None)
    if schema != SCHEMA_VERSION:
        _refuse(
            path,
            f"schema {SCHEMA_VERSION}",
            f"{schema!r}",
            "read it with the version that wrote it, or make it again",
        )
    _check_finite(record, str(path))
    expected = {entry.name for entry in fields(Cell)}
    for wrong, names in (
        ("without", expected - record.keys()),
        ("with the unknown", record.keys() - expected),
    ):
        if names:
            got = f"one {wrong} {', '.join(sorted(names))}"
            _refuse(path, "a cell with the fields of schema 1", got, "make it again")
    try:
        metrics = {name: Interval(**value) for name, value in record["metrics"].items()}
    except (TypeError, AttributeError):
        _refuse(path, "metrics with mean, low, high and n", "something else", "make it again")
    values: dict[str, Any] = record | {"metrics": metrics}
    cell = Cell(**values)
    if cell.status not in ("done", "failed") or (cell.status == "failed") != bool(cell.error):
        got = f"status {cell.status!r} with the error {cell.error!r}"
        _refuse(path, "a done cell, or a failed one with its error", got, "make it again")
    if path.stem != cell.cell:
        _refuse(path, "a cell in the file of its name", f"{cell.cell!r}", "rename the file")
    return cell


def read_cells(folder: Path) -> list[Cell]:
    """Every cell below `folder`, at any depth, in the order of their paths.

    Raises:
        UserError: no such folder, a file that is no cell, or one cell twice, as when results of
            two machines were put together.
    """
    if not os.path.isdir(folder):
        raise UserError(
            expected="a folder of results",
            got=f"{str(folder)!r}, which is none",
            fix="run python -m benchmarks.suite first, or correct the path",
        )
    found: dict[tuple[str, str, str], tuple[Path, Cell]] = {}
    # Unlike rglob, this passes over folders that vanish meanwhile.
    walked = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    for path in sorted(path for path in walked if path.suffix == ".json"):
        cell = read_cell(path)
        name = cell.profile, cell.experiment, cell.cell
        if name in found:
            first, other = found[name]
            changed = differing(other.config, cell.config)
            disagree = f"disagree on {', '.join(changed)}" if changed else "have one configuration"
            raise UserError(
                expected=f"one file for the cell {'/'.join(name)}",
                got=f"{first} and {path}, which {disagree}",
                fix="delete one of them",
            )
        found[name] = path, cell
    return [cell for _, cell in found.values()]


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Options whose values differ, or that one of the two lacks."""
    missing = object()
    return sorted(
        name
        for name in one.keys() | other.keys()
        if one.get(name, missing) != other.get(name, missing)
    )


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    """JSON with a line for each metric and record: small, and a diff of it can be read."""
    entries = list(record.items())
    yield "{"
    for number, (name, value) in enumerate(entries):
        comma = "," if number < len(entries) - 1 else ""
        if name in ("metrics", "config") and value:
            inner = ",\n".join(f"  {json.dumps(k)}: {_dumps(v)}" for k, v in value.items())
            yield f" {json.dumps(name)}: {{\n{inner}\n }}{comma}"
        else:
            yield f" {json.dumps(name)}: {_dumps(value)}{comma}"
    yield "}"


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _check_finite(value: Any, where: str) -> None:
    """Refuse NaN and infinity at any depth, by name."""
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(
            expected="finite numbers in a cell",
            got=f"{value} at {where}",
            fix="find out what measured it; no figure is made of it",
        )
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_finite(inner, f"{where}: {name}" if ": " not in where else f"{where}, {name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            _check_finite(inner, f"{where}, {number}")


def _refuse(path: Path, expected: str, got: str, fix: str) -> NoReturn:
    raise UserError(expected=f"{expected} in {str(path)!r}", got=got, fix=fix)
