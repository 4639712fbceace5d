"""Experiment 7: how few sequences are enough, at fixed updates and at fixed epochs.

P1 keeps the number of updates, so that fewer sequences are also seen more often: the two readings
of its figure are confounded. The second line holds the number of passes instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.plots import small_line_chart
from benchmarks.views.draw import trend
from benchmarks.views.groups import Evidence, Value, is_above
from benchmarks.views.section import (
    DOMAINS,
    Judged,
    Section,
    TableRow,
    make_table,
    opposite,
    settle,
)
from benchmarks.views.words import share, told
from common.charts import Level
from common.metric_names import metric_label

SIZE, BUDGET = "sequences", "budget"
ENOUGH = 16
"""P1: at 16 sequences the type-token ratio is still high, at 8 it is lower."""
BUDGETS = ("updates", "epochs")
COPIED = "overlap_over_10"


def view(evidence: Evidence) -> Section:
    findings, figures, tables = [], [], []
    for domain in evidence.domains:
        lines = {
            budget: sorted(
                (run for run in evidence.runs(domain) if run.axes.get(BUDGET) == budget),
                key=lambda run: run.axes[SIZE],
            )
            for budget in BUDGETS
        }
        runs = [run for line in lines.values() for run in line]
        if not runs:
            continue
        ttr = runs[0].ttr_name()
        fixed = {
            run.axes[SIZE]: run.decoded("hyperfitted-greedy", "ttr") for run in lines[BUDGETS[0]]
        }
        epochs = {
            run.axes[SIZE]: run.decoded("hyperfitted-greedy", "ttr") for run in lines[BUDGETS[1]]
        }
        few = max((size for size in fixed if size < ENOUGH), default=None)
        enough = min((size for size in fixed if size >= ENOUGH), default=None)
        most = max(fixed, default=None)
        needed = {
            f"TTR of fewer than {ENOUGH} sequences": fixed.get(few),
            f"TTR of {ENOUGH} sequences or a little more": fixed.get(enough),
            "TTR of the largest set": fixed.get(most),
        }
        original = runs[0].decoded("original-greedy", "ttr")
        least = min(fixed, default=None)
        alone = (least, fixed.get(least)) if least != few else None
        copied = {
            run.axes[SIZE]: run.decoded("hyperfitted-greedy", COPIED)
            for run in lines[BUDGETS[0]]
            if run.axes[SIZE] in (enough, most)
        }
        rule = partial(_rule, (few, enough, most), epochs.get(few), alone, original, copied)
        findings.append(settle(domain, needed, rule, covered=domain == "text"))
        for metric in (ttr, COPIED):
            series = [
                trend(
                    budget,
                    [(run.axes[SIZE], run.decoded("hyperfitted-greedy", metric)) for run in line],
                    colour=place,
                )
                for place, (budget, line) in enumerate(lines.items())
            ]
            before = runs[0].decoded("original-greedy", metric)
            figures.append(
                small_line_chart(
                    series,
                    title=f"{DOMAINS[domain]}: {metric_label(metric)}, at fixed updates or epochs",
                    x_label="training sequences",
                    log_x=True,
                    levels=[Level(y=before.mean, label="original")] if before else [],
                )
            )
        rows = [
            TableRow(
                label=f"{_sequences(run.axes[SIZE])}, fixed {run.axes[BUDGET]}",
                cells=[
                    run.value("training/updates"),
                    run.value("training/epochs"),
                    run.value("training/final_loss"),
                    *(run.decoded("hyperfitted-greedy", m) for m in (ttr, "rep_4", COPIED)),
                    run.probe("hyperfitted", "entropy_nats"),
                ],
            )
            for run in runs
        ]
        names = [metric_label(m) for m in (ttr, "rep_4", COPIED)]
        columns = ["updates", "epochs", "final training loss", *names, "entropy (nats)"]
        tables.append(make_table(DOMAINS[domain], columns, rows))
    return Section(
        rule=f"At fixed updates: agrees when the type-token ratio at about {ENOUGH} sequences is "
        "not below that of the largest set and that of fewer is; contradicts when it is the other "
        "way round. The line at fixed epochs says whether it is the number of updates instead.",
        findings=findings,
        figures=[figure for figure in figures if figure],
        tables=tables,
    )


def _sequences(count: Any) -> str:
    return f"{count} sequence{'' if count == 1 else 's'}"


def _rule(
    sizes: tuple[Any, Any, Any],
    epochs: Value | None,
    alone: tuple[Any, Value | None] | None,
    original: Value | None,
    copied: Mapping[Any, Value | None],
    few: Value,
    enough: Value,
    most: Value,
) -> Judged:
    # A grid without a size between them cannot tell.
    still_high = None if sizes[1] == sizes[2] else is_above(most, enough) is not True
    claims = [still_high, opposite(is_above(few, most))]
    by_size = dict(zip(sizes, (few, enough, most), strict=True))
    words = ", ".join(f"{told(value)} with {size}" for size, value in by_size.items())
    words = f"at fixed updates the greedy type-token ratio is {words} sequences"
    if alone is not None and alone[1] is not None:
        words += f", and {told(alone[1])} with {_sequences(alone[0])}"
    if original is not None:
        words += f" (original: {told(original)})"
    if epochs is not None:
        words += f"; at fixed epochs it is {told(epochs)} with {sizes[0]}"
    copies = [f"{share(value)} with {size}" for size, value in copied.items() if value is not None]
    if copies:
        words += f"; of the continuations, {' and '.join(copies)} sequences copy "
        words += "more than 10 tokens in a row"
    return claims, words
