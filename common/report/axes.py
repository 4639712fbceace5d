"""Parts of every chart: scales, round ticks, and small pieces of SVG text.

A scale maps a value to a pixel. An axis is a scale with its ticks; it runs between two pixels in
either direction, so the same code serves horizontal and vertical axes. Colours are CSS variables
with fallbacks, so that the page sets them for light and dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import TypeGuard

COLOURS = ("#0b62a4", "#a8470b", "#0b7a55", "#7a4fa3")
INK = "var(--chart-ink,#222)"
MUTED = "var(--chart-muted,#666)"
GRID = "var(--chart-grid,#ddd)"
LINE_PX = 13
"""Distance between the base lines of two labels."""
CHARACTER_PX = 6.2
"""Mean width of a character at 12 px."""

Scale = Callable[[float], float]
Axis = tuple[Scale, list[tuple[float, str]]]


def is_finite(value: float | None) -> TypeGuard[float]:
    """Whether there is a number that can be drawn."""
    return value is not None and math.isfinite(value)


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """The line through (low, start) and (high, end)."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def linear_ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within [low, high], about `count` of them."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9) / count))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * step) <= count or m == 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def linear_axis(values: Sequence[float], start: float, end: float, *, count: int = 5) -> Axis:
    """An axis with zero on it and a little room beyond the values furthest from it."""
    low, high = min(0.0, min(values)), max(0.0, max(values))
    room = 0.04 * max(high - low, 1e-6)
    low, high = low - room * (low < 0), high + room * (high > 0 or low == 0)
    return scale(low, high, start, end), [
        (value, short(value)) for value in linear_ticks(low, high, count)
    ]


def log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """Ticks at powers of ten, and at 2 and 5 times them if few; zeros are at `start`, tick "0"."""
    assert min(values) >= 0, "a logarithmic axis takes no negative value"
    positive = [value for value in values if value > 0] or [0.1, 1.0]
    has_zero = min(values) == 0
    low = min(positive) / (3 if has_zero else 1.15)
    high = max(max(positive), min(positive) * 2) * 1.15
    of_log = scale(math.log(low), math.log(high), start, end)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 4 else (1,)
    marks = [step * 10.0**decade for decade in decades for step in steps]
    lowest = low * 2 if has_zero else low  # leaves room for the "0"
    ticks = [(value, short(value)) for value in marks if lowest <= value <= high]
    return (
        lambda value: of_log(math.log(value)) if value > 0 else float(start),
        [(0.0, "0"), *ticks] if has_zero else ticks,
    )


def short(value: float) -> str:
    """1200 -> "1,200", 0.05 -> "0.05", 20000 -> "20k"."""
    if abs(value) >= 10_000 and value % 1000 == 0:
        return f"{value / 1000:g}k"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def colour(index: int) -> str:
    """CSS of the series colour `index`, from 0."""
    return f"var(--chart-{index + 1},{COLOURS[index]})"


def text(x: float, y: float, words: str, *, anchor: str = "start", fill: str = MUTED) -> str:
    """A `<text>` whose base line is at `y`."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{fill}">'
        f"{escape(words)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A `<line>`."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" style="{style}"/>'


def dot(x: float, y: float, fill: str) -> str:
    """A small filled circle."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.8" style="fill:{fill}"/>'


def opening(title: str, description: str, *, width: int, height: int) -> str:
    """The `<svg>` start tag with an accessible name; the element scales with its container."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"',
            f'aria-label="{escape(title)}. {escape(description)}"',
            'style="font:12px system-ui,sans-serif;font-variant-numeric:tabular-nums">',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
        ]
    )
