"""Experiment 3: how sharp the predictions are before and after.

The measures are those of Table 3 of P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318).
"""

from __future__ import annotations

from benchmarks.evidence.draw import dot_rows
from benchmarks.evidence.over_seeds import Evidence, Group, Value, is_above, opposite
from benchmarks.evidence.plots import dot_plot
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
from common.report.names import metric_label

CLAIMS = {"text": "P1 Table 3"}
MEASURES = ("entropy_nats", "top1_mass", "top3_mass", "top5_mass", "perplexity", "loss_nats")
STAGES = ("original", "early-stopped", "hyperfitted")


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(runs[0]) for runs in evidence.runs().values()],
        rule="Agrees when, on held-out data, entropy falls while the mass of the likeliest token "
        "and the loss rise; contradicts when one of them goes the other way.",
        notes=["Predictions with the true tokens before them."],
    )


def _part(run: Group) -> Part:
    needed = {
        f"{metric_label(measure)}, {stage}": run.probe(stage, measure)
        for measure in ("entropy_nats", "top1_mass", "loss_nats")
        for stage in ("original", "hyperfitted")
    }
    masses = dot_rows(
        (metric_label(m), [run.probe(stage, m) for stage in STAGES])
        for m in ("top1_mass", "top3_mass", "top5_mass")
    )
    figure = dot_plot(
        masses,
        title=f"{run.domain_title}: mass of the likeliest tokens",
        description="probability mass of the likeliest 1, 3 and 5 tokens",
        x_label="probability",
        legend=STAGES,
    )
    rows = [
        TableRow(
            label=stage,
            cells=[run.probe(stage, measure) for measure in MEASURES],
            subject=stage == "hyperfitted",
        )
        for stage in STAGES
    ]
    columns = [metric_label(measure) for measure in MEASURES]
    return Part(
        findings=[settle(run.domain, needed, _rule, claim=CLAIMS.get(run.domain))],
        figures=[figure],
        tables=[make_table(f"{run.domain_title}, held-out data", columns, rows)],
    )


def _rule(
    entropy: Value,
    sharp_entropy: Value,
    top1: Value,
    sharp_top1: Value,
    loss: Value,
    high_loss: Value,
) -> Judged:
    claims = [
        opposite(is_above(sharp_entropy, entropy)),
        is_above(sharp_top1, top1),
        is_above(high_loss, loss),
    ]
    return claims, (
        f"entropy goes from {shown(entropy)} to {shown(sharp_entropy)} nats, the mass of the "
        f"likeliest token from {shown(top1)} to {shown(sharp_top1)}, the held-out loss from "
        f"{shown(loss)} to {shown(high_loss)} nats"
    )
