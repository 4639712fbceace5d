"""Experiment 4: how much is copied from the training set, with and without the citation blocker.

P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318), Fig. 3, finds more than 10 tokens in a row in
under 2 % of the hyperfitted texts. Its Table 1 has the preference of people for texts with the
blocker. No paper measured their diversity.
"""

from __future__ import annotations

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
    Part,
    Section,
    TableRow,
    make_table,
    section_of,
    settle,
)
from benchmarks.evidence.words import condition_words, relation, share, shown
from common.report.charts import Level
from common.report.names import metric_label

CLAIMS = {"text": "P1 Fig. 3"}
PAPER_SHARE = 0.02
"""P1: "under 2 %" of the texts have an overlap of more than 10 tokens."""
_TOKENS = ("overlap_tokens", "overlap_max", COPIED, "dataset_bleu_4")
MEASURES = {"text": _TOKENS, "image": (*_TOKENS, "copy_rate")}
"""Whole images that are copies have a measure of their own."""


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(runs[0]) for runs in evidence.runs().values()],
        rule="Agrees when the share of hyperfitted greedy continuations with more than 10 tokens "
        "in a row from the training set is below P1's 2 %; contradicts when it is above. What the "
        "blocker does to the type-token ratio is told beside it.",
    )


def _part(run: Group) -> Part:
    free, blocked = "hyperfitted-greedy", "hyperfitted-greedy-blocked"
    copied = {"share above 10 tokens": run.decoded(free, COPIED)}
    needed = {
        "share above 10 tokens with the blocker": run.decoded(blocked, COPIED),
        "TTR": run.decoded(free, "ttr"),
        "TTR with the blocker": run.decoded(blocked, "ttr"),
    }
    measures = [*MEASURES[run.domain], run.ttr_name()]
    rows = [
        TableRow(
            label=condition_words(run, name),
            cells=[run.decoded(name, measure) for measure in measures],
            subject=name.startswith("hyperfitted-greedy"),
        )
        for name in run.conditions()
    ]
    columns = [metric_label(measure) for measure in measures]
    return Part(
        findings=[
            settle(run.domain, copied, _rule, claim=CLAIMS.get(run.domain)),
            settle(run.domain, needed, _blocker, claim=None),
        ],
        figures=[_figure(run)],
        tables=[make_table(f"{run.domain_title}, all prompts", columns, rows)],
    )


def _rule(copied: Value) -> Judged:
    return [opposite(is_above_level(copied, PAPER_SHARE))], (
        f"{share(copied)} of the hyperfitted greedy continuations hold more than 10 tokens in a "
        "row from the training set"
    )


def _blocker(blocked: Value, ttr: Value, blocked_ttr: Value) -> Judged:
    compared = relation(
        is_above(blocked_ttr, ttr),
        subject=f"the type-token ratio with the blocker, {shown(blocked_ttr)},",
        other=f"the one without it, {shown(ttr)}",
    )
    return [], (
        f"with the citation blocker {share(blocked)} of the hyperfitted greedy continuations hold "
        f"more than 10 tokens in a row from the training set; {compared}"
    )


def _figure(run: Group) -> str:
    return dot_plot(
        dot_rows(
            (condition_words(run, name), [run.decoded(name, COPIED)]) for name in run.conditions()
        ),
        title=f"{run.domain_title}: copied more than 10 tokens in a row",
        description="share of continuations, one dot per condition",
        x_label="share of continuations",
        levels=[Level(y=PAPER_SHARE, label="P1: 2 %")] if run.domain in CLAIMS else [],
    )
