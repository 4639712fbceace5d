"""Experiment 11: is the expansion in the last layers real, before the final norm and after?

P2 (Li et al., ICML 2026, arXiv 2605.22579) claims that the expansion happens in the last layers.
Where the lower blocks were frozen, that is so by construction. So only runs that tuned every block
of a text model test the claim. What is left of the expansion after the final norm is new here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.evidence.draw import band
from benchmarks.evidence.over_seeds import Evidence, Group, Value, is_above_level, opposite
from benchmarks.evidence.plots import small_line_chart
from benchmarks.evidence.section import (
    Judged,
    Part,
    Section,
    Table,
    TableRow,
    make_table,
    section_of,
    settle,
)
from benchmarks.evidence.words import shown
from common.report.charts import Series

PLACES = {"first-block": "first block", "last-block": "last block", "after-norm": "after the norm"}
COLUMNS = {
    "cosine": "cosine",
    "l2": "L2 distance",
    "relative_l2": "relative L2",
    "dimension_original": "dimension, original",
    "dimension_hyperfitted": "dimension, hyperfitted",
    "dimension_change": "change of dimension",
}
CLAIMS = {"text": "P2"}
TUNE = "tune"
BLOCK, NORM = "last-block/dimension_change", "after-norm/dimension_change"
LAYERS, CHANGE = "by_layer", "dimension_change"
HALF = 0.5
"""Of the depth, and of the last block's change: an expansion that has half of it there is early."""


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(group) for group in evidence.with_metric(BLOCK)],
        rule="Agrees when the effective dimension of the last block's states grows and less than "
        "half of that growth is there at half of the depth, so that it comes late; contradicts "
        "when it shrinks or comes early. The growth starts in the first block from which on every "
        "block's dimension is above the original's. P2's models had all blocks tuned, so runs with "
        "frozen blocks are no test of its claim. The rule after the final norm: the dimension "
        "grows there too.",
        notes=["Figures show the blocks, before the final norm; the table has both sides of it."],
    )


def _part(group: Group) -> Part:
    tuned = "all blocks tuned" if group.axes.get(TUNE) == "all" else ""
    head = f"{tuned}: " if tuned else ""
    where = f"{group.domain_title}, {tuned}" if tuned else group.domain_title
    frozen = frozen_blocks(group)
    before_norm = {
        "change of dimension before the norm": group.value(BLOCK),
        "change of dimension at half of the depth": at_half(group),
        "L2 distance, first block": group.value("first-block/l2"),
        "L2 distance, last block": group.value("last-block/l2"),
    }
    after_norm = {
        "change of dimension before the norm": group.value(BLOCK),
        "change of dimension after the norm": group.value(NORM),
    }
    rule = partial(_rule, head, block_changes(group), frozen)
    claim = None if frozen else CLAIMS.get(group.domain)
    dimensions = [
        _line(group, "dimension_original", "original", 0),
        _line(group, "dimension_hyperfitted", "hyperfitted", 1),
    ]
    charts = {
        "effective dimension": dimensions,
        "cosine of the states": [_line(group, "cosine", "cosine", 0)],
        "L2 distance of the states": [_line(group, "l2", "L2", 1)],
    }
    rows = [
        TableRow(label=words, cells=[group.value(f"{place}/{c}") for c in COLUMNS])
        for place, words in PLACES.items()
    ]
    return Part(
        findings=[
            settle(group.domain, before_norm, rule, claim=claim),
            settle(group.domain, after_norm, partial(_after_norm, head), claim=None),
        ],
        figures=[
            small_line_chart(series, title=f"{where}: {what}", x_label="relative depth")
            for what, series in charts.items()
        ],
        tables=[
            make_table(f"{where}, states at", list(COLUMNS.values()), rows),
            _layers(where, group),
        ],
    )


def _of_blocks(group: Group) -> list[dict[str, Any]]:
    """The records of the blocks of one seed, in order, without the state after the norm."""
    seeds = group.series(LAYERS)
    return [record for record in seeds[0] if not record["after_norm"]] if seeds else []


def block_changes(group: Group) -> list[Value]:
    """Change of the effective dimension of every block, in order."""
    found = (group.recorded(LAYERS, CHANGE, layer=r["layer"]) for r in _of_blocks(group))
    return [value for value in found if value is not None]


def frozen_blocks(group: Group) -> int:
    """How many of the first blocks are the original's own, for their states did not move at all."""
    moved = (group.recorded(LAYERS, "l2", layer=r["layer"]) for r in _of_blocks(group))
    return sum(1 for value in moved if value is not None and value.mean == 0)


def at_half(group: Group) -> Value | None:
    """Change of the effective dimension in the last block of the first half of the depth."""
    half = [record for record in _of_blocks(group) if record["relative_depth"] <= HALF]
    return group.recorded(LAYERS, CHANGE, layer=half[-1]["layer"]) if half else None


def start_of(blocks: list[Value]) -> int | None:
    """The first block, from 1, from which on every change is above 0; None if the last is not."""
    start = None
    for place in range(len(blocks), 0, -1):
        if not is_above_level(blocks[place - 1], 0.0):
            break
        start = place
    return start


def _rule(
    head: str,
    blocks: list[Value],
    frozen: int,
    block: Value,
    half: Value,
    first_l2: Value,
    last_l2: Value,
) -> Judged:
    start = start_of(blocks)
    words = f"{head}the effective dimension changes by {shown(block)} in the last block"
    words += f" and by {shown(half)} at half of the depth; "
    words += (
        "no growth that lasts to the last block can be told"
        if start is None
        else (f"the growth starts in block {start} of {len(blocks)}")
    )
    if frozen:
        words += f", late by construction, for the first {frozen} are frozen"
    words += (
        f"; the L2 distance goes from {shown(first_l2)} in the first block to {shown(last_l2)} in "
        "the last"
    )
    late = opposite(is_above_level(half, HALF * block.mean))
    return [is_above_level(block, 0.0), late], words


def _after_norm(head: str, block: Value, norm: Value) -> Judged:
    return [is_above_level(norm, 0.0)], (
        f"{head}after the final norm the effective dimension changes by {shown(norm)}, before it "
        f"by {shown(block)}"
    )


def _line(group: Group, field: str, label: str, colour: int) -> Series:
    """A field of every block against its depth."""
    return band(
        group, LAYERS, "relative_depth", field, label=label, colour=colour, after_norm=False
    )


def _layers(where: str, group: Group) -> Table:
    """All layers, from the series."""
    names = list(dict.fromkeys(r["layer"] for seed in group.series(LAYERS) for r in seed))
    rows = [
        TableRow(
            label=name,
            cells=[group.recorded(LAYERS, field, layer=name) for field in COLUMNS],
            subject=name == names[-1],
        )
        for name in names
    ]
    return make_table(f"{where}, every layer", list(COLUMNS.values()), rows, folded=True)
