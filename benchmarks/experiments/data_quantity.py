"""Experiment 7: how few sequences are enough, at fixed updates and at fixed epochs.

P1 keeps the number of updates, so that fewer sequences are also seen more often: the two readings
of its figure are confounded. The second line holds the number of passes instead, which is new here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from benchmarks.domains import DOMAINS
from benchmarks.evidence.copied import COPIED, by_ttr, copies_told
from benchmarks.evidence.draw import trend
from benchmarks.evidence.over_seeds import Evidence, Group, Value, is_above, is_above_level
from benchmarks.evidence.plots import small_line_chart
from benchmarks.evidence.section import (
    Judged,
    Section,
    TableRow,
    make_table,
    settle,
)
from benchmarks.evidence.words import relation, told
from common.report.charts import Level
from common.report.names import metric_label

CLAIMS = {"text": "P1 6.3"}
SIZE, BUDGET = "sequences", "budget"
ENOUGH = 16
"""P1: at 16 sequences the type-token ratio is still high, at 8 it is lower."""
HALF = 0.5
"""Of what the largest set gains over the original, for "still high"."""
BUDGETS = ("updates", "epochs")


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
        by_size = {run.axes[SIZE]: run for run in lines[BUDGETS[0]]}
        few = max((size for size in by_size if size < ENOUGH), default=None)
        enough = min((size for size in by_size if size >= ENOUGH), default=None)
        most = max(by_size, default=None)
        judged = {
            f"fewer than {ENOUGH} sequences": few,
            f"{ENOUGH} sequences or a little more": enough,
            "the largest set": most,
        }
        needed = {"TTR of the original": runs[0].decoded("original-greedy", "ttr")}
        for metric, name in (("ttr", "TTR"), (COPIED, "share that is copied")):
            needed |= {
                f"{name}, {words}": _greedy(by_size.get(size), metric)
                for words, size in judged.items()
            }
        least = min(by_size, default=None)
        alone = None if least in judged.values() else by_size.get(least)
        rule = partial(_rule, (few, enough, most), alone)
        findings.append(settle(domain, needed, rule, claim=CLAIMS.get(domain)))
        passes = {run.axes[SIZE]: run for run in lines[BUDGETS[1]]}
        needed = {
            f"{name} at fixed {budget}, {words}": _greedy(line.get(size), metric)
            for metric, name in (("ttr", "TTR"), (COPIED, "share that is copied"))
            for budget, line in zip(BUDGETS, (by_size, passes), strict=True)
            for words, size in list(judged.items())[:2]
        }
        findings.append(settle(domain, needed, partial(_budgets, (few, enough)), claim=None))
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
                    title=f"{DOMAINS[domain].title}: {metric_label(metric)}, at fixed updates or "
                    "epochs",
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
        tables.append(make_table(DOMAINS[domain].title, columns, rows))
    return Section(
        rule="At fixed updates: agrees when the type-token ratio at about "
        f"{ENOUGH} sequences is more than half as far above the original's as that of the largest "
        "set, so still high, and is above that of fewer; contradicts when one of both is the other "
        "way round. The same numbers of sequences at fixed epochs stand beside it.",
        findings=findings,
        figures=[figure for figure in figures if figure],
        tables=tables,
    )


def _sequences(count: Any) -> str:
    return f"{count} sequence{'' if count == 1 else 's'}"


def _greedy(run: Group | None, metric: str) -> Value | None:
    return None if run is None else run.decoded("hyperfitted-greedy", metric)


def _rule(
    sizes: tuple[Any, Any, Any], alone: Group | None, original: Value, *measured: Value
) -> Judged:
    (few, enough, most), copied = measured[:3], measured[3:]
    high = original.mean + HALF * max(0.0, most.mean - original.mean)
    # A grid without a larger set than about 16 sequences cannot tell.
    still_high = None if sizes[1] == sizes[2] else is_above_level(enough, high)
    parts = [by_ttr(still_high, *copied[1:]), by_ttr(is_above(enough, few), *copied[:2])]
    by_size = dict(zip(sizes, (few, enough, most), strict=True))
    shares = {f"with {size}": value for size, value in zip(sizes, copied, strict=True)}
    words = ", ".join(f"{told(value)} with {size}" for size, value in by_size.items())
    words = f"at fixed updates the greedy type-token ratio is {words} sequences"
    ttr, share = _greedy(alone, "ttr"), _greedy(alone, COPIED)
    if alone is not None and ttr is not None:
        words += f", and {told(ttr)} with {_sequences(alone.axes[SIZE])}"
        shares |= {f"with {alone.axes[SIZE]}": share} if share is not None else {}
    words += f" (original: {told(original)})"
    return parts, words + copies_told(shares)


def _budgets(sizes: tuple[Any, Any], *measured: Value) -> Judged:
    few, enough = sizes
    ttrs, copied = measured[:4], measured[4:]
    told_by, shares = [], {}
    for place, budget in enumerate(BUDGETS):
        low, high = ttrs[2 * place : 2 * place + 2]
        compared = relation(
            is_above(high, low),
            subject=f"the greedy type-token ratio with {enough} sequences, {told(high)},",
            other=f"that with {few}, {told(low)}",
        )
        told_by.append(f"at fixed {budget} {compared}")
        shares |= {
            f"with {size} at fixed {budget}": copied[2 * place + i] for i, size in enumerate(sizes)
        }
    return [], "; ".join(told_by) + copies_told(shares)
