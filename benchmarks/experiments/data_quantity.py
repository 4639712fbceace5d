"""Experiment 7: how few sequences are enough, at fixed updates and at fixed epochs.

P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318) fixes the number of updates, so a smaller set is
also seen more often, and its figure confounds the two. The second line fixes the number of passes
over the set instead, which is new here.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from benchmarks.evidence.copied import COPIED, by_ttr, copied_clause
from benchmarks.evidence.draw import trend
from benchmarks.evidence.over_seeds import Evidence, Group, Value, is_above, is_above_level
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
from benchmarks.evidence.words import relation, shown
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
    return section_of(
        [_part(runs) for runs in evidence.runs(BUDGET).values()],
        rule="At fixed updates: agrees when the type-token ratio at about "
        f"{ENOUGH} sequences is more than half as far above the original's as that of the largest "
        "set, so still high, and is above that of fewer; contradicts when one of both is the other "
        "way round. The same numbers of sequences at fixed epochs stand beside it.",
    )


def _part(runs: list[Group]) -> Part:
    lines = {
        budget: sorted(
            (run for run in runs if run.axes[BUDGET] == budget), key=lambda run: run.axes[SIZE]
        )
        for budget in BUDGETS
    }
    by_size, passes = ({run.axes[SIZE]: run for run in lines[budget]} for budget in BUDGETS)
    few = max((size for size in by_size if size < ENOUGH), default=None)
    enough = min((size for size in by_size if size >= ENOUGH), default=None)
    most = max(by_size, default=None)
    judged = {
        f"fewer than {ENOUGH} sequences": few,
        f"{ENOUGH} sequences or a little more": enough,
        "the largest set": most,
    }
    measures = (("ttr", "TTR"), (COPIED, "share that is copied"))
    needed = {"TTR of the original": runs[0].decoded("original-greedy", "ttr")}
    needed |= {
        f"{name}, {words}": _greedy(by_size.get(size), metric)
        for metric, name in measures
        for words, size in judged.items()
    }
    least = min(by_size, default=None)
    alone = None if least in judged.values() else by_size.get(least)
    at_budgets = {
        f"{name} at fixed {budget}, {words}": _greedy(line.get(size), metric)
        for metric, name in measures
        for budget, line in zip(BUDGETS, (by_size, passes), strict=True)
        for words, size in list(judged.items())[:2]
    }
    domain = runs[0].domain
    rule = partial(_rule, (few, enough, most), alone)
    return Part(
        findings=[
            settle(domain, needed, rule, claim=CLAIMS.get(domain)),
            settle(domain, at_budgets, partial(_budgets, (few, enough)), claim=None),
        ],
        figures=[_figure(lines, metric) for metric in (runs[0].ttr_name(), COPIED)],
        tables=[_table(run for line in lines.values() for run in line)],
    )


def _figure(lines: dict[str, list[Group]], metric: str) -> str:
    """The metric against the number of sequences, one line per budget."""
    run = next(run for line in lines.values() for run in line)
    before = run.decoded("original-greedy", metric)
    return small_line_chart(
        [
            trend(
                budget,
                [(run.axes[SIZE], run.decoded("hyperfitted-greedy", metric)) for run in line],
                colour=place,
            )
            for place, (budget, line) in enumerate(lines.items())
        ],
        title=f"{run.domain_title}: {metric_label(metric)}, at fixed updates or epochs",
        x_label="training sequences",
        log_x=True,
        levels=[Level(y=before.mean, label="original")] if before else [],
    )


def _table(runs: Iterable[Group]) -> Table:
    ordered = list(runs)
    metrics = (ordered[0].ttr_name(), "rep_4", COPIED)
    rows = [
        TableRow(
            label=f"{_sequences(run.axes[SIZE])}, fixed {run.axes[BUDGET]}",
            cells=[
                run.value("training/updates"),
                run.value("training/epochs"),
                run.value("training/final_loss"),
                *(run.decoded("hyperfitted-greedy", metric) for metric in metrics),
                run.probe("hyperfitted", "entropy_nats"),
            ],
        )
        for run in ordered
    ]
    names = [metric_label(metric) for metric in metrics]
    columns = ["updates", "epochs", "final training loss", *names, "entropy (nats)"]
    return make_table(ordered[0].domain_title, columns, rows)


def _sequences(count: Any) -> str:
    return f"{count} sequence{'' if count == 1 else 's'}"


def _greedy(run: Group | None, metric: str) -> Value | None:
    return None if run is None else run.decoded("hyperfitted-greedy", metric)


def _rule(
    sizes: tuple[Any, Any, Any], alone: Group | None, original: Value, *measured: Value
) -> Judged:
    (few, enough, most), copied = measured[:3], measured[3:]
    high = original.mean + HALF * max(0.0, most.mean - original.mean)
    # A grid without a larger set than about 16 sequences cannot decide it.
    still_high = None if sizes[1] == sizes[2] else is_above_level(enough, high)
    parts = [by_ttr(still_high, *copied[1:]), by_ttr(is_above(enough, few), *copied[:2])]
    by_size = dict(zip(sizes, (few, enough, most), strict=True))
    shares = {f"with {size}": value for size, value in zip(sizes, copied, strict=True)}
    words = ", ".join(f"{shown(value)} with {size}" for size, value in by_size.items())
    words = f"at fixed updates the greedy type-token ratio is {words} sequences"
    ttr, share = _greedy(alone, "ttr"), _greedy(alone, COPIED)
    if alone is not None and ttr is not None:
        words += f", and {shown(ttr)} with {_sequences(alone.axes[SIZE])}"
        shares |= {f"with {alone.axes[SIZE]}": share} if share is not None else {}
    words += f" (original: {shown(original)})"
    return parts, words + copied_clause(shares)


def _budgets(sizes: tuple[Any, Any], *measured: Value) -> Judged:
    few, enough = sizes
    ttrs, copied = measured[:4], measured[4:]
    sentences, shares = [], {}
    for place, budget in enumerate(BUDGETS):
        low, high = ttrs[2 * place : 2 * place + 2]
        compared = relation(
            is_above(high, low),
            subject=f"the greedy type-token ratio with {enough} sequences, {shown(high)},",
            other=f"that with {few}, {shown(low)}",
        )
        sentences.append(f"at fixed {budget} {compared}")
        shares |= {
            f"with {size} at fixed {budget}": copied[2 * place + i] for i, size in enumerate(sizes)
        }
    return [], "; ".join(sentences) + copied_clause(shares)
