"""What a finished run measured, as the metrics and series of a cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from common.measure.intervals import Interval, point
from common.record.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one run.

    Attributes:
        metrics: "CONDITION/PROMPT SET or all/METRIC", "probe/MODEL/MEASURE", "training/FIGURE".
        series: "curve", a record per validation with the training loss of that moment;
            "training", one record with the outcome, which is no number.
        provenance: of the run.
        seconds: of the run, start to report.
    """

    metrics: dict[str, Interval]
    series: dict[str, list[dict[str, Any]]]
    provenance: dict[str, Any]
    seconds: float


def figures(folder: Path, *, keep: Sequence[str] = ("*",)) -> Figures:
    """Read a finished run.

    Args:
        folder: of the run.
        keep: shell patterns of the metrics' names; any of them.

    Raises:
        UserError: no finished run, or a damaged history.
    """
    run = RunFolder(folder)
    found = run.read_metrics()
    training = found["training"]
    metrics = dict(_conditions(found)) | dict(_probe(found)) | dict(_training(training))
    return Figures(
        metrics={
            name: value
            for name, value in metrics.items()
            if any(fnmatchcase(name, pattern) for pattern in keep)
        },
        series={
            "curve": curve(run.read_history()),
            "training": [{name: training[name] for name in ("outcome", "message")}],
        },
        provenance=found["provenance"],
        seconds=training["total_seconds"],
    )


def curve(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The validations of a run, each with the mean batch loss of the log line at its update.

    The first, before any update, has no training loss. A repeated one, as at the end of a run,
    counts once.
    """
    losses = {r["update"]: r.get("train_loss") for r in history if r["kind"] == "update"}
    validated = {r["update"]: r for r in history if r["kind"] == "epoch"}
    points = []
    for update, record in sorted(validated.items()):
        own = {name: value for name, value in record.items() if name != "kind"}
        if losses.get(update) is not None:
            own["train_loss"] = losses[update]
        points.append(own)
    return points


def _conditions(found: dict[str, Any]) -> Iterator[tuple[str, Interval]]:
    for condition, sets in found["conditions"].items():
        for prompts, metrics in sets.items():
            for name, value in metrics.items():
                yield f"{condition}/{prompts}/{name}", Interval(**value)


def _probe(found: dict[str, Any]) -> Iterator[tuple[str, Interval]]:
    """A measure without an interval, such as a median, is a point; an overflow is left out."""
    for model, measures in found["probe"].items():
        intervals = measures["intervals"]
        n = intervals["loss_nats"]["n"]
        for name, value in measures.items():
            if name in intervals:
                yield f"probe/{model}/{name}", Interval(**intervals[name])
            elif isinstance(value, (int, float)):
                yield f"probe/{model}/{name}", point(value, n)


def _training(training: dict[str, Any]) -> Iterator[tuple[str, Interval]]:
    for name, value in training.items():
        if isinstance(value, (int, float)) and math.isfinite(value):
            yield f"training/{name}", point(value, 1)
    yield "training/reached", point(training["outcome"] == "reached", 1)
