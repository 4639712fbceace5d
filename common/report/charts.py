"""Line charts as SVG text to insert into a page: no library, no script, a few kilobytes each.

Colours are CSS variables (`--chart-1` ..., `--chart-ink`, `--chart-muted`, `--chart-grid`) with
fallbacks, so the page sets them for light and dark mode. Lines are labelled at their ends instead
of in a legend (Tufte). A logarithmic axis accepts 0, which a float32 cross-entropy does reach; its
lowest tick is then "0".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from common.report.axes import (
    CHARACTER_PX,
    GRID,
    INK,
    LINE_PX,
    MUTED,
    Scale,
    colour,
    dot,
    is_finite,
    line,
    linear_axis,
    linear_ticks,
    log_axis,
    opening,
    scale,
    short,
    text,
)

WIDTH, HEIGHT = 380, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 82, 34, 36
_MAX_POINTS = 1200
_STYLE = {
    "line": "fill:none;stroke-width:1.6;stroke-linejoin:round",
    "marked": "fill:none;stroke-width:1.6;stroke-linejoin:round",
    "faint": "fill:none;stroke-width:1;stroke-linejoin:round;opacity:.75",
}


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve.

    Attributes:
        label: written at its last point.
        points: (x, y) in the order of the line; a y that is None or not finite leaves a gap.
        colour: which of the four series colours, from 0.
        style: "line", "faint" (a noisy line), "dots", or "marked" (a line with its dots).
        intervals: (x, low, high); a band behind a "line", whiskers otherwise.
    """

    label: str
    points: Sequence[tuple[float, float | None]]
    colour: int = 0
    style: Literal["line", "faint", "dots", "marked"] = "line"
    intervals: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True, kw_only=True)
class Marker:
    """A vertical line at `x` with `label` above the plot."""

    x: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Level:
    """A dashed horizontal line at `y`, labelled at its right end."""

    y: float
    label: str


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    description: str,
    x_label: str,
    y_label: str,
    markers: Sequence[Marker] = (),
    levels: Sequence[Level] = (),
    log_y: bool = False,
    log_x: bool = False,
    x_falls: bool = False,
) -> str:
    """An `<svg>` element that scales with its container.

    Args:
        series: curves; at least one finite point among them.
        title: the accessible name, also shown on hovering.
        description: one sentence for readers who cannot see the curves.
        x_label: under the axis, with the unit.
        y_label: above the axis, with the unit.
        markers: vertical lines; at most two, in any order.
        levels: horizontal reference lines.
        log_y: logarithmic axis; values must not be negative.
        log_x: the same for the other axis.
        x_falls: the largest x is at the left, for a quantity that falls with time.
    """
    finite = [(x, y) for one in series for x, y in one.points if is_finite(y)]
    assert finite, "a chart needs at least one finite point"
    assert len(markers) <= 2, markers
    ys = [y for _, y in finite] + [level.y for level in levels]
    ys += [end for one in series for _, *ends in one.intervals for end in ends]
    xs = [x for x, _ in finite] + [marker.x for marker in markers]
    left, right = (WIDTH - _RIGHT, _LEFT) if x_falls else (_LEFT, WIDTH - _RIGHT)
    if log_x:
        x_of, x_ticks = log_axis(xs, left, right)
    else:
        first, last = min(0.0, min(xs)), max(max(xs), min(xs) + 1e-9)
        x_of = scale(first, last, left, right)
        x_ticks = [(value, short(value)) for value in linear_ticks(first, last, 4)]
    y_of, y_ticks = (log_axis if log_y else linear_axis)(ys, HEIGHT - _BOTTOM, _TOP)

    parts = [_frame(title, description, x_label, y_label)]
    parts += [_y_tick(y_of(value), label) for value, label in y_ticks]
    parts += [_x_tick(x_of(value), label) for value, label in x_ticks]
    parts += [_level_line(y_of(level.y)) for level in levels]
    parts += _marker_lines(markers, x_of)
    parts += [_intervals(one, x_of, y_of) for one in series if one.intervals]
    parts += [_curve(one, x_of, y_of) for one in series]
    parts += _end_labels(series, levels, x_of, y_of)
    return "\n".join([*parts, "</svg>"])


def thin(
    points: Sequence[tuple[float, float | None]], limit: int
) -> list[tuple[float, float | None]]:
    """At most about `limit` points that keep every bin's lowest and highest value, so that a
    spike of one update stays visible."""
    if len(points) <= limit:
        return list(points)
    size = math.ceil(2 * len(points) / limit)
    kept: list[tuple[float, float | None]] = []
    for start in range(0, len(points), size):
        block = [(x, y) for x, y in points[start : start + size] if is_finite(y)]
        if not block:
            kept.append((points[start][0], None))
            continue
        extremes = {min(block, key=lambda p: p[1] or 0.0), max(block, key=lambda p: p[1] or 0.0)}
        kept += sorted(extremes)
    return kept


