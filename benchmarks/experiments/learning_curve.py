"""Experiment 2: at which loss does the gain come, and is it there at the lowest validation loss?

P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318), Fig. 2, shows the curve of one text model.
Ordinary fine-tuning would keep the checkpoint of the lowest validation loss.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.evidence.copied import COPIED, by_ttr, copied_clause
from benchmarks.evidence.draw import seed_curves
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
from benchmarks.evidence.words import number, shown
from common.report.names import metric_label

CLAIMS = {"text": "P1 Fig. 2"}
STAGES = ("original", "early-stopped", "hyperfitted")
HALF = 0.5
"""Of the gain in type-token ratio, for "half of it is reached at a training loss of ..."."""


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(runs[0]) for runs in evidence.runs().values()],
        rule="Agrees when the hyperfitted model's greedy type-token ratio is above that of the "
        "checkpoint with the lowest validation loss; contradicts when it is below.",
        notes=["Curves against the training loss run from left to right in time; one line a seed."],
    )


def _part(run: Group) -> Part:
    needed = {f"TTR, {name}": run.decoded(f"{name}-greedy", "ttr") for name in STAGES}
    needed["share that is copied"] = run.decoded("hyperfitted-greedy", COPIED)
    rows = []
    for name in STAGES:
        probe = [run.probe(name, m) for m in ("loss_nats", "entropy_nats")]
        decoded = [run.decoded(f"{name}-greedy", m) for m in ("ttr", "rep_4")]
        subject = name == "hyperfitted"
        rows.append(TableRow(label=name, cells=[*decoded, *probe], subject=subject))
    ttr = metric_label(run.ttr_name())
    columns = [ttr, "rep-4", "held-out loss (nats)", "held-out entropy (nats)"]
    return Part(
        findings=[
            settle(run.domain, needed, partial(_rule, run), claim=CLAIMS.get(run.domain)),
        ],
        figures=_figures(run),
        tables=[make_table(f"{run.domain_title}, greedy", columns, rows)],
    )


def _rule(run: Group, before: Value, early: Value, after: Value, copied: Value) -> Judged:
    losses = [run.probe(name, "loss_nats") for name in ("original", "early-stopped")]
    never = ", which is the original's" if losses[0] and losses[0] == losses[1] else ""
    words = (
        f"greedy type-token ratio {shown(before)} before, {shown(early)} at the lowest validation "
        f"loss{never}, {shown(after)} hyperfitted"
    )
    losses = [
        loss
        for records in run.series("curve")
        if (loss := loss_at_half(records, run.ttr_name())) is not None
    ]
    if losses:
        words += f"; half of the gain is there at a training loss of {_spread(losses)} nats"
    return [by_ttr(is_above(after, early), copied)], words + copied_clause({"": copied})


def loss_at_half(records: Sequence[Mapping[str, Any]], ttr: str) -> float | None:
    """Training loss of the first record that has half of the whole gain in `ttr`; None without a
    gain or without a training loss there."""
    measured = [r for r in records if r.get(ttr) is not None]
    if not measured:
        return None
    first, last = measured[0][ttr], measured[-1][ttr]
    if last <= first:
        return None
    goal = first + HALF * (last - first)
    return next(r for r in measured if r[ttr] >= goal).get("train_loss")


def _spread(values: Sequence[float]) -> str:
    mean = number(statistics.fmean(values))
    if len(values) == 1:
        return mean
    return f"{mean} (over seeds {number(min(values))} to {number(max(values))})"


def _figures(run: Group) -> list[str]:
    ttr, where = run.ttr_name(), run.domain_title
    shares = [
        *seed_curves(run, "train_loss", ttr, label=metric_label(ttr), colour=0),
        *seed_curves(run, "train_loss", "rep_4", label="rep-4", colour=1),
    ]
    entropy = seed_curves(run, "train_loss", "validation_entropy_nats", label="entropy", colour=2)
    losses = [
        *seed_curves(run, "update", "validation_loss", label="validation", colour=1),
        *seed_curves(run, "update", "train_loss", label="training", colour=0),
    ]
    against = {"x_label": "training loss (nats)", "log_x": True, "x_falls": True}
    return [
        small_line_chart(shares, title=f"{where}: TTR and rep-4, greedy", **against),
        small_line_chart(entropy, title=f"{where}: held-out entropy (nats)", **against),
        small_line_chart(losses, title=f"{where}: loss (nats)", x_label="updates"),
    ]
