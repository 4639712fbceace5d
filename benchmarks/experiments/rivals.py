"""Experiment 14: hyperfitting against decoding methods that need no training, and with them.

P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318) compares with one of them, its nucleus sampling;
the others are new here. A decoding method can force diversity alone, so MAUVE and FID are shown
beside it. They have no sampling interval and therefore no verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks.evidence.copied import COPIED, by_ttr, copied_clause
from benchmarks.evidence.draw import dot_rows
from benchmarks.evidence.mauve import mauve_models, mauve_note, mauve_of
from benchmarks.evidence.over_seeds import Evidence, Group, Value, is_above
from benchmarks.evidence.plots import dot_plot
from benchmarks.evidence.section import (
    Finding,
    Judged,
    Part,
    Section,
    Table,
    TableRow,
    make_table,
    section_of,
    settle,
)
from benchmarks.evidence.words import metric_head, settings_words, shown
from common.report.names import in_order, metric_label

CLAIMS = {"text": "P1 Table 1"}
PAPER = "top-p"
"""P1's own: top-p 0.9, temperature 0.7, top-k 50."""
STAGES = ("original", "hyperfitted")
GREEDY = "hyperfitted-greedy"
SHOWN = ("rep_2", "rep_4", "self_bleu_4", "dataset_bleu_4", COPIED)


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(group) for group in evidence.groups],
        rule="Agrees when greedy decoding of the hyperfitted model has a higher type-token ratio "
        "than P1's own sampling of the original (top-p 0.9, T 0.7, top-k 50); contradicts when it "
        "has a lower one. Against the other methods the type-token ratio tells who is ahead; MAUVE "
        "and FID are quoted as measured.",
        notes=[
            "A high type-token ratio alone is no quality: a penalty can force it.",
            "Contrastive search is left out: no library offers it any more without running code "
            "fetched from elsewhere.",
        ],
    )


def _part(group: Group) -> Part:
    labels = labels_of(group)
    figure = dot_plot(
        dot_rows(
            (label, [group.decoded(f"{stage}-{method}", "ttr") for stage in STAGES])
            for method, label in labels.items()
        ),
        title=f"{group.domain_title}: {metric_label(group.ttr_name())}",
        description="type-token ratio of both models by decoding method",
        x_label="distinct tokens / tokens",
        legend=STAGES,
    )
    return Part(
        findings=_findings(group, labels),
        figures=[figure],
        tables=[_table(group, labels)],
        notes=mauve_note(group),
    )


def _findings(group: Group, labels: Mapping[str, str]) -> list[Finding]:
    """On the paper's own sampling where a paper has a claim, and on all methods."""
    hyperfitted = {
        "TTR of the hyperfitted, greedy": group.decoded(GREEDY, "ttr"),
        "share that is copied": group.decoded(GREEDY, COPIED),
    }
    found = []
    if claim := CLAIMS.get(group.domain):
        sampled = {"TTR of P1's sampling": group.decoded(f"original-{PAPER}", "ttr")}
        rule = partial(_rule, labels.get(PAPER, PAPER))
        found.append(settle(group.domain, hyperfitted | sampled, rule, claim=claim))
    rivals = {
        method: value
        for method in labels
        if method != "greedy" and (value := group.decoded(f"original-{method}", "ttr"))
    }
    any_rival = {"TTR of a rival": next(iter(rivals.values()), None)}
    rule = partial(_ranking, group, labels, rivals)
    return [*found, settle(group.domain, hyperfitted | any_rival, rule, claim=None)]


def _table(group: Group, labels: Mapping[str, str]) -> Table:
    metrics = [group.ttr_name(), *SHOWN, *_fidelity(group)]
    models = mauve_models(group)
    rows = [
        TableRow(
            label=f"{stage}, {label}",
            cells=[
                *(group.decoded(f"{stage}-{method}", metric) for metric in metrics),
                *(mauve_of(group, f"{stage}-{method}", model) for model in models),
            ],
            subject=f"{stage}-{method}" == GREEDY,
        )
        for stage in STAGES
        for method, label in labels.items()
    ]
    columns = [metric_head(metric) for metric in metrics] + [f"MAUVE [{m}]" for m in models]
    return make_table(group.domain_title, columns, rows)


def labels_of(group: Group) -> dict[str, str]:
    """Decoding methods as the cells have them, greedy first, each with the settings they record."""
    recorded = {r["method"]: r["settings"] for records in group.series("methods") for r in records}
    names = [name.partition("-") for name in group.conditions()]
    methods = list(dict.fromkeys(method for stage, _, method in names if stage in STAGES))
    return {
        method: settings_words(recorded[method]) if method in recorded else method.replace("-", " ")
        for method in sorted(methods, key=lambda method: method != "greedy")
    }


def _fidelity(group: Group) -> list[str]:
    """What only images have, under the name of its feature network."""
    names = {name.rpartition("/")[2] for cell in group.cells for name in cell.metrics}
    return in_order(sorted(n for n in names if n.startswith(("fid[", "kid["))))


def _likeness(group: Group, conditions: Sequence[str]) -> dict[str, dict[str, Value]]:
    """MAUVE on each model's states and, for images, FID: by the name of the measure, then by
    condition, the best first."""
    measured = {
        f"MAUVE [{model}]": {name: mauve_of(group, name, model) for name in conditions}
        for model in mauve_models(group)
    }
    for metric in _fidelity(group):
        if metric.startswith("fid["):
            measured[metric_head(metric)] = {
                name: group.decoded(name, metric) for name in conditions
            }
    there = {
        measure: {name: value for name, value in values.items() if value is not None}
        for measure, values in measured.items()
    }
    return {
        measure: dict(
            sorted(values.items(), key=lambda pair: pair[1].mean, reverse="MAUVE" in measure)
        )
        for measure, values in there.items()
    }


def _rule(paper: str, greedy: Value, copied: Value, sampled: Value) -> Judged:
    return [by_ttr(is_above(greedy, sampled), copied)], (
        "greedy decoding of the hyperfitted model has a type-token ratio of "
        f"{shown(greedy)}, P1's sampling of the original ({paper}) one of {shown(sampled)}"
        f"{copied_clause({'': copied})}"
    )


def _ranking(
    group: Group,
    labels: Mapping[str, str],
    rivals: Mapping[str, Value],
    greedy: Value,
    copied: Value,
    _: Value,
) -> Judged:
    words = f"greedy decoding of the hyperfitted model has a type-token ratio of {shown(greedy)}"
    positions = {True: "behind it", False: "ahead of it", None: "not to be told apart"}
    relations = {
        method: by_ttr(is_above(greedy, value), copied) for method, value in rivals.items()
    }
    for relation, where in positions.items():
        found = [
            f"{labels[method]} ({shown(value)})"
            for method, value in rivals.items()
            if relations[method] is relation
        ]
        words += f"; {where} on the original: {', '.join(found)}" if found else ""
    conditions = [f"original-{method}" for method in rivals]
    for measure, values in _likeness(group, [*conditions, GREEDY]).items():
        own = values.pop(GREEDY, None)
        if own is None or not values:
            continue
        best, value = next(iter(values.items()))
        method = best.removeprefix("original-")
        words += f"; {measure} {shown(own)}, of the original's methods at best {shown(value)} with "
        words += labels[method]
        same = _likeness(group, [f"hyperfitted-{method}"])[measure]
        if same:
            words += f" (the hyperfitted model with it: {shown(*same.values())})"
    return [], words + copied_clause({"": copied})
