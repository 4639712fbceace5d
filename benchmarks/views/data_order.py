"""Experiment 5: how far does the order of the data decide the result? (P1, 6.1)

P1 trains on one set in two orders and finds 68 to 75 % equal first choices. Whether the order is
the reason takes the controls it lacks: identical repeats, and repeats that differ in rounding only.
"""

from __future__ import annotations

from benchmarks.plots import dot_plot
from benchmarks.views.draw import dot_rows
from benchmarks.views.groups import Evidence, Group, Value, is_above
from benchmarks.views.section import (
    DOMAINS,
    Judged,
    Section,
    TableRow,
    make_table,
    opposite,
    settle,
)
from benchmarks.views.words import share
from common.charts import Level

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
FORCED = "teacher-forced/runs/top1_agreement"
COLUMNS = {
    "equal first choices, true data": FORCED,
    "equal tokens, greedy": "greedy/runs/equal_share",
    "tokens until they differ, greedy": "greedy/runs/tokens_until_difference",
    "equal first choices with the original": "teacher-forced/original/top1_agreement",
}


def view(evidence: Evidence) -> Section:
    findings, figures, tables = [], [], []
    for domain in evidence.domains:
        groups = {str(group.axes[AXIS]): group for group in evidence.with_metric(domain, FORCED)}
        values = {name: group.value(FORCED) for name, group in groups.items()}
        needed = {f"agreement, {NAMES[n]}": values.get(n) for n in (SHUFFLED, *CONTROLS)}
        findings.append(settle(domain, needed, _rule, covered=domain == "text"))
        rows = dot_rows(
            (NAMES.get(name, name), [group.value(metric) for metric in list(COLUMNS.values())[:2]])
            for name, group in groups.items()
        )
        if rows:
            figures.append(
                dot_plot(
                    rows,
                    title=f"{DOMAINS[domain]}: agreement of two hyperfitted models",
                    description="share of equal tokens, by what differs between the two runs",
                    x_label="share of equal tokens",
                    legend=("first choices, true data", "greedy continuations"),
                    levels=[
                        Level(y=end, label=f"P1: {end:.2f}")
                        for end in (PAPER if domain == "text" else ())
                    ],
                )
            )
        table = [
            TableRow(
                label=NAMES.get(name, name),
                cells=[*(group.value(metric) for metric in COLUMNS.values()), _weights(group)],
                subject=name not in CONTROLS,
            )
            for name, group in groups.items()
        ]
        columns = [*COLUMNS, "largest difference of a weight"]
        tables.append(make_table(DOMAINS[domain], columns, table))
    return Section(
        rule="Agrees when two orders agree less than every control (identical repeats, other "
        "rounding), so that the order is the reason; contradicts when they agree more than one.",
        findings=findings,
        figures=figures,
        tables=tables,
    )


def _weights(group: Group) -> str | None:
    """Most are below a thousandth, where decimals say nothing."""
    value = group.value("weights/runs/largest_difference")
    return None if value is None else f"{value.mean:.0e}" if value.mean else "0"


def _rule(shuffled: Value, repeat: Value, rounding: Value) -> Judged:
    claims = [opposite(is_above(shuffled, control)) for control in (repeat, rounding)]
    return claims, (
        f"models trained in two orders make the same first choice at {share(shuffled)} of the "
        f"tokens of true data; identical repeats at {share(repeat)}, runs that differ in rounding "
        f"only at {share(rounding)}"
    )
