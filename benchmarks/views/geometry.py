"""Experiment 11: is the expansion in the last layers real (P2), before the final norm and after?"""

from __future__ import annotations

from functools import partial

from benchmarks.plots import small_line_chart
from benchmarks.views.draw import band
from benchmarks.views.groups import Evidence, Group, Value, is_above_level
from benchmarks.views.section import (
    DOMAINS,
    Judged,
    Section,
    Table,
    TableRow,
    make_table,
    settle,
)
from benchmarks.views.words import told
from common.charts import Series

PLACES = {"first-block": "first block", "last-block": "last block", "after-norm": "after the norm"}
COLUMNS = {
    "cosine": "cosine",
    "l2": "L2 distance",
    "relative_l2": "relative L2",
    "dimension_original": "dimension, original",
    "dimension_hyperfitted": "dimension, hyperfitted",
    "dimension_change": "change of dimension",
}
TUNE = "tune"
BLOCK, NORM = "last-block/dimension_change", "after-norm/dimension_change"


def view(evidence: Evidence) -> Section:
    findings, figures, tables = [], [], []
    for domain in evidence.domains:
        for group in evidence.with_metric(domain, BLOCK):
            needed = {
                "change of dimension before the norm": group.value(BLOCK),
                "change of dimension after the norm": group.value(NORM),
                "L2 distance, first block": group.value("first-block/l2"),
                "L2 distance, last block": group.value("last-block/l2"),
            }
            tuned = "all blocks tuned" if group.axes.get(TUNE) == "all" else ""
            rule = partial(_rule, f"{tuned}: " if tuned else "")
            findings.append(settle(domain, needed, rule, covered=domain == "text"))
            dimensions = [
                _line(group, "dimension_original", "original", 0),
                _line(group, "dimension_hyperfitted", "hyperfitted", 1),
            ]
            where = f"{DOMAINS[domain]}, {tuned}" if tuned else DOMAINS[domain]
            for series, title in (
                (dimensions, f"{where}: effective dimension"),
                ([_line(group, "cosine", "cosine", 0)], f"{where}: cosine of the states"),
                ([_line(group, "l2", "L2", 1)], f"{where}: L2 distance of the states"),
            ):
                figures.append(small_line_chart(series, title=title, x_label="relative depth"))
            rows = [
                TableRow(label=words, cells=[group.value(f"{place}/{c}") for c in COLUMNS])
                for place, words in PLACES.items()
            ]
            tables.append(make_table(f"{where}, states at", list(COLUMNS.values()), rows))
            tables.append(_layers(where, group))
    return Section(
        rule="Agrees when the effective dimension of the last states grows both before the final "
        "norm and after it; contradicts when it shrinks on either side.",
        findings=findings,
        figures=[figure for figure in figures if figure],
        tables=tables,
        notes=["Figures show the blocks, before the final norm; the table has both sides of it."],
    )


def _rule(tuned: str, block: Value, norm: Value, first_l2: Value, last_l2: Value) -> Judged:
    return [is_above_level(block, 0.0), is_above_level(norm, 0.0)], (
        f"{tuned}the effective dimension changes by {told(block)} in the last block and by "
        f"{told(norm)} after the final norm; the L2 distance goes from {told(first_l2)} in the "
        f"first block to {told(last_l2)} in the last"
    )


def _line(group: Group, field: str, label: str, colour: int) -> Series:
    """A field of every block against its depth."""
    return band(
        group, "by_layer", "relative_depth", field, label=label, colour=colour, after_norm=False
    )


def _layers(where: str, group: Group) -> Table:
    """All layers, from the series."""
    names = list(dict.fromkeys(r["layer"] for seed in group.series("by_layer") for r in seed))
    rows = [
        TableRow(
            label=name,
            cells=[group.recorded("by_layer", field, layer=name) for field in COLUMNS],
            subject=name == names[-1],
        )
        for name in names
    ]
    return make_table(f"{where}, every layer", list(COLUMNS.values()), rows, folded=True)
