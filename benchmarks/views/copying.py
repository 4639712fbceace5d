"""Experiment 4: how much is copied from the training set, with and without the citation blocker.

P1 (Table 2, Fig. 3) finds under 2 % of the hyperfitted texts with more than 10 tokens in a row.
"""

from __future__ import annotations

from benchmarks.plots import dot_plot
from benchmarks.views.draw import dot_rows
from benchmarks.views.groups import Evidence, Group, Value, is_above_level
from benchmarks.views.section import (
    DOMAINS,
    Judged,
    Section,
    TableRow,
    make_table,
    opposite,
    settle,
)
from benchmarks.views.words import share, told
from common.charts import Level
from common.metric_names import REFERENCES, condition_label, metric_label

PAPER_SHARE = 0.02
"""P1: "under 2 %" of the texts have an overlap of more than 10 tokens."""
_TOKENS = ("overlap_tokens", "overlap_max", "overlap_over_10", "dataset_bleu_4")
MEASURES = {"text": _TOKENS, "image": (*_TOKENS, "copy_rate")}
"""Whole images that are copies have a measure of their own."""


def view(evidence: Evidence) -> Section:
    findings, figures, tables = [], [], []
    for domain in evidence.domains:
        for run in evidence.runs(domain)[:1]:
            needed = {
                "share above 10 tokens": run.decoded("hyperfitted-greedy", "overlap_over_10"),
                "the same with the blocker": run.decoded(
                    "hyperfitted-greedy-blocked", "overlap_over_10"
                ),
                "TTR": run.decoded("hyperfitted-greedy", "ttr"),
                "TTR with the blocker": run.decoded("hyperfitted-greedy-blocked", "ttr"),
            }
            findings.append(settle(domain, needed, _rule, covered=domain == "text"))
            figures += _figure(domain, run)
            measures = [*MEASURES[domain], run.ttr_name()]
            rows = [
                TableRow(
                    label=REFERENCES.get(name, condition_label(name)),
                    cells=[run.decoded(name, measure) for measure in measures],
                    subject=name.startswith("hyperfitted-greedy"),
                )
                for name in run.conditions()
            ]
            columns = [metric_label(measure) for measure in measures]
            tables.append(make_table(f"{DOMAINS[domain]}, all prompts", columns, rows))
    return Section(
        rule="Agrees when the share of hyperfitted greedy continuations with more than 10 tokens "
        "in a row from the training set is below P1's 2 %; contradicts when it is above.",
        findings=findings,
        figures=figures,
        tables=tables,
    )


def _rule(copied: Value, blocked: Value, ttr: Value, blocked_ttr: Value) -> Judged:
    return [opposite(is_above_level(copied, PAPER_SHARE))], (
        f"{share(copied)} of the hyperfitted greedy continuations hold more than 10 tokens in a "
        f"row from the training set, {share(blocked)} with the blocker, whose type-token ratio is "
        f"{told(blocked_ttr)} instead of {told(ttr)}"
    )


def _figure(domain: str, run: Group) -> list[str]:
    rows = dot_rows(
        (REFERENCES.get(name, condition_label(name)), [run.decoded(name, "overlap_over_10")])
        for name in run.conditions()
    )
    if not rows:
        return []
    return [
        dot_plot(
            rows,
            title=f"{DOMAINS[domain]}: copied more than 10 tokens in a row",
            description="share of continuations, one dot per condition",
            x_label="share of continuations",
            levels=[Level(y=PAPER_SHARE, label="P1: 2 %")] if domain == "text" else [],
        )
    ]
