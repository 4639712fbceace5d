"""Is the terminal expansion real? (P2) States of each block, before the final norm and after it."""

from __future__ import annotations

from typing import Any

from benchmarks.analyses.finished_run import FinishedRun
from benchmarks.analyses.measured import Measured, NoOptions, flat, read_options
from common.domain import Metrics
from common.geometry import LayerGeometry, compare_layers


def geometry(run: FinishedRun, other: FinishedRun | None, options: dict[str, Any]) -> Measured:
    """Distance and effective dimension of the states that predict the true continuations.

    Metrics: "first-block/...", "last-block/..." and "after-norm/..." of
    `common.geometry.LayerGeometry`. Series "by_layer": the same of every layer, with "layer",
    "relative_depth" and "after_norm".
    """
    read_options(NoOptions, options, analysis="geometry")
    layers = compare_layers(run.original, run.hyperfitted, run.truth_PT, first=run.first)
    named = {"first-block": layers[0], "last-block": layers[-2], "after-norm": layers[-1]}
    metrics = {
        f"{where}/{name}": value
        for where, layer in named.items()
        for name, value in _intervals(layer).items()
    }
    by_layer = [
        {
            "layer": layer.name,
            "relative_depth": layer.relative_depth,
            "after_norm": layer is layers[-1],
            **flat(_intervals(layer)),
        }
        for layer in layers
    ]
    return Measured(metrics=metrics, series={"by_layer": by_layer})


def _intervals(layer: LayerGeometry) -> Metrics:
    return {n: v for n, v in vars(layer).items() if n not in ("name", "relative_depth")}
