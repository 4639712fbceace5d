"""Experiment 6: does it matter what the tiny training set is made of?

P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318) compares news, Wikipedia and fiction, and ranks
them by people's preference alone. What is measured here is therefore new. Images compare CIFAR-10
with the vignettes.
"""

from __future__ import annotations

from functools import partial

from benchmarks.evidence.copied import COPIED, by_ttr, copied_clause
from benchmarks.evidence.draw import dot_rows
from benchmarks.evidence.over_seeds import Evidence, Group, Value, is_above
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
from benchmarks.evidence.words import relation, shown
from common.report.names import metric_label

AXIS = "source"


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(runs) for runs in evidence.runs(AXIS).values()],
        rule="Greedy decoding gains type-token ratio with every source; the opposite is a loss "
        "with any. P1 ranks the sources by people's preference, which this does not measure.",
    )


def _part(runs: list[Group]) -> Part:
    domain, title, ttr = runs[0].domain, runs[0].domain_title, runs[0].ttr_name()
    names = [str(run.axes[AXIS]) for run in runs]
    before = [run.decoded("original-greedy", "ttr") for run in runs]
    after = [run.decoded("hyperfitted-greedy", "ttr") for run in runs]
    copied = [run.decoded("hyperfitted-greedy", COPIED) for run in runs]
    needed = {f"TTR before, {name}": value for name, value in zip(names, before, strict=True)}
    needed |= {f"TTR after, {name}": value for name, value in zip(names, after, strict=True)}
    needed |= {f"share copied, {name}": value for name, value in zip(names, copied, strict=True)}
    figure = dot_plot(
        dot_rows(zip(names, zip(before, after, strict=True), strict=True)),
        title=f"{title}: {metric_label(ttr)}, greedy",
        description="type-token ratio by source of the training set",
        x_label="distinct tokens / tokens",
        legend=("original", "hyperfitted"),
    )
    metrics = [ttr, "rep_4", "overlap_tokens", "overlap_over_10"]
    # A domain with one set of prompts has it as its pool of all.
    sets = runs[0].prompt_sets() if len(runs[0].prompt_sets()) > 1 else []
    rows = [
        TableRow(
            label=name,
            cells=[
                run.value("training/final_loss"),
                *(run.decoded("hyperfitted-greedy", metric) for metric in metrics),
                *(run.decoded("hyperfitted-greedy", ttr, prompts=prompts) for prompts in sets),
                run.probe("hyperfitted", "entropy_nats"),
            ],
        )
        for name, run in zip(names, runs, strict=True)
    ]
    columns = ["final training loss", *(metric_label(m) for m in metrics)]
    columns += [f"{metric_label(ttr)}, {prompts} prompts" for prompts in sets]
    columns += ["entropy (nats)"]
    return Part(
        findings=[settle(domain, needed, partial(_rule, names), claim=None)],
        figures=[figure],
        tables=[make_table(f"{title}, hyperfitted greedy", columns, rows)],
    )


def _rule(names: list[str], *values: Value) -> Judged:
    count = len(names)
    before, after, copied = values[:count], values[count : 2 * count], values[2 * count :]
    parts = [
        by_ttr(is_above(late, early), share)
        for early, late, share in zip(before, after, copied, strict=True)
    ]
    gains = "; ".join(
        f"{name} {shown(early)} to {shown(late)}"
        for name, early, late in zip(names, before, after, strict=True)
    )
    ranked = sorted(zip(names, after, strict=True), key=lambda pair: pair[1].mean)
    words = f"greedy type-token ratio by source: {gains}"
    if len(ranked) > 1:
        (worst, low), (best, high) = ranked[0], ranked[-1]
        words += f"; {relation(is_above(high, low), subject=best, other=worst)}"
    shares = {f"with {name}": value for name, value in zip(names, copied, strict=True)}
    return parts, words + copied_clause(shares)
