"""From values over seeds to what the plots draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from benchmarks.evidence.over_seeds import Group, Value
from benchmarks.evidence.plots import Dot, DotRow
from common.report.charts import Series


def as_dot(value: Value, kind: int = 0) -> Dot:
    """A dot with the interval that is shown."""
    return Dot(mean=value.mean, low=value.low, high=value.high, kind=kind)


def dot_rows(rows: Iterable[tuple[str, Sequence[Value | None]]]) -> list[DotRow]:
    """One row per label, one kind of dot per place; nothing where nothing was measured."""
    drawn = [
        DotRow(label=label, dots=[as_dot(v, kind) for kind, v in enumerate(values) if v])
        for label, values in rows
    ]
    return [row for row in drawn if row.dots]


def trend(
    label: str,
    points: Iterable[tuple[float, Value | None]],
    *,
    colour: int,
    style: Literal["line", "marked"] = "marked",
) -> Series:
    """A line through values, with their intervals as whiskers ("marked") or a band ("line")."""
    there = sorted(((x, v) for x, v in points if v is not None), key=lambda point: point[0])
    return Series(
        label=label,
        points=[(x, v.mean) for x, v in there],
        colour=colour,
        style=style,
        intervals=[
            (x, v.low, v.high) for x, v in there if v.low is not None and v.high is not None
        ],
    )


def seed_curves(
    group: Group, x: str, y: str, *, label: str, colour: int, series: str = "curve"
) -> list[Series]:
    """One line per seed of `y` against `x`; only the first is labelled."""
    lines = []
    for place, records in enumerate(group.series(series)):
        points = [(r[x], r[y]) for r in records if r.get(x) is not None and r.get(y) is not None]
        if points:
            name = label if place == 0 else ""
            lines.append(Series(label=name, points=points, colour=colour))
    return lines


def band(
    group: Group, series: str, x: str, y: str, *, label: str, colour: int, **where: Any
) -> Series:
    """`y` of a series against `x`, with the interval that is shown as a band.

    Args:
        group: whose cells hold the series.
        series: its name.
        x: field along the axis; only values that every seed has are drawn.
        y: field that is drawn; with one seed its interval is `y`_low to `y`_high, where recorded.
        label: at the line's end.
        colour: of the line and its band.
        where: only records with these fields.
    """
    seeds = [
        {r[x] for r in records if where.items() <= r.items() and r.get(y) is not None}
        for records in group.series(series)
    ]
    shared = set[float].intersection(*seeds) if seeds else set[float]()
    points = [(at, group.recorded(series, y, **{x: at}, **where)) for at in shared]
    return trend(label, points, colour=colour, style="line")
