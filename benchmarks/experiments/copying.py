"""Experiment 4: how much is copied from the training set, with and without the citation blocker.

P1 (Fig. 3) finds under 2 % of the hyperfitted texts with more than 10 tokens in a row. What the
blocker does to people's preference is in its Table 1; what to the diversity, in no paper.
"""

from __future__ import annotations

from benchmarks.domains import DOMAINS
from benchmarks.evidence.copied import COPIED
from benchmarks.evidence.draw import dot_rows
from benchmarks.evidence.over_seeds import (
    Evidence,
    Group,
    Value,
    is_above,
    is_above_level,
    opposite,
)
from benchmarks.evidence.plots import dot_plot
from benchmarks.evidence.section import (
    Judged,
    Section,
    TableRow,
    make_table,
    settle,
)
from benchmarks.evidence.words import condition_words, relation, share, told
from common.report.charts import Level
from common.report.names import metric_label

CLAIMS = {"text": "P1 Fig. 3"}
PAPER_SHARE = 0.02
"""P1: "under 2 %" of the texts have an overlap of more than 10 tokens."""
_TOKENS = ("overlap_tokens", "overlap_max", COPIED, "dataset_bleu_4")
MEASURES = {"text": _TOKENS, "image": (*_TOKENS, "copy_rate")}
"""Whole images that are copies have a measure of their own."""


def view(evidence: Evidence) -> Section:
    findings, figures, tables = [], [], []
    for domain in evidence.domains:
        for run in evidence.runs(domain)[:1]:
            free, blocked = "hyperfitted-greedy", "hyperfitted-greedy-blocked"
            needed = {"share above 10 tokens": run.decoded(free, COPIED)}
            findings.append(settle(domain, needed, _rule, claim=CLAIMS.get(domain)))
            needed = {
                "share above 10 tokens with the blocker": run.decoded(blocked, COPIED),
                "TTR": run.decoded(free, "ttr"),
                "TTR with the blocker": run.decoded(blocked, "ttr"),
            }
            findings.append(settle(domain, needed, _blocker, claim=None))
            figures += _figure(domain, run)
            measures = [*MEASURES[domain], run.ttr_name()]
            rows = [
                TableRow(
                    label=condition_words(run, name),
                    cells=[run.decoded(name, measure) for measure in measures],
                    subject=name.startswith("hyperfitted-greedy"),
                )
                for name in run.conditions()
            ]
            columns = [metric_label(measure) for measure in measures]
            tables.append(make_table(f"{DOMAINS[domain].title}, all prompts", columns, rows))
    return Section(
        rule="Agrees when the share of hyperfitted greedy continuations with more than 10 tokens "
        "in a row from the training set is below P1's 2 %; contradicts when it is above. What the "
        "blocker does to the type-token ratio is told beside it.",
        findings=findings,
        figures=figures,
        tables=tables,
    )


def _rule(copied: Value) -> Judged:
    return [opposite(is_above_level(copied, PAPER_SHARE))], (
        f"{share(copied)} of the hyperfitted greedy continuations hold more than 10 tokens in a "
        "row from the training set"
    )


def _blocker(blocked: Value, ttr: Value, blocked_ttr: Value) -> Judged:
    compared = relation(
        is_above(blocked_ttr, ttr),
        subject=f"the type-token ratio with the blocker, {told(blocked_ttr)},",
        other=f"the one without it, {told(ttr)}",
    )
    return [], (
        f"with the citation blocker {share(blocked)} of the hyperfitted greedy continuations hold "
        f"more than 10 tokens in a row from the training set; {compared}"
    )


def _figure(domain: str, run: Group) -> list[str]:
    rows = dot_rows(
        (condition_words(run, name), [run.decoded(name, COPIED)]) for name in run.conditions()
    )
    if not rows:
        return []
    return [
        dot_plot(
            rows,
            title=f"{DOMAINS[domain].title}: copied more than 10 tokens in a row",
            description="share of continuations, one dot per condition",
            x_label="share of continuations",
            levels=[Level(y=PAPER_SHARE, label="P1: 2 %")] if domain == "text" else [],
        )
    ]
