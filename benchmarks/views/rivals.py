"""Experiment 14: hyperfitting against cures for repetition that need no training, and with them.

P1 compares with one of them, nucleus sampling, which is part of the main table.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from benchmarks.plots import dot_plot
from benchmarks.views.draw import dot_rows
from benchmarks.views.groups import Evidence, Group, Value, is_above
from benchmarks.views.mauve import mauve_note, mauve_of
from benchmarks.views.section import DOMAINS, Judged, Section, TableRow, make_table, settle
from benchmarks.views.words import metric_head, number, relation, told
from common.metric_names import in_order, metric_label

STAGES = ("original", "hyperfitted")
SHOWN = ("rep_2", "rep_4", "self_bleu_4", "dataset_bleu_4", "overlap_over_10")


def view(evidence: Evidence) -> Section:
    findings, figures, tables, notes = [], [], [], []
    for domain in evidence.domains:
        for group in evidence.find(domain):
            methods = methods_of(group)
            rivals = {
                method: group.decoded(f"original-{method}", "ttr")
                for method in methods
                if method != "greedy"
            }
            best = max(
                (m for m, value in rivals.items() if value),
                key=lambda m: value.mean if (value := rivals[m]) else 0.0,
                default=None,
            )
            needed = {
                "TTR of a rival": rivals[best] if best else None,
                "TTR of the hyperfitted, greedy": group.decoded("hyperfitted-greedy", "ttr"),
            }
            likeness = {
                name: mauve_of(group, condition)
                for name, condition in (
                    ("original greedy", "original-greedy"),
                    ("hyperfitted greedy", "hyperfitted-greedy"),
                    ("that rival", f"original-{best}"),
                )
            }
            findings.append(settle(domain, needed, partial(_rule, best, likeness), covered=False))
            notes += mauve_note(group)
            rows = dot_rows(
                (_label(method), [group.decoded(f"{stage}-{method}", "ttr") for stage in STAGES])
                for method in methods
            )
            if rows:
                figures.append(
                    dot_plot(
                        rows,
                        title=f"{DOMAINS[domain]}: {metric_label(group.ttr_name())}",
                        description="type-token ratio of both models by decoding method",
                        x_label="distinct tokens / tokens",
                        legend=STAGES,
                    )
                )
            metrics = [group.ttr_name(), *SHOWN, *_fidelity(group)]
            table = [
                TableRow(
                    label=f"{stage}, {_label(method)}",
                    cells=[
                        *(group.decoded(f"{stage}-{method}", metric) for metric in metrics),
                        mauve_of(group, f"{stage}-{method}"),
                    ],
                    subject=(stage, method) == ("hyperfitted", "greedy"),
                )
                for stage in STAGES
                for method in methods
            ]
            labels = [*(metric_head(metric) for metric in metrics), "MAUVE"]
            tables.append(make_table(DOMAINS[domain], labels, table))
    return Section(
        rule="The papers compare with nucleus sampling alone, so there is no claim to test: the "
        "sentence says which rival has the highest type-token ratio and how it compares.",
        findings=findings,
        figures=figures,
        tables=tables,
        notes=[
            *notes,
            "A high type-token ratio alone is no quality: a penalty can force it.",
            "Contrastive search is left out: no library offers it any more without running code "
            "fetched from elsewhere.",
        ],
    )


def methods_of(group: Group) -> list[str]:
    """Decoding methods, greedy first, as the cell has them."""
    names = [name.partition("-") for name in group.conditions()]
    methods = list(dict.fromkeys(method for stage, _, method in names if stage in STAGES))
    return sorted(methods, key=lambda method: method != "greedy")


def _label(method: str) -> str:
    return {"top-p": "top-p", "min-p": "min-p"}.get(method, method.replace("-", " "))


def _fidelity(group: Group) -> list[str]:
    """What only images have, under the name of its feature network."""
    names = {name.rpartition("/")[2] for cell in group.cells for name in cell.metrics}
    return in_order(sorted(n for n in names if n.startswith(("fid[", "kid["))))


def _rule(
    method: str | None, likeness: Mapping[str, Value | None], rival: Value, greedy: Value
) -> Judged:
    assert method is not None, "without a rival nothing is settled"
    words = relation(is_above(greedy, rival), subject="it", other="that rival")
    words = (
        f"the greedy hyperfitted type-token ratio is {told(greedy)}; of the original's rivals "
        f"{_label(method)} has the highest, {told(rival)}, and {words}"
    )
    scores = [f"{number(value.mean)} {name}" for name, value in likeness.items() if value]
    return [], f"{words}; MAUVE: {', '.join(scores)}" if scores else words
