"""Experiment 14: hyperfitting against cures for repetition that need no training, and with them.

P1 compares with one of them, nucleus sampling, by people's preference. Diversity alone can be
forced, so MAUVE stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.plots import dot_plot
from benchmarks.views.draw import dot_rows
from benchmarks.views.groups import Evidence, Group, Value, is_above
from benchmarks.views.mauve import mauve_models, mauve_note, mauve_of
from benchmarks.views.section import (
    DOMAINS,
    Judged,
    Section,
    TableRow,
    make_table,
    opposite,
    settle,
)
from benchmarks.views.words import metric_head, told
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
            likeness = {m: Likeness.of(group, f"original-{m}") for m in rivals}
            greedy = Likeness.of(group, "hyperfitted-greedy")
            needed = {
                "TTR of a rival": next((value for value in rivals.values() if value), None),
                "TTR of the hyperfitted, greedy": group.decoded("hyperfitted-greedy", "ttr"),
            }
            findings.append(settle(domain, needed, partial(_rule, rivals, likeness, greedy)))
            notes += [*settings_note(group), *mauve_note(group)]
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
            models = mauve_models(group)
            table = [
                TableRow(
                    label=f"{stage}, {_label(method)}",
                    cells=[
                        *(group.decoded(f"{stage}-{method}", metric) for metric in metrics),
                        *(mauve_of(group, f"{stage}-{method}", model) for model in models),
                    ],
                    subject=(stage, method) == ("hyperfitted", "greedy"),
                )
                for stage in STAGES
                for method in methods
            ]
            labels = [metric_head(metric) for metric in metrics]
            labels += [f"MAUVE [{model}]" for model in models]
            tables.append(make_table(DOMAINS[domain], labels, table))
    return Section(
        rule="Agrees when greedy decoding of the hyperfitted model is ahead of every rival on the "
        "original in type-token ratio or in likeness to the truth (MAUVE on either model's states, "
        "by its range over k-means, and FID for images); contradicts when a rival is ahead of it "
        "in both; undecided when one is behind in neither, or when these disagree.",
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


def settings_note(group: Group) -> list[str]:
    """What each method is set to, as the cells have it."""
    recorded = {r["method"]: r["settings"] for records in group.series("methods") for r in records}
    told = [f"{_label(name)} is {words}" for name, words in recorded.items() if words]
    return [f"{DOMAINS[group.domain]}: {'; '.join(told)}."] if told else []


def _label(method: str) -> str:
    special = {"top-p": "top-p", "top-p-t1": "top-p at T 1", "min-p": "min-p"}
    return special.get(method, method.replace("-", " "))


def _fidelity(group: Group) -> list[str]:
    """What only images have, under the name of its feature network."""
    names = {name.rpartition("/")[2] for cell in group.cells for name in cell.metrics}
    return in_order(sorted(n for n in names if n.startswith(("fid[", "kid["))))


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How near the truth continuations are.

    Attributes:
        mauve: by the model whose states it compares.
        fid: for images; less is nearer.
    """

    mauve: Mapping[str, Value]
    fid: Value | None

    @classmethod
    def of(cls, group: Group, condition: str) -> Likeness:
        """What was measured of a condition."""
        fid = next((name for name in _fidelity(group) if name.startswith("fid[")), None)
        scores = {model: mauve_of(group, condition, model) for model in mauve_models(group)}
        return cls(
            mauve={model: score for model, score in scores.items() if score is not None},
            fid=group.decoded(condition, fid) if fid else None,
        )

    def nearer(self, other: Likeness) -> bool | None:
        """Whether this is nearer than the other by all that tells them apart; None where nothing
        does, or where that disagrees."""
        told_apart = {
            is_above(_by_range(self.mauve[model]), _by_range(other.mauve[model]))
            for model in self.mauve.keys() & other.mauve.keys()
        }
        if self.fid is not None and other.fid is not None:
            told_apart.add(opposite(is_above(self.fid, other.fid)))
        told_apart -= {None}
        return told_apart.pop() if len(told_apart) == 1 else None

    def words(self) -> str:
        """ ", MAUVE [original] 0.814 [0.708, 0.898]"."""
        measured = {f"MAUVE [{model}]": value for model, value in self.mauve.items()}
        if self.fid is not None:
            measured["FID"] = self.fid
        return "".join(f", {name} {told(value)}" for name, value in measured.items())


def ahead(ttr: Value, rival_ttr: Value, own: Likeness, rival: Likeness) -> bool | None:
    """Whether the first is ahead in type-token ratio or likeness; False where the rival is in
    both."""
    diverse, like = is_above(ttr, rival_ttr), own.nearer(rival)
    if diverse or like:
        return True
    return False if diverse is False and like is False else None


def _by_range(value: Value) -> Value:
    """What is shown decides: the range of MAUVE over k-means, which alone decides nothing."""
    low = value.mean if value.low is None else value.low
    high = value.mean if value.high is None else value.high
    return replace(value, sure_low=low, sure_high=high)


def _rule(
    rivals: Mapping[str, Value | None],
    likeness: Mapping[str, Likeness],
    own: Likeness,
    _: Value,
    greedy: Value,
) -> Judged:
    claims = {
        method: ahead(greedy, value, own, likeness[method])
        for method, value in rivals.items()
        if value is not None
    }
    behind = [_label(method) for method, claim in claims.items() if claim]
    words = (
        "greedy decoding of the hyperfitted model has a type-token ratio of "
        f"{told(greedy)}{own.words()}"
    )
    if behind:
        words += f"; behind it in diversity or likeness: {', '.join(behind)} on the original"
    for method, claim in claims.items():
        value = rivals[method]
        if claim or value is None:
            continue
        where = "not clearly behind in either" if claim is None else "ahead of it in both"
        words += f"; {where}: {_label(method)} with {told(value)}{likeness[method].words()}"
    return list(claims.values()), words
