"""Experiment 9: does a fixed offset on the logits do what hyperfitting does?

The control is that of P2 (Li et al., ICML 2026, arXiv 2605.22579).
"""

from __future__ import annotations

from functools import partial

from benchmarks.evidence.copied import COPIED, by_ttr, copied_clause
from benchmarks.evidence.draw import trend
from benchmarks.evidence.over_seeds import Evidence, Group, Value, is_above
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
from benchmarks.evidence.words import shown
from common.report.charts import Level
from common.report.names import metric_label

CLAIMS = {"text": "P2"}
PREFIX = "injected-"


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(group) for group in evidence.groups],
        rule="Agrees when the best strength stays below the hyperfitted model's greedy type-token "
        "ratio; contradicts when it goes above it.",
        notes=["The offset is estimated on one half of the prompts and tried on the other."],
    )


def _part(group: Group) -> Part:
    strengths = strengths_of(group)
    by_strength = {s: group.decoded(f"{PREFIX}{s:g}", "ttr") for s in strengths}
    best = max(
        (s for s, value in by_strength.items() if value),
        key=lambda s: _mean(by_strength[s]),
        default=None,
    )
    needed = {
        "TTR of the original": group.decoded("original-greedy", "ttr"),
        "TTR with an offset": None if best is None else by_strength[best],
        "TTR of the hyperfitted": group.decoded("hyperfitted-greedy", "ttr"),
        "share that is copied": group.decoded("hyperfitted-greedy", COPIED),
    }
    metrics = [group.ttr_name(), "rep_2", "rep_4", "equal_share"]
    names = ["original-greedy", *(f"{PREFIX}{s:g}" for s in strengths), "hyperfitted-greedy"]
    rows = [
        TableRow(
            label=name.replace(PREFIX, "offset times ").replace("-", ", "),
            cells=[group.decoded(name, metric) for metric in metrics],
            subject=name == "hyperfitted-greedy",
        )
        for name in names
    ]
    columns = [*(metric_label(m) for m in metrics[:-1]), "tokens as in the original"]
    claim = CLAIMS.get(group.domain)
    return Part(
        findings=[settle(group.domain, needed, partial(_rule, best), claim=claim)],
        figures=[_figure(group, by_strength)],
        tables=[make_table(f"{group.domain_title}, greedy", columns, rows)],
    )


def strengths_of(group: Group) -> list[float]:
    """The strengths that were tried, in order."""
    names = (name for name in group.conditions() if name.startswith(PREFIX))
    return sorted(float(name.removeprefix(PREFIX)) for name in names)


def _mean(value: Value | None) -> float:
    assert value is not None
    return value.mean


def _rule(
    strength: float | None, original: Value, injected: Value, hyperfitted: Value, copied: Value
) -> Judged:
    assert strength is not None, "without a strength nothing is settled"
    return [by_ttr(is_above(hyperfitted, injected), copied)], (
        f"the best offset, times {strength:g}, brings the greedy type-token ratio from "
        f"{shown(original)} to {shown(injected)}, hyperfitting to {shown(hyperfitted)}"
        f"{copied_clause({'': copied})}"
    )


def _figure(group: Group, by_strength: dict[float, Value | None]) -> str:
    original = group.decoded("original-greedy", "ttr")
    hyperfitted = group.decoded("hyperfitted-greedy", "ttr")
    ttr = trend("injected", [(0.0, original), *by_strength.items()], colour=0)
    repeats = [(s, group.decoded(f"{PREFIX}{s:g}", "rep_4")) for s in by_strength]
    start = (0.0, group.decoded("original-greedy", "rep_4"))
    return small_line_chart(
        [ttr, trend("rep-4", [start, *repeats], colour=1)],
        title=f"{group.domain_title}: {metric_label(group.ttr_name())} and rep-4, greedy",
        x_label="strength of the offset",
        levels=[Level(y=hyperfitted.mean, label="hyperfitted")] if hyperfitted else [],
    )
