"""Experiment 1: all conditions, domains and lengths (P1 Table 1 without people), with MAUVE."""

from __future__ import annotations

import re

from benchmarks.plots import dot_plot
from benchmarks.views.draw import dot_rows
from benchmarks.views.groups import Evidence, Group, Value, is_above
from benchmarks.views.mauve import MAUVE, mauve_note, mauve_of
from benchmarks.views.section import (
    DOMAINS,
    Judged,
    Section,
    Table,
    TableRow,
    make_table,
    settle,
)
from benchmarks.views.words import metric_head, told
from common.metric_names import REFERENCES, condition_label, metric_label

COLUMNS = {
    "text": (
        r"ttr_\d+",
        "rep_2",
        "rep_4",
        r"self_bleu_\d+",
        r"dataset_bleu_\d+",
        "distinct_3",
        "overlap_tokens",
        "overlap_over_10",
    ),
    "image": (
        r"\w+_ttr",
        "rep_4",
        "vertical_equal_share",
        "flat_share",
        r"fid\[.+\]",
        r"kid\[.+\]",
        r"precision\[.+\]",
        r"recall\[.+\]",
        "copy_rate",
    ),
}
"""What the table shows of the domain's many metrics, as patterns of their names."""


def view(evidence: Evidence) -> Section:
    findings, figures, tables, notes = [], [], [], []
    for domain in evidence.domains:
        runs = evidence.runs(domain)
        if not runs:
            continue
        run = runs[0]
        mauve = next(iter(evidence.find(domain, measure=MAUVE)), None)
        notes += mauve_note(mauve)
        findings.append(settle(domain, _needed(run), _rule))
        rows = dot_rows(
            (condition_label(name), [run.decoded(name, "ttr")]) for name in run.conditions()
        )
        if rows:
            figures.append(
                dot_plot(
                    rows,
                    title=f"{DOMAINS[domain]}: {metric_label(run.ttr_name())} by condition",
                    description="one dot per condition, with its interval",
                    x_label="distinct tokens / tokens",
                )
            )
        tables.append(_table(domain, run, mauve, "all"))
        if len(run.prompt_sets()) > 1:
            tables += [_table(domain, run, mauve, name) for name in run.prompt_sets()]
    return Section(
        rule="Agrees when greedy decoding of the hyperfitted model has a higher type-token ratio "
        "than both greedy decoding and sampling of the original; contradicts when it is lower "
        "than one of them.",
        findings=findings,
        figures=figures,
        tables=tables,
        notes=notes,
    )


def _needed(run: Group) -> dict[str, Value | None]:
    return {
        "TTR of the original, greedy": run.decoded("original-greedy", "ttr"),
        "TTR of the original, sampled": run.sampled("original", "ttr"),
        "TTR of the hyperfitted, greedy": run.decoded("hyperfitted-greedy", "ttr"),
    }


def _rule(greedy: Value, sampled: Value, after: Value) -> Judged:
    return [is_above(after, greedy), is_above(after, sampled)], (
        f"the type-token ratio of greedy decoding goes from {told(greedy)} to {told(after)}; "
        f"sampling the original gives {told(sampled)}"
    )


def _table(domain: str, run: Group, mauve: Group | None, prompts: str) -> Table:
    names = {n.split("/")[2] for cell in run.cells for n in cell.metrics if n.count("/") == 2}
    metrics = [n for pattern in COLUMNS[domain] for n in sorted(names) if re.fullmatch(pattern, n)]
    rows = []
    for condition in run.conditions(prompts):
        cells = [run.decoded(condition, metric, prompts=prompts) for metric in metrics]
        if prompts == "all":
            cells.append(mauve_of(mauve, condition))
        subject = condition == "hyperfitted-greedy"
        name = REFERENCES.get(condition, condition_label(condition))
        rows.append(TableRow(label=name, cells=cells, subject=subject))
    where = "all prompts" if prompts == "all" else prompts
    return make_table(
        f"{DOMAINS[domain]}, {where}",
        [*(metric_head(metric) for metric in metrics), *(["MAUVE"] if prompts == "all" else [])],
        rows,
        folded=prompts != "all",
    )
