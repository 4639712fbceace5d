"""Result files: what goes in comes out, and what is damaged is refused by name."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.suite.cells import Cell, differing, read_cell, read_cells, write_cell
from common.errors import UserError
from common.measure.intervals import Interval, point

CELL = Cell(
    experiment="data_quantity",
    cell="text-8-updates-seed0",
    domain="text",
    profile="quick",
    seed=0,
    axes={"sequences": 8, "budget": "updates"},
    status="done",
    command="python -m benchmarks.suite data_quantity --profile quick",
    config={"seed": 0, "data.train": ["a", "b"], "schedule.knee": None},
    metrics={"x/all/ttr_96": Interval(0.5, 0.4, 0.6, 32), "training/updates": point(7, 1)},
    series={"curve": [{"update": 0, "validation_loss": 3.5}]},
    provenance={"git_commit": "abc"},
    seconds=12.5,
)


def edited(folder: Path, **changes: Any) -> Path:
    path = write_cell(folder, CELL)
    record = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in record.items() if v != "gone"}))
    return path


def test_a_cell_comes_back_as_it_was(tmp_path: Path) -> None:
    path = write_cell(tmp_path, CELL)
    assert path == tmp_path / "quick" / "data_quantity" / "text-8-updates-seed0.json"
    assert read_cell(path) == CELL and read_cells(tmp_path) == [CELL]
    plain = json.loads(path.read_text())
    assert plain["schema"] == 1
    assert plain["metrics"]["x/all/ttr_96"] == {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 32}
    assert CELL.key == ("data_quantity", "text", (("budget", "updates"), ("sequences", 8)))
    failed = replace(CELL, cell="b", status="failed", error="no data", metrics={}, config={})
    write_cell(tmp_path, failed)
    assert read_cells(tmp_path) == [failed, CELL]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "expected schema 1 .* got 2"),
        ({"axes": "gone"}, "without axes"),
        ({"colour": "red"}, "unknown colour"),
        ({"metrics": {"a": {"mean": 1}}}, "metrics with mean, low, high and n"),
        ({"metrics": {"a": {"mean": math.nan, "low": None, "high": None, "n": 1}}}, "nan at .* a"),
        ({"series": {"curve": [{"loss": math.inf}]}}, "inf at .*curve, 0, loss"),
        ({"status": "failed"}, "failed one with its error"),
        ({"error": "why"}, "status 'done' with the error 'why'"),
        ({"cell": "other"}, "in the file of its name"),
    ],
)
def test_what_is_no_cell_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    path = edited(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        read_cells(tmp_path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", '{"schema": 1, "experiment": "da', "\x00"])
def test_a_cut_or_foreign_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cell.json"
    path.write_text(text)
    with pytest.raises(UserError, match="JSON object in .*cell.json"):
        read_cell(path)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="readable file"):
        read_cell(tmp_path / "cell.json")
    with pytest.raises(UserError, match="folder of results"):
        read_cells(tmp_path / "nowhere")


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_a_number_that_is_none_is_not_written(tmp_path: Path, bad: float) -> None:
    metrics = {**CELL.metrics, "bad": point(bad, 1)}
    with pytest.raises(UserError, match="finite numbers in a cell; got .* at .*bad"):
        write_cell(tmp_path, replace(CELL, metrics=metrics))
    assert not list(tmp_path.rglob("*.json"))


def test_one_cell_twice_is_refused(tmp_path: Path) -> None:
    write_cell(tmp_path / "one", CELL)
    write_cell(tmp_path / "two", replace(CELL, config=CELL.config | {"seed": 1}))
    with pytest.raises(UserError, match=r"one file for the cell quick/.*disagree on seed"):
        read_cells(tmp_path)
    write_cell(tmp_path / "two", CELL)
    with pytest.raises(UserError, match="which have one configuration"):
        read_cells(tmp_path)


def test_differing() -> None:
    assert differing({"a": 1, "b": None, "c": [1]}, {"a": 1, "c": [2], "d": 0}) == ["b", "c", "d"]
    assert differing({"a": None}, {"a": None}) == []
