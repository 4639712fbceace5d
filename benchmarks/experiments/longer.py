"""Experiment 13: ten times the updates, to see whether this is grokking or double descent.

P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318), section 7.2, says that it is neither. Double
descent would show as a validation loss that falls back from its maximum towards its minimum, late
grokking as a gain in what is written. The curve has no sampling interval, so its fall is compared
with a share of its rise, in every seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.evidence.copied import COPIED, by_ttr, copied_clause
from benchmarks.evidence.draw import seed_curves
from benchmarks.evidence.over_seeds import Evidence, Group, Value, is_above, opposite, over_seeds
from benchmarks.evidence.plots import small_line_chart
from benchmarks.evidence.section import (
    Judged,
    Part,
    Section,
    TableRow,
    make_table,
    section_of,
    settle,
)
from benchmarks.evidence.words import number, shown
from common.measure.intervals import Interval, point
from common.report.names import metric_label

CLAIMS = {"text": "P1 7.2"}
TTR_CLAIMS = {"text": "P1 Fig. 2"}
AXIS = "times"
FALL = 0.1
"""Of the rise of the validation loss from its minimum to its maximum: giving up more than this by
the end, in every seed, is a fall."""


def view(evidence: Evidence) -> Section:
    return section_of(
        [_part(runs) for runs in evidence.runs(AXIS).values()],
        rule="The loss agrees when the held-out loss of the long run ends above its lowest value "
        f"and the validation loss gives up at most {100 * FALL:g} % of its rise by the end in "
        "every seed; it contradicts when the held-out loss ends below its lowest value, or when "
        "the fall is larger in every seed. The type-token ratio agrees when that of the long run "
        "is below that of the usual run; contradicts when it is above.",
        notes=["One line per seed."],
    )


def _part(unordered: list[Group]) -> Part:
    runs = sorted(unordered, key=lambda run: run.axes[AXIS])
    short, long = runs[0], runs[-1]
    compared = long is not short
    falls = [fall for records in long.series("curve") if (fall := fall_of(records))]
    losses = {
        "lowest held-out loss": long.probe("early-stopped", "loss_nats"),
        "held-out loss of the long run": long.probe("hyperfitted", "loss_nats"),
        "fall of the validation loss": over_seeds(falls) if falls else None,
    }
    ratios = {
        f"{name} of the {which} run": run.decoded("hyperfitted-greedy", metric)
        if compared or run is not long
        else None
        for name, metric in (("TTR", "ttr"), ("share that is copied", COPIED))
        for which, run in (("usual", short), ("long", long))
    }
    domain, ttr = short.domain, short.ttr_name()
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
    return Part(
        findings=[
            settle(domain, losses, partial(_rule, falls), claim=CLAIMS.get(domain)),
            settle(domain, ratios, _variety, claim=TTR_CLAIMS.get(domain)),
        ],
        figures=_figures(runs),
        tables=[make_table(f"{short.domain_title}, hyperfitted greedy", columns, rows)],
    )


def fall_of(records: Sequence[Mapping[str, Any]]) -> Interval | None:
    """What the validation loss of one seed gives up of its rise by the end.

    Returns:
        The fall from its maximum to where it ends, over the rise from its minimum to its maximum;
        0 without a rise; n is the number of validations, the one before training included. None
        without a validation.
    """
    losses = [r["validation_loss"] for r in records if r.get("validation_loss") is not None]
    if not losses:
        return None
    rise = max(losses) - min(losses)
    return point((max(losses) - losses[-1]) / rise if rise else 0.0, len(losses))


def has_fallen(falls: Sequence[Interval]) -> bool | None:
    """True where every seed fell by more than `FALL`, False where none did, else None."""
    fell = {fall.mean > FALL for fall in falls}
    return fell.pop() if len(fell) == 1 else None


def _rule(falls: Sequence[Interval], lowest: Value, final: Value, fall: Value) -> Judged:
    least, most = (number(100 * f(one.mean for one in falls), 0) for f in (min, max))
    return [is_above(final, lowest), opposite(has_fallen(falls))], (
        f"after the long run the held-out loss is {shown(final)} nats, where its lowest was "
        f"{shown(lowest)}; from its maximum the validation loss falls back by "
        f"{least if least == most else f'{least} to {most}'}\u00a0% of its rise (over "
        f"{fall.seeds} seed{'s' if fall.seeds > 1 else ''} of {fall.n} validations)"
    )


def _variety(ttr: Value, long_ttr: Value, copied: Value, long_copied: Value) -> Judged:
    return [by_ttr(opposite(is_above(long_ttr, ttr)), copied, long_copied)], (
        f"the greedy type-token ratio after the long run is {shown(long_ttr)}, after the usual one "
        f"{shown(ttr)}{copied_clause({'in the usual run': copied, 'in the long one': long_copied})}"
    )


def _figures(runs: list[Group]) -> list[str]:
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
        title = f"{runs[0].domain_title}: {name}"
        drawn.append(small_line_chart(series, title=title, x_label="updates", log_x=True))
    return drawn
