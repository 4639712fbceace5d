"""Line charts as SVG text, to be put into a page: no library, no script, a few kilobytes each.

Colours are CSS variables (`--chart-1` ..., `--chart-ink`, `--chart-muted`, `--chart-grid`) with
fallbacks, so the page decides about light and dark. Lines are labelled at their ends instead of in
a legend (Tufte). A logarithmic axis accepts 0, which a float32 cross-entropy does reach: the axis
then ends below in a tick that says "0".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

WIDTH, HEIGHT = 380, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 82, 34, 36
_LINE_PX = 13  # distance between two labels
_CHARACTER_PX = 6.2  # mean width of one at 12 px
_MAX_POINTS = 1200
_COLOURS = ("#0b62a4", "#a8470b", "#0b7a55", "#7a4fa3")
_INK = "var(--chart-ink,#222)"
_STYLE = {
    "line": "fill:none;stroke-width:1.6;stroke-linejoin:round",
    "faint": "fill:none;stroke-width:1;stroke-linejoin:round;opacity:.75",
}


@dataclass(frozen=True, kw_only=True)
class Series:
    """One curve.

    Attributes:
        label: written at its last point.
        points: (x, y) in the order to be joined; a y that is None or not finite leaves a gap.
        colour: which of the four series colours, from 0.
        style: "line", "faint" (a noisy line) or "dots".
    """

    label: str
    points: Sequence[tuple[float, float | None]]
    colour: int = 0
    style: Literal["line", "faint", "dots"] = "line"


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
    """
    finite = [(x, y) for one in series for x, y in one.points if _is_finite(y)]
    assert finite, "a chart needs at least one finite point"
    assert len(markers) <= 2, markers
    ys = [y for _, y in finite if y is not None] + [level.y for level in levels]
    xs = [x for x, _ in finite] + [marker.x for marker in markers]
    x_ticks = _linear_ticks(min(0.0, min(xs)), max(xs), 4)
    x_of = _scale(min(0.0, min(xs)), max(max(xs), min(xs) + 1e-9), _LEFT, WIDTH - _RIGHT)
    y_of, y_ticks = _log_axis(ys) if log_y else _linear_axis(ys)

    parts = [_frame(title, description, x_label, y_label)]
    parts += [_y_tick(y_of(value), text) for value, text in y_ticks]
    parts += [_x_tick(x_of(value), _short(value)) for value in x_ticks]
    parts += [_level_line(y_of(level.y)) for level in levels]
    parts += _marker_lines(markers, x_of)
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
        block = [(x, y) for x, y in points[start : start + size] if _is_finite(y)]
        if not block:
            kept.append((points[start][0], None))
            continue
        extremes = {min(block, key=lambda p: p[1] or 0.0), max(block, key=lambda p: p[1] or 0.0)}
        kept += sorted(extremes)
    return kept


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within [low, high], about `count` of them."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9) / count))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * step) <= count or m == 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


_Axis = tuple[Callable[[float], float], list[tuple[float, str]]]


def _linear_axis(ys: Sequence[float]) -> _Axis:
    """From zero to a little above the highest value."""
    low, high = min(0.0, min(ys)), max(max(ys), min(ys) + 1e-6) * 1.04
    to_pixel = _scale(low, high, HEIGHT - _BOTTOM, _TOP)
    return to_pixel, [(value, _short(value)) for value in _linear_ticks(low, high, 5)]


def _log_axis(ys: Sequence[float]) -> _Axis:
    """Powers of ten, with 2 and 5 where few; zeros stand on the lowest line, which says so."""
    assert min(ys) >= 0, "a logarithmic axis takes no negative value"
    positive = [y for y in ys if y > 0] or [0.1, 1.0]
    has_zero = min(ys) == 0
    low = min(positive) / (3 if has_zero else 1.15)
    high = max(max(positive), min(positive) * 2) * 1.15
    log_scale = _scale(math.log(low), math.log(high), HEIGHT - _BOTTOM, _TOP)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 4 else (1,)
    values = [step * 10.0**decade for decade in decades for step in steps]
    lowest = low * 2 if has_zero else low  # leave room for the "0"
    ticks = [(value, _short(value)) for value in values if lowest <= value <= high]
    return (
        lambda y: log_scale(math.log(y)) if y > 0 else float(HEIGHT - _BOTTOM),
        [(0.0, "0"), *ticks] if has_zero else ticks,
    )