def from_to(series: Sequence[Series]) -> str:
    """ "batch from 3.9 to 0.05; validation from 4 to 5.2": what a line chart shows, for readers who
    cannot see it; "" where no labelled series has a finite value."""
    told = []
    for one in series:
        ys = [y for _, y in one.points if is_finite(y)]
        if ys and one.label:
            told.append(f"{one.label} from {ys[0]:.3g} to {ys[-1]:.3g}")
    return "; ".join(told)


def _frame(title: str, description: str, x_label: str, y_label: str) -> str:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    return "\n".join(
        [
            opening(title, description, width=WIDTH, height=HEIGHT),
            line(_LEFT, bottom, right, bottom, f"stroke:{MUTED};stroke-width:1"),
            text((_LEFT + right) / 2, HEIGHT - 4, x_label, anchor="middle"),
            text(0, 11, y_label),
        ]
    )


def _y_tick(y: float, label: str) -> str:
    grid = f"stroke:{GRID};stroke-width:1"
    return line(_LEFT, y, WIDTH - _RIGHT, y, grid) + text(_LEFT - 6, y + 4, label, anchor="end")


def _x_tick(x: float, label: str) -> str:
    bottom = HEIGHT - _BOTTOM
    tick = line(x, bottom, x, bottom + 4, f"stroke:{MUTED};stroke-width:1")
    return tick + text(x, bottom + 17, label, anchor="middle")


def _level_line(y: float) -> str:
    style = f"stroke:{MUTED};stroke-width:1;stroke-dasharray:5 4"
    return line(_LEFT, y, WIDTH - _RIGHT, y, style)


def _marker_lines(markers: Sequence[Marker], x_of: Scale) -> list[str]:
    """Lines with labels above the plot; the left label avoids the right one and the edge."""
    style = f"stroke:{INK};stroke-width:1;stroke-dasharray:1.5 2.5"
    parts, clear_to = [], float(WIDTH)
    for marker in sorted(markers, key=lambda marker: marker.x, reverse=True):
        x, width = x_of(marker.x), CHARACTER_PX * len(marker.label)
        start = max(0.0, min(x - width / 2, clear_to - width))
        clear_to = start - LINE_PX
        parts.append(line(x, _TOP - 4, x, HEIGHT - _BOTTOM, style))
        parts.append(text(start, _TOP - 8, marker.label, fill=INK))
    return parts


def _intervals(one: Series, x_of: Scale, y_of: Scale) -> str:
    """A band over all intervals, or a whisker for each."""
    ends = [(x_of(x), y_of(low), y_of(high)) for x, low, high in one.intervals]
    if one.style == "line":
        edge = [(x, high) for x, _, high in ends] + [(x, low) for x, low, _ in reversed(ends)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in edge)
        return f'<path d="M{path}Z" style="fill:{colour(one.colour)};opacity:.18"/>'
    style = f"stroke:{colour(one.colour)};stroke-width:1.2;opacity:.8"
    return "".join(line(x, low, x, high, style) for x, low, high in ends)


def _curve(one: Series, x_of: Scale, y_of: Scale) -> str:
    points = thin(one.points, _MAX_POINTS)
    pixels = [(x_of(x), y_of(y)) if is_finite(y) else None for x, y in points]
    dots = "".join(dot(*p, colour(one.colour)) for p in pixels if p is not None)
    if one.style == "dots":
        return dots
    path, pen_down = [], False
    for pixel in pixels:
        if pixel is not None:
            path.append(f"{'L' if pen_down else 'M'}{pixel[0]:.1f} {pixel[1]:.1f}")
        pen_down = pixel is not None
    style = f"{_STYLE[one.style]};stroke:{colour(one.colour)}"
    drawn = f'<path d="{"".join(path)}" style="{style}"/>'
    return drawn + dots if one.style == "marked" else drawn


def _end_labels(
    series: Sequence[Series],
    levels: Sequence[Level],
    x_of: Scale,
    y_of: Scale,
) -> list[str]:
    """Labels at the right, pushed apart where they would overlap."""
    wanted = [(y_of(level.y), level.label, MUTED) for level in levels]
    for one in series:
        last = [y for _, y in one.points if is_finite(y)]
        if last and one.label:
            wanted.append((y_of(last[-1]), one.label, colour(one.colour)))
    wanted.sort(key=lambda label: label[0])
    ys = [y for y, _, _ in wanted]
    for i in range(1, len(ys)):
        ys[i] = max(ys[i], ys[i - 1] + LINE_PX)
    floor = float(HEIGHT - _BOTTOM + 4)
    for i in reversed(range(len(ys))):
        ys[i] = min(ys[i], floor)
        floor = ys[i] - LINE_PX
    x = WIDTH - _RIGHT + 6
    return [
        text(x, y + 4, label, fill=fill) for y, (_, label, fill) in zip(ys, wanted, strict=True)
    ]
