"""Experiment 12: which blocks must be tuned? P2 tunes the last ones; the first and the middle ones
are the controls it lacks."""

from __future__ import annotations

import re

from benchmarks.plots import dot_plot
from benchmarks.views.draw import dot_rows
from benchmarks.views.groups import Evidence, Group, Value, is_above
from benchmarks.views.section import DOMAINS, Judged, Section, TableRow, make_table, settle
from benchmarks.views.words import number, told
from common.charts import Level
from common.metric_names import metric_label


def view(evidence: Evidence) -> Section:
    findings, figures, tables = [], [], []
    for domain in evidence.domains:
        runs = evidence.runs(domain)
        if not runs:
            continue
        full = {where(run): run for run in runs if not is_lora(run)}
        needed = {
            f"TTR of full tuning of the {place} blocks": _ttr_of(full, place)
            for place in ("last", "first", "middle")
        }
        findings.append(settle(domain, needed, _rule, covered=domain == "text"))
        rows = dot_rows((label(run), [run.decoded("hyperfitted-greedy", "ttr")]) for run in runs)
        original = runs[0].decoded("original-greedy", "ttr")
        if rows:
            figures.append(
                dot_plot(
                    rows,
                    title=f"{DOMAINS[domain]}: {metric_label(runs[0].ttr_name())}, greedy",
                    description="type-token ratio by what was tuned",
                    x_label="distinct tokens / tokens",
                    levels=[Level(y=original.mean, label="original")] if original else [],
                )
            )
        metrics = [runs[0].ttr_name(), "rep_4", "overlap_over_10"]
        table = [
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
        tables.append(make_table(DOMAINS[domain], columns, table))
    return Section(
        rule="Agrees when full tuning of the last blocks gives a higher greedy type-token ratio "
        "than of the first and of the middle ones; contradicts when it gives a lower one than "
        "either.",
        findings=findings,
        figures=figures,
        tables=tables,
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


def _ttr_of(runs: dict[str, Group], place: str) -> Value | None:
    found = (run for name, run in runs.items() if name.split(":")[0] == place)
    return next((run.decoded("hyperfitted-greedy", "ttr") for run in found), None)


def _rule(last: Value, first: Value, middle: Value) -> Judged:
    return [is_above(last, first), is_above(last, middle)], (
        f"the greedy type-token ratio is {told(last)} with the last blocks tuned, {told(middle)} "
        f"with the middle ones and {told(first)} with the first, a difference of "
        f"{number(last.mean - first.mean)} between last and first"
    )
