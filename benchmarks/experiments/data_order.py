"""Experiment 5: how far does the order of the data decide the result?

P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318), section 6.1, trains on one set in several orders
and finds 68 to 75 % equal first choices. It has no controls, so it cannot show that the order is
the reason. The controls are identical repeats, and repeats that differ in rounding only. Both are
new here, and so are images.
"""

from __future__ import annotations

from functools import partial

from benchmarks.domains import DOMAINS
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
from benchmarks.evidence.words import share
from common.report.charts import Level

CLAIMS = {"text": "P1 6.1"}
AXIS = "compared"
SHUFFLED = "other order"
NAMES = {
    "repeat": "identical repeat",
    "other rounding": "other rounding",
    SHUFFLED: "another order",
    "other order 2": "a third order",
}
"""Values of the axis, and what the reader calls them."""
CONTROLS = ("repeat", "other rounding")
PAPER = (0.68, 0.75)
"""P1, 6.1: top-1 agreement between shuffles."""
ENOUGH = 0.5
"""Of the smallest share of differing first choices in P1, since the models differ so in size."""
MOST_AGREEMENT = 1 - ENOUGH * (1 - max(PAPER))
"""Where two orders agree more than this, less than half as many choices differ as in P1."""
FORCED = "teacher-forced/runs/top1_agreement"
COLUMNS = {
    "equal first choices, true data": FORCED,
    "equal tokens, greedy": "greedy/runs/equal_share",
    "tokens until they differ, greedy": "greedy/runs/tokens_until_difference",
    "equal first choices with the original": "teacher-forced/original/top1_agreement",
}


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(evidence, domain) for domain in evidence.domains],
        rule="Agrees when two orders make the same first choice at less than "
        f"{100 * MOST_AGREEMENT:g} % of the tokens, so that more than half as many choices differ "
        "as in P1 (25 % or more); contradicts when they do at more. The rule for the controls "
        "(identical repeats, other rounding): each agrees more than two orders do, so that the "
        "order is the reason.",
    )


def _part(evidence: Evidence, domain: str) -> Part:
    orders = {name: _agreement(evidence, name, SHUFFLED) for name in evidence.domains}
    others = {name: value for name, value in orders.items() if value and name != domain}
    shuffled = {f"agreement, {NAMES[SHUFFLED]}": orders[domain]}
    controls = {f"agreement, {NAMES[n]}": _agreement(evidence, domain, n) for n in CONTROLS}
    measured = [group for group in evidence.with_metric(FORCED) if group.domain == domain]
    groups = {str(group.axes[AXIS]): group for group in measured}
    title = DOMAINS[domain].title
    figure = dot_plot(
        dot_rows(
            (NAMES.get(name, name), [group.value(metric) for metric in list(COLUMNS.values())[:2]])
            for name, group in groups.items()
        ),
        title=f"{title}: agreement of two hyperfitted models",
        description="share of equal tokens, by what differs between the two runs",
        x_label="share of equal tokens",
        legend=("first choices, true data", "greedy continuations"),
        levels=[
            Level(y=end, label=f"P1: {end:.2f}") for end in (PAPER if domain in CLAIMS else ())
        ],
    )
    rows = [
        TableRow(
            label=NAMES.get(name, name),
            cells=[*(group.value(metric) for metric in COLUMNS.values()), _weights(group)],
            subject=name not in CONTROLS,
        )
        for name, group in groups.items()
    ]
    return Part(
        findings=[
            settle(domain, shuffled, partial(_rule, others), claim=CLAIMS.get(domain)),
            settle(domain, shuffled | controls, _controls, claim=None),
        ],
        figures=[figure],
        tables=[make_table(title, [*COLUMNS, "largest difference of a weight"], rows)],
    )


def _weights(group: Group) -> str | None:
    """Most are below a thousandth, where decimals say nothing."""
    value = group.value("weights/runs/largest_difference")
    return None if value is None else f"{value.mean:.0e}" if value.mean else "0"


def _agreement(evidence: Evidence, domain: str, compared: str) -> Value | None:
    groups = evidence.find(domain, **{AXIS: compared})
    return groups[0].value(FORCED) if groups else None


def _rule(others: dict[str, Value], shuffled: Value) -> Judged:
    words = (
        f"models trained in two orders make the same first choice at {share(shuffled)} of the "
        "tokens of true data"
    )
    beside = [f"{DOMAINS[name].title.lower()}: {share(value)}" for name, value in others.items()]
    words += f" ({', '.join(beside)})" if beside else ""
    return [opposite(is_above_level(shuffled, MOST_AGREEMENT))], words


def _controls(shuffled: Value, repeat: Value, rounding: Value) -> Judged:
    return [is_above(control, shuffled) for control in (repeat, rounding)], (
        f"identical repeats make the same first choice at {share(repeat)} of the tokens, runs that "
        f"differ in rounding only at {share(rounding)}, two orders at {share(shuffled)}"
    )
