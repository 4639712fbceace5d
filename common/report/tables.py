"""The numbers of a run as rows of text: conditions, probe, provenance, definitions.

All values of a column have the same number of decimals, for easy comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.report.names import (
    condition_definition,
    condition_label,
    in_order,
    metric_definition,
    metric_label,
)
from common.report.presentation import Presentation


def condition_tables(
    conditions: Mapping[str, Any], *, first: Sequence[str] = (), reference: str | None = None
) -> list[dict[str, Any]]:
    """One table per prompt set, "all" first: rows of cells with text, interval and highlight.

    If there is only one prompt set it equals the pool "all" and gets no table of its own.

    Args:
        conditions: of `metrics.json`.
        first: metrics that come before the others.
        reference: the condition to which the highlighted control is nearest.
    """
    sets = dict.fromkeys(name for by_set in conditions.values() for name in by_set)
    tables = []
    for prompt_set in sorted(sets, key=lambda name: name != "all"):
        measured = {
            c: by_set[prompt_set] for c, by_set in conditions.items() if prompt_set in by_set
        }
        if prompt_set != "all" and all(c["all"] == c.get(prompt_set) for c in conditions.values()):
            continue
        names = in_order(name for values in measured.values() for name in values)
        metrics = [*(m for m in first if m in names), *(m for m in names if m not in first)]
        decimals = {
            m: _decimals([v[m]["mean"] for v in measured.values() if m in v]) for m in metrics
        }
        best = {metric: _best_controls(measured, metric, reference) for metric in metrics}
        rows = []
        for condition, values in measured.items():
            cells = [
                _cell(values.get(m), decimals[m], highlighted=condition in best[m]) for m in metrics
            ]
            rows.append({"name": condition, "n": _n_range(values.values()), "cells": cells})
        tables.append({"name": prompt_set, "metrics": metrics, "rows": rows})
    return tables


def across_table(across_samples: Mapping[str, Any]) -> dict[str, Any] | None:
    """Diversity across the samples of one prompt, a row per condition; None if not measured."""
    if not across_samples:
        return None
    (table,) = condition_tables({name: {"all": found} for name, found in across_samples.items()})
    return {**table, "name": "across samples"}


def _best_controls(measured: Mapping[str, Any], metric: str, reference: str | None) -> set[str]:
    """Conditions without hyperfitting whose value is nearest to the reference; none if all tie."""
    if reference is None or metric not in measured.get(reference, {}):
        return set()
    goal = measured[reference][metric]["mean"]
    distances = {
        condition: abs(values[metric]["mean"] - goal)
        for condition, values in measured.items()
        if condition.startswith(("original", "early-stopped")) and metric in values
    }
    nearest = min(distances.values(), default=0.0)
    best = {c for c, distance in distances.items() if math.isclose(distance, nearest)}
    return best if len(best) < len(distances) else set()


def _cell(value: Mapping[str, Any] | None, decimals: int, *, highlighted: bool) -> dict[str, Any]:
    """Texts of one cell; a dash for a value that was not measured."""
    if value is None:
        return {"text": "—", "interval": "", "highlighted": False}
    low, high = value["low"], value["high"]
    return {
        "text": f"{value['mean']:,.{decimals}f}",
        "interval": "" if low is None else f"{low:,.{decimals}f}–{high:,.{decimals}f}",
        "highlighted": highlighted,
    }


def _n_range(values: Iterable[Mapping[str, Any]]) -> str:
    counts = sorted({value["n"] for value in values})
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


def _decimals(values: Sequence[float]) -> int:
    """Decimals for a whole column: none for counts, three for shares."""
    if all(float(value).is_integer() for value in values) and max(values, default=0) > 1:
        return 0
    largest = max((abs(value) for value in values), default=0.0)
    return 3 if largest <= 1 else 2 if largest < 10 else 1 if largest < 1000 else 0


def probe_table(probe: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One row per model; a measure that is missing or overflowed is a dash."""
    measures = in_order(name for row in probe.values() for name in row if name != "intervals")
    columns = {m: [row[m] for row in probe.values() if row.get(m) is not None] for m in measures}
    decimals = {measure: _decimals(column) for measure, column in columns.items()}
    rows = []
    for model, values in probe.items():
        cells = []
        for measure in measures:
            mean, interval = values.get(measure), values["intervals"].get(measure)
            ends = {"low": None, "high": None} if interval is None else interval
            value = None if mean is None else {**ends, "mean": mean}
            cells.append(_cell(value, decimals[measure], highlighted=False))
        rows.append({"name": model, "cells": cells})
    return {"measures": measures, "rows": rows}


def provenance_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(key, text) of each entry."""
    rows = []
    for key, value in provenance.items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{name} {number or 'absent'}" for name, number in value.items())
        elif isinstance(value, list):
            text = " ".join(str(part) for part in value)
        else:
            text = "unknown" if value is None else str(value)
        rows.append((key.replace("_", " "), text))
    return rows


def definition_rows(metrics: Mapping[str, Any], shown: Presentation) -> list[tuple[str, str]]:
    """(term, definition) of every metric, probe measure and condition on the page that has one.

    Args:
        metrics: the content of `metrics.json`.
        shown: what the domain says about its metrics and conditions takes precedence.
    """
    conditions, across = metrics["conditions"], metrics.get("across_samples", {})
    names = in_order(
        [
            *(name for values in across.values() for name in values),
            *(name for sets in conditions.values() for values in sets.values() for name in values),
            *(name for row in metrics["probe"].values() for name in row if name != "intervals"),
        ]
    )
    measures = [
        (shown.labels.get(n) or metric_label(n), shown.definitions.get(n) or metric_definition(n))
        for n in names
    ]
    methods = metrics.get("methods")
    described = [
        (condition_label(c, methods), shown.conditions.get(c) or condition_definition(c, methods))
        for c in [*conditions, *(c for c in across if c not in conditions)]
    ]
    return [(term, line) for term, line in [*measures, *described] if line]
