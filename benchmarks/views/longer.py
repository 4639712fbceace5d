"""Experiment 13: neither grokking nor double descent (P1, 7.2)? Ten times the updates tell."""

from __future__ import annotations

from benchmarks.plots import small_line_chart
from benchmarks.views.draw import seed_curves
from benchmarks.views.groups import Evidence, Group, Value, is_above
from benchmarks.views.section import DOMAINS, Judged, Section, TableRow, make_table, settle
from benchmarks.views.words import told
from common.metric_names import metric_label

AXIS = "times"


def view(evidence: Evidence) -> Section:
    findings, figures, tables = [], [], []
    for domain in evidence.domains:
        runs = sorted(
            (run for run in evidence.runs(domain) if AXIS in run.axes),
            key=lambda run: run.axes[AXIS],
        )
        if not runs:
            continue
        short, long = runs[0], runs[-1]
        compared = long is not short
        needed = {
            "lowest held-out loss": long.probe("early-stopped", "loss_nats"),
            "held-out loss of the long run": long.probe("hyperfitted", "loss_nats"),
            "TTR of the usual run": short.decoded("hyperfitted-greedy", "ttr"),
            "TTR of the long run": long.decoded("hyperfitted-greedy", "ttr") if compared else None,
        }
        findings.append(settle(domain, needed, _rule, covered=domain == "text"))
        figures += _figures(domain, runs)
        ttr = runs[0].ttr_name()
        rows = [
            TableRow(
                label=f"{run.axes[AXIS]}x",
                cells=[
                    run.value("training/updates"),
                    run.value("training/final_loss"),
                    run.probe("early-stopped", "loss_nats"),
                    run.probe("hyperfitted", "loss_nats"),
                    run.probe("hyperfitted", "entropy_nats"),
                    run.decoded("hyperfitted-greedy", ttr),
                    run.decoded("hyperfitted-greedy", "rep_4"),
                    run.decoded("hyperfitted-greedy", "overlap_over_10"),
                ],
            )
            for run in runs
        ]
        columns = [
            "updates",
            "final training loss",
            "lowest held-out loss",
            "final held-out loss",
            "entropy (nats)",
            metric_label(ttr),
            "rep-4",
            metric_label("overlap_over_10"),
        ]
        tables.append(make_table(f"{DOMAINS[domain]}, hyperfitted greedy", columns, rows))
    return Section(
        rule="Agrees when the held-out loss of the long run ends above its lowest value and the "
        "type-token ratio does not gain over the usual run; contradicts when the loss comes back "
        "below its lowest value or the ratio gains.",
        findings=findings,
        figures=figures,
        tables=tables,
        notes=["One line per seed."],
    )


def _rule(lowest: Value, final: Value, ttr: Value, long_ttr: Value) -> Judged:
    gains = is_above(long_ttr, ttr)
    return [is_above(final, lowest), gains is not True], (
        f"after the long run the held-out loss is {told(final)} nats, where its lowest was "
        f"{told(lowest)}; the greedy type-token ratio is {told(long_ttr)} instead of {told(ttr)}"
    )


def _figures(domain: str, runs: list[Group]) -> list[str]:
    drawn = []
    for measure, name in (
        ("validation_loss", "validation loss (nats)"),
        (runs[0].ttr_name(), metric_label(runs[0].ttr_name())),
    ):
        series = [
            line
            for place, run in enumerate(runs)
            for line in seed_curves(
                run, "update", measure, label=f"{run.axes[AXIS]}x", colour=place % 4
            )
        ]
        title = f"{DOMAINS[domain]}: {name}"
        drawn.append(small_line_chart(series, title=title, x_label="updates", log_x=True))
    return [figure for figure in drawn if figure]
