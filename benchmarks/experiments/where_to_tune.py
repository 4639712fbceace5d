"""Experiment 12: which blocks must be tuned?

P2 (Li et al., ICML 2026, arXiv 2605.22579) puts LoRA on the last ones, which raises the type-token
ratio. It lacks the controls: the first blocks and the middle ones.
"""

from __future__ import annotations

import re
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
from common.report.charts import Level
from common.report.names import metric_label

CLAIMS = {"text": "P2"}
PLACES = ("last", "first", "middle")


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(runs) for runs in evidence.runs().values()],
        rule="P2's claim is that LoRA on the last blocks does: agrees when it brings the greedy "
        "type-token ratio above the original's; contradicts when it is below. The rule for the "
        "place, with full tuning: the last blocks give a higher ratio than the first and than the "
        "middle ones.",
    )


def _part(runs: list[Group]) -> Part:
    domain, title, ttr = runs[0].domain, runs[0].domain_title, runs[0].ttr_name()
    full = {where(run): run for run in runs if not is_lora(run)}
    low_rank = {where(run): run for run in runs if is_lora(run)}
    original = runs[0].decoded("original-greedy", "ttr")
    measures = (("TTR", "ttr"), ("share copied", COPIED))
    lora = {"TTR of the original": original} | {
        f"{name} of LoRA on the last blocks": _of(low_rank, "last", metric)
        for name, metric in measures
    }
    places = {
        f"{name} of full tuning of the {place} blocks": _of(full, place, metric)
        for name, metric in measures
        for place in PLACES
    }
    losses = [run.value("training/final_loss") for run in _at(low_rank, "last")]
    rule = partial(_lora, losses[0] if losses else None)
    figure = dot_plot(
        dot_rows((label(run), [run.decoded("hyperfitted-greedy", "ttr")]) for run in runs),
        title=f"{title}: {metric_label(ttr)}, greedy",
        description="type-token ratio by what was tuned",
        x_label="distinct tokens / tokens",
        levels=[Level(y=original.mean, label="original")] if original else [],
    )
    metrics = [ttr, "rep_4", "overlap_over_10"]
    rows = [
        TableRow(
            label=label(run),
            cells=[
                run.value("training/trainable_parameters"),
                run.value("training/updates"),
                run.value("training/final_loss"),
                run.value("training/reached"),
                *(run.decoded("hyperfitted-greedy", metric) for metric in metrics),
                run.probe("hyperfitted", "entropy_nats"),
            ],
        )
        for run in runs
    ]
    columns = [
        "trained weights",
        "updates",
        "final training loss",
        "target reached",
        *(metric_label(metric) for metric in metrics),
        "entropy (nats)",
    ]
    return Part(
        findings=[
            settle(domain, lora, rule, claim=CLAIMS.get(domain)),
            settle(domain, places, _places, claim=None),
        ],
        figures=[figure],
        tables=[make_table(title, columns, rows)],
    )


def where(run: Group) -> str:
    """What was tuned: "all", "last:3", "head" ..."""
    return str(run.axes.get("tune", "all"))


def is_lora(run: Group) -> bool:
    """Whether low-rank adapters were trained instead of the weights."""
    return "lora" in str(run.axes.get("method", "")) or bool(run.axes.get("lora_rank"))


def label(run: Group) -> str:
    """ "last:3" -> "last 3 blocks, LoRA"."""
    found = re.fullmatch(r"(\w+):(\d+)", where(run))
    words = f"{found[1]} {found[2]} blocks" if found else where(run).replace("_", " ")
    return f"{words}, LoRA" if is_lora(run) else words


def _at(runs: dict[str, Group], place: str) -> list[Group]:
    return [run for name, run in runs.items() if name.split(":")[0] == place]


def _of(runs: dict[str, Group], place: str, metric: str) -> Value | None:
    found = _at(runs, place)
    return found[0].decoded("hyperfitted-greedy", metric) if found else None


def _lora(loss: Value | None, original: Value, ttr: Value, copied: Value) -> Judged:
    words = (
        "LoRA on the last blocks brings the greedy type-token ratio from "
        f"{shown(original)} to {shown(ttr)}"
    )
    words += f", at a final training loss of {shown(loss)} nats" if loss else ""
    return [by_ttr(is_above(ttr, original), copied)], words + copied_clause({"": copied})


def _places(last: Value, first: Value, middle: Value, *copied: Value) -> Judged:
    shares: dict[str, Value] = dict(zip(PLACES, copied, strict=True))
    words = (
        f"the greedy type-token ratio is {shown(last)} with the last blocks tuned, {shown(middle)} "
        f"with the middle ones and {shown(first)} with the first; "
    )
    compared = {"first": is_above(last, first), "middle": is_above(last, middle)}
    words += ", ".join(
        relation(above, subject="the last", other=f"the {place}")
        for place, above in compared.items()
    )
    parts = [by_ttr(above, shares["last"], shares[place]) for place, above in compared.items()]
    return parts, words + copied_clause({f"with the {n} blocks": one for n, one in shares.items()})