def _short(value: float) -> str:
    """1200 -> "1,200", 0.05 -> "0.05", 20000 -> "20k"."""
    if abs(value) >= 10_000 and value % 1000 == 0:
        return f"{value / 1000:g}k"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _colour(index: int) -> str:
    return f"var(--chart-{index + 1},{_COLOURS[index]})"


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "") -> str:
    fill = colour or "var(--chart-muted,#666)"
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{fill}">'
        f"{escape(text)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" style="{style}"/>'


def _frame(title: str, description: str, x_label: str, y_label: str) -> str:
    axis = "stroke:var(--chart-muted,#666);stroke-width:1"
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"',
            f'aria-label="{escape(title)}. {escape(description)}"',
            'style="font:12px system-ui,sans-serif;font-variant-numeric:tabular-nums">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            _line(_LEFT, bottom, right, bottom, axis),
            _text((_LEFT + right) / 2, HEIGHT - 4, x_label, anchor="middle"),
            _text(0, 11, y_label),
        ]
    )


def _y_tick(y: float, text: str) -> str:
    grid = "stroke:var(--chart-grid,#ddd);stroke-width:1"
    return _line(_LEFT, y, WIDTH - _RIGHT, y, grid) + _text(_LEFT - 6, y + 4, text, anchor="end")


def _x_tick(x: float, text: str) -> str:
    bottom = HEIGHT - _BOTTOM
    tick = _line(x, bottom, x, bottom + 4, "stroke:var(--chart-muted,#666);stroke-width:1")
    return tick + _text(x, bottom + 17, text, anchor="middle")


def _level_line(y: float) -> str:
    style = "stroke:var(--chart-muted,#666);stroke-width:1;stroke-dasharray:5 4"
    return _line(_LEFT, y, WIDTH - _RIGHT, y, style)


def _marker_lines(markers: Sequence[Marker], x_of: Callable[[float], float]) -> list[str]:
    """The left label keeps clear of the right one and of the edge; both stand above the plot."""
    style = f"stroke:{_INK};stroke-width:1;stroke-dasharray:1.5 2.5"
    parts, clear_to = [], float(WIDTH)
    for marker in sorted(markers, key=lambda marker: marker.x, reverse=True):
        x, width = x_of(marker.x), _CHARACTER_PX * len(marker.label)
        start = max(0.0, min(x - width / 2, clear_to - width))
        clear_to = start - _LINE_PX
        parts.append(_line(x, _TOP - 4, x, HEIGHT - _BOTTOM, style))
        parts.append(_text(start, _TOP - 8, marker.label, colour=_INK))
    return parts


def _curve(one: Series, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> str:
    points = thin(one.points, _MAX_POINTS)
    pixels = [(x_of(x), y_of(y)) if y is not None and math.isfinite(y) else None for x, y in points]
    if one.style == "dots":
        return "".join(
            f'<circle cx="{p[0]:.1f}" cy="{p[1]:.1f}" r="2.8" style="fill:{_colour(one.colour)}"/>'
            for p in pixels
            if p is not None
        )
    path, pen_down = [], False
    for pixel in pixels:
        if pixel is not None:
            path.append(f"{'L' if pen_down else 'M'}{pixel[0]:.1f} {pixel[1]:.1f}")
        pen_down = pixel is not None
    style = f"{_STYLE[one.style]};stroke:{_colour(one.colour)}"
    return f'<path d="{"".join(path)}" style="{style}"/>'


def _end_labels(
    series: Sequence[Series],
    levels: Sequence[Level],
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
) -> list[str]:
    """Labels at the right, pushed apart where they would overlap."""
    wanted = [(y_of(level.y), level.label, "") for level in levels]
    for one in series:
        last = [y for _, y in one.points if y is not None and math.isfinite(y)]
        if last and one.label:
            wanted.append((y_of(last[-1]), one.label, _colour(one.colour)))
    wanted.sort(key=lambda label: label[0])
    ys = [y for y, _, _ in wanted]
    for i in range(1, len(ys)):
        ys[i] = max(ys[i], ys[i - 1] + _LINE_PX)
    floor = float(HEIGHT - _BOTTOM + 4)
    for i in reversed(range(len(ys))):
        ys[i] = min(ys[i], floor)
        floor = ys[i] - _LINE_PX
    x = WIDTH - _RIGHT + 6
    return [
        _text(x, y + 4, text, colour=colour)
        for y, (_, text, colour) in zip(ys, wanted, strict=True)
    ]
