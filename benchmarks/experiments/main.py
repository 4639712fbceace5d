"""Experiment 1: all conditions, domains and lengths, with MAUVE.

The conditions are those of Table 1 of P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318), without
its human judges. P1 shows eight images and measures none, so images are new here. Sampling of the
original is judged in `rivals`.
"""

from __future__ import annotations

import re
from functools import partial

from benchmarks.evidence.copied import COPIED, by_ttr, copied_clause
from benchmarks.evidence.draw import dot_rows
from benchmarks.evidence.mauve import MAUVE, mauve_note, mauve_of
from benchmarks.evidence.over_seeds import Evidence, Group, Value, is_above
from benchmarks.evidence.plots import dot_plot
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
from benchmarks.evidence.words import condition_words, metric_head, shown
from common.report.names import metric_label

CLAIMS = {"text": "P1 Table 1"}
AT_ONE = ("original-top-p-t1", "original-sampled-t1")
"""Sampling of the original at temperature 1; a run has one of them, older ones have none."""

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
    return section_of(
        [
            _part(runs[0], next(iter(evidence.find(domain, measure=MAUVE)), None))
            for domain, runs in evidence.runs().items()
        ],
        rule="Agrees when greedy decoding of the hyperfitted model has a higher type-token ratio "
        "than greedy decoding of the original; contradicts when it has a lower one. Sampling of "
        "the original is told beside it and judged among the decoding rivals, so that no claim is "
        "counted twice.",
    )


def _part(run: Group, mauve: Group | None) -> Part:
    sets = run.prompt_sets() if len(run.prompt_sets()) > 1 else []
    figure = dot_plot(
        dot_rows(
            (condition_words(run, name), [run.decoded(name, "ttr")]) for name in run.conditions()
        ),
        title=f"{run.domain_title}: {metric_label(run.ttr_name())} by condition",
        description="one dot per condition, with its interval",
        x_label="distinct tokens / tokens",
    )
    rule = partial(_rule, run, mauve)
    return Part(
        findings=[settle(run.domain, _needed(run), rule, claim=CLAIMS.get(run.domain))],
        figures=[figure],
        tables=[_table(run, mauve, prompts) for prompts in ("all", *sets)],
        notes=mauve_note(mauve),
    )


def _needed(run: Group) -> dict[str, Value | None]:
    return {
        "TTR of the original, greedy": run.decoded("original-greedy", "ttr"),
        "TTR of the original, sampled": run.decoded(run.sampling("original"), "ttr"),
        "TTR of the hyperfitted, greedy": run.decoded("hyperfitted-greedy", "ttr"),
        "share that is copied": run.decoded("hyperfitted-greedy", COPIED),
    }


def _rule(
    run: Group,
    mauve: Group | None,
    greedy: Value,
    sampled: Value,
    after: Value,
    copied: Value,
) -> Judged:
    words = f"the type-token ratio of greedy decoding goes from {shown(greedy)} to {shown(after)}"
    ways = {name: run.decoded(name, "ttr") for name in run.conditions() if name in AT_ONE}
    for name, value in ({run.sampling("original"): sampled} | ways).items():
        if value is not None:
            how = condition_words(run, name).removeprefix("original ")
            words += f"; sampling the original ({how}) gives {shown(value)}"
    scores = [mauve_of(mauve, name) for name in ("original-greedy", "hyperfitted-greedy")]
    if scores[0] and scores[1]:
        words += f"; MAUVE goes from {shown(scores[0])} to {shown(scores[1])}"
    return [by_ttr(is_above(after, greedy), copied)], words + copied_clause({"": copied})


def _table(run: Group, mauve: Group | None, prompts: str) -> Table:
    names = {n.split("/")[2] for cell in run.cells for n in cell.metrics if n.count("/") == 2}
    metrics = [
        n for pattern in COLUMNS[run.domain] for n in sorted(names) if re.fullmatch(pattern, n)
    ]
    rows = []
    for condition in run.conditions(prompts):
        cells = [run.decoded(condition, metric, prompts=prompts) for metric in metrics]
        if prompts == "all":
            cells.append(mauve_of(mauve, condition))
        subject = condition == "hyperfitted-greedy"
        label = condition_words(run, condition)
        rows.append(TableRow(label=label, cells=cells, subject=subject))
    where = "all prompts" if prompts == "all" else prompts
    return make_table(
        f"{run.domain_title}, {where}",
        [*(metric_head(metric) for metric in metrics), *(["MAUVE"] if prompts == "all" else [])],
        rows,
        folded=prompts != "all",
    )
