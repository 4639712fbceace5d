"""Experiment 10: how often is the greedy choice not the original's first?

The measure is that of P2 (Li et al., ICML 2026, arXiv 2605.22579).
"""

from __future__ import annotations

from functools import partial

from benchmarks.evidence.draw import band
from benchmarks.evidence.over_seeds import Evidence, Group, Value, is_above_level
from benchmarks.evidence.plots import small_line_chart
from benchmarks.evidence.section import (
    Judged,
    Part,
    Section,
    TableRow,
    make_table,
    section_of,
    settle,
)
from benchmarks.evidence.words import number, share

CLAIMS = {"text": "P2"}
PATHS = {
    "hyperfitted-path": "what it writes itself",
    "true-path": "what really followed",
    "original-path": "what the original writes",
}
SHIFTED, FAR = "hyperfitted-path/shifted_share", "hyperfitted-path/far_share"
PAPER = {SHIFTED: 0.391, FAR: 0.129}
"""P2, TinyLlama: decisions that are not the original's first, and from rank above 10."""
ENOUGH = 0.5
"""Of the paper's figure, since the models differ so in size."""


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(group) for group in evidence.with_metric(SHIFTED)],
        rule="Agrees when both shares, along what the hyperfitted model writes, reach half of P2's "
        "(39.1 and 12.9 %), for the claim is that ranks change and are not only sharpened; "
        "contradicts when one does not.",
        notes=["Ranks in the original's distribution; in the table 0 is its first choice."],
    )


def _part(group: Group) -> Part:
    needed = {
        "share that is not the first": group.value(SHIFTED),
        "share from rank above 10": group.value(FAR),
    }
    rule = partial(_rule, group.value("hyperfitted-path/rank_median"))
    lines = {
        "hyperfitted_path_shifted_share": "not first",
        "hyperfitted_path_far_share": "rank > 10",
        "true_path_shifted_share": "what really followed",
    }
    figure = small_line_chart(
        [
            band(group, "by_position", "position", field, label=label, colour=colour)
            for colour, (field, label) in enumerate(lines.items())
        ],
        title=f"{group.domain_title}: share of decisions",
        x_label="new token",
    )
    rows = [
        TableRow(
            label=words,
            cells=[
                group.value(f"{path}/{name}")
                for name in ("shifted_share", "far_share", "rank_mean", "rank_median")
            ],
        )
        for path, words in PATHS.items()
    ]
    columns = ["not the first", "rank above 10", "mean rank", "median rank"]
    return Part(
        findings=[settle(group.domain, needed, rule, claim=CLAIMS.get(group.domain))],
        figures=[figure],
        tables=[make_table(f"{group.domain_title}, along", columns, rows)],
    )


def _rule(median: Value | None, shifted: Value, far: Value) -> Judged:
    words = (
        f"{share(shifted)} of the hyperfitted model's greedy decisions are not the original's "
        f"first choice, {share(far)} come from rank above 10"
    )
    if median is not None:
        words += f" (median rank {number(median.mean)}, where 0 is the first)"
    parts = {SHIFTED: shifted, FAR: far}
    return [is_above_level(value, ENOUGH * PAPER[name]) for name, value in parts.items()], words
