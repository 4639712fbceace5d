"""The evidence report's plots: dots with intervals in rows, and trends with their intervals.

Both are SVG text of `common.report.charts`' size and style. A dot plot replaces a bar chart: it may
begin anywhere, shows the interval as plainly as the value, and holds several kinds of value per
row.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from common.report.axes import (
    CHARACTER_PX,
    GRID,
    MUTED,
    colour,
    dot,
    is_finite,
    line,
    linear_axis,
    log_axis,
    opening,
    text,
)
from common.report.charts import WIDTH, Level, Series, from_to, line_chart

_ROW_PX, _DOT_PX = 22, 9
_RIGHT, _BOTTOM, _LEGEND_PX = 16, 36, 18
_LABEL_CHARACTER_PX = 6.9  # some sans-serif fonts are wide, and a label cannot leave the plot
_MAX_LABEL_PX = 190
_LABEL_LINE_PX = 13
_TITLE_PX = 22


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A value with its interval.

    Attributes:
        mean: where the dot stands.
        low: lower end of its interval; None where it has none.
        high: upper end; None exactly when `low` is.
        kind: which entry of the legend, from 0 to 3; decides the colour.
    """

    mean: float
    low: float | None
    high: float | None
    kind: int = 0


@dataclass(frozen=True, kw_only=True)
class DotRow:
    """A row of a dot plot: `label`, in lines of about 27 characters, and its dots, one below
    another."""

    label: str
    dots: Sequence[Dot]


def dot_plot(
    rows: Sequence[DotRow],
    *,
    title: str,
    description: str,
    x_label: str,
    legend: Sequence[str] = (),
    levels: Sequence[Level] = (),
    log_x: bool = False,
) -> str:
    """An `<svg>` with one row per label, values along the horizontal axis.

    Args:
        rows: from top to bottom.
        title: the accessible name, also written above the plot.
        description: one sentence for readers who cannot see the dots.
        x_label: under the axis, with the unit.
        legend: what the kinds of dots are; left out where there is one.
        levels: vertical dashed lines (their `y` is the value), at most two, labelled above.
        log_x: logarithmic axis; values must not be negative.

    Returns:
        SVG; "" where no row has a dot.
    """
    dots = [one for row in rows for one in row.dots]
    if not dots:
        return ""
    assert len(levels) <= 2, levels
    values = [v for one in dots for v in (one.mean, one.low, one.high) if is_finite(v)]
    values += [level.y for level in levels]
    fit = int(_MAX_LABEL_PX / _LABEL_CHARACTER_PX)
    # A setting and its number ("T 0.7") stay on one line.
    labels = [textwrap.wrap(re.sub(r" (?=\d)", "\u00a0", row.label), fit) for row in rows]
    widest = max(len(line) for lines in labels for line in lines)
    left = min(_MAX_LABEL_PX, _LABEL_CHARACTER_PX * widest) + 10
    top = _TITLE_PX + _LEGEND_PX * bool(legend) + _LEGEND_PX * bool(levels)
    heights = [
        max(_ROW_PX, _DOT_PX * len(row.dots) + 8, _LABEL_LINE_PX * len(lines) + 8)
        for row, lines in zip(rows, labels, strict=True)
    ]
    bottom = top + sum(heights)
    height = round(bottom + _BOTTOM)
    if log_x:
        x_of, ticks = log_axis(values, left, WIDTH - _RIGHT)
    else:
        x_of, ticks = linear_axis(values, left, WIDTH - _RIGHT, count=5)

    parts = [opening(title, description, width=WIDTH, height=height), text(0, 12, title)]
    parts += _legend(legend)
    for value, label in ticks:
        parts.append(line(x_of(value), top, x_of(value), bottom, f"stroke:{GRID};stroke-width:1"))
        parts.append(text(x_of(value), bottom + 16, label, anchor="middle"))
    parts.append(text((left + WIDTH - _RIGHT) / 2, height - 4, x_label, anchor="middle"))
    parts += _levels([(x_of(level.y), level.label) for level in levels], top, bottom)
    y = float(top)
    for row, lines, row_height in zip(rows, labels, heights, strict=True):
        middle = y + row_height / 2
        highest = middle + 4 - _LABEL_LINE_PX * (len(lines) - 1) / 2
        for place, words in enumerate(lines):
            parts.append(text(left - 8, highest + place * _LABEL_LINE_PX, words, anchor="end"))
        first = middle - _DOT_PX * (len(row.dots) - 1) / 2
        for place, one in enumerate(row.dots):
            at = first + place * _DOT_PX
            if is_finite(one.low) and is_finite(one.high):
                style = f"stroke:{colour(one.kind)};stroke-width:1.6;opacity:.75"
                parts.append(line(x_of(one.low), at, x_of(one.high), at, style))
            parts.append(dot(x_of(one.mean), at, colour(one.kind)))
        y += row_height
    return "\n".join([*parts, "</svg>"])


def small_line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    levels: Sequence[Level] = (),
    log_x: bool = False,
    log_y: bool = False,
    x_falls: bool = False,
) -> str:
    """`common.report.charts.line_chart` with a description made from the points; "" without any."""
    description = from_to(series)
    if not description:
        return ""
    return line_chart(
        series,
        title=title,
        description=description,
        x_label=x_label,
        y_label=title,
        levels=levels,
        log_x=log_x,
        log_y=log_y,
        x_falls=x_falls,
    )


def _legend(entries: Sequence[str]) -> list[str]:
    parts, x, y = [], 4.0, _TITLE_PX + 8
    for kind, entry in enumerate(entries):
        parts.append(dot(x, y - 4, colour(kind)))
        parts.append(text(x + 8, y, entry, fill=colour(kind)))
        x += 8 + CHARACTER_PX * len(entry) + 18
    return parts


def _levels(places: Sequence[tuple[float, str]], top: float, bottom: float) -> list[str]:
    """Dashed lines; the label of the right one begins where the left one's has ended."""
    style = f"stroke:{MUTED};stroke-width:1;stroke-dasharray:5 4"
    parts, clear_from = [], 0.0
    for x, label in sorted(places):
        width = CHARACTER_PX * len(label)
        start = min(max(clear_from, x - width / 2), WIDTH - width)
        clear_from = start + width + 8
        parts.append(line(x, top, x, bottom, style))
        parts.append(text(start, top - 5, label))
    return parts
