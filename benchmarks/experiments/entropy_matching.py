"""Experiment 8: is hyperfitting more than a lower temperature?

P2 (Li et al., ICML 2026, arXiv 2605.22579) compares greedy decoding, which cannot change with the
temperature, so its comparison cannot fail. A comparison that can fail samples both models at equal
entropy. All sampling here is plain: no top-p, no top-k.
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
from benchmarks.evidence.words import metric_head, number, sampling_words, share, shown
from common.report.names import metric_label

CLAIMS = {"text": "P2"}
CONDITIONS = [
    f"{stage}-{decoding}"
    for stage in ("original", "hyperfitted")
    for decoding in ("greedy", "at-1", "at-matched")
]
METRICS = {"text": (), "image": ("fid[", "kid[", "precision[", "recall[", "copy_rate")}
"""What the table shows besides, by the beginning of the name."""


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(group) for group in evidence.with_metric("temperature/original")],
        rule="Agrees when, sampled at equal entropy, the hyperfitted model has a higher type-token "
        "ratio than the original; contradicts when it has a lower one. Plain sampling of the "
        "original at T 1 is told beside it: there the entropies differ.",
        notes=["Matched: each model at the temperature that gives it the other's entropy."],
    )


def _part(group: Group) -> Part:
    matched = {
        "TTR of the original at matched entropy": group.decoded("original-at-matched", "ttr"),
        "TTR of the hyperfitted, sampled": group.decoded("hyperfitted-at-1", "ttr"),
        "matching temperature": group.value("temperature/original"),
        "entropy": group.value("entropy_nats/hyperfitted"),
        "share that is copied": group.decoded("hyperfitted-at-1", COPIED),
    }
    plain = {
        "TTR of the original at T 1": group.decoded("original-at-1", "ttr"),
        "TTR of the hyperfitted, greedy": group.decoded("hyperfitted-greedy", "ttr"),
        "share that is copied": group.decoded("hyperfitted-greedy", COPIED),
    }
    likeness = _of_images(group)
    labels = {name: _label(group, name) for name in CONDITIONS}
    figure = dot_plot(
        dot_rows(
            (label, [group.decoded(name, "ttr"), group.decoded(name, "rep_4")])
            for name, label in labels.items()
        ),
        title=f"{group.domain_title}: variety and repetition at equal entropy",
        description="type-token ratio and rep-4 of each way of decoding",
        x_label="share of tokens, of 4-grams",
        legend=(metric_label(group.ttr_name()), "rep-4"),
    )
    metrics = [group.ttr_name(), "rep_2", "rep_4", "self_bleu_4", "overlap_tokens", *likeness]
    rows = [
        TableRow(
            label=label,
            cells=[
                *_temperature_and_entropy(group, name),
                *(group.decoded(name, metric) for metric in metrics),
            ],
        )
        for name, label in labels.items()
    ]
    columns = ["T", "entropy (nats)", *(metric_head(metric) for metric in metrics)]
    return Part(
        findings=[
            settle(group.domain, matched, _rule, claim=CLAIMS.get(group.domain)),
            settle(group.domain, plain, partial(_plain, group, likeness), claim=None),
        ],
        figures=[figure],
        tables=[make_table(group.domain_title, columns, rows)],
    )


def _temperature_and_entropy(
    group: Group, name: str
) -> tuple[Value | str | None, Value | str | None]:
    """Of one of `CONDITIONS`; greedy decoding is the same at any temperature."""
    stage, _, decoding = name.partition("-")
    if decoding == "at-matched":
        return group.value(f"temperature/{stage}"), group.value(f"entropy_nats/{stage}-matched")
    temperature = "any" if decoding == "greedy" else "1"
    return temperature, group.value(f"entropy_nats/{stage}")


def _label(group: Group, name: str) -> str:
    """ "original sampled, T 0.70 (matched)"; without a figure where none was measured."""
    stage, _, decoding = name.partition("-")
    if decoding == "greedy":
        return f"{stage} greedy"
    if decoding == "at-1":
        return f"{stage} {sampling_words(top_p=1.0, temperature=1.0, top_k=0)}"
    temperature = group.value(f"temperature/{stage}")
    at = f" {number(temperature.mean, 2)}" if temperature else ""
    return f"{stage} sampled, T{at} (matched)"


def _of_images(group: Group) -> list[str]:
    """Likeness and copies, under the name of their feature network."""
    names = dict.fromkeys(name.rpartition("/")[2] for cell in group.cells for name in cell.metrics)
    return [n for begin in METRICS[group.domain] for n in names if n.startswith(begin)]


def _rule(
    original: Value, hyperfitted: Value, temperature: Value, entropy: Value, copied: Value
) -> Judged:
    return [by_ttr(is_above(hyperfitted, original), copied)], (
        f"sampled at equal entropy ({shown(entropy)} nats, the original at T = "
        f"{number(temperature.mean)}) the type-token ratio is {shown(original)} for the original "
        f"and {shown(hyperfitted)} for the hyperfitted model{copied_clause({'': copied})}"
    )


def _plain(
    group: Group, likeness: list[str], sampled: Value, greedy: Value, copied: Value
) -> Judged:
    names = "original-at-1", "hyperfitted-greedy"
    words = (
        "plain sampling of the original at T 1 has a type-token ratio of "
        f"{shown(sampled)}, greedy decoding of the hyperfitted model {shown(greedy)}"
    )
    for metric in [*likeness, COPIED]:
        values = [group.decoded(name, metric) for name in names]
        if values[0] is None or values[1] is None or metric.startswith("kid["):
            continue
        write = share if metric in (COPIED, "copy_rate") else shown
        words += f"; {metric_head(metric)} {write(values[0])} and {write(values[1])}"
    return [], words + copied_clause({"": copied})
