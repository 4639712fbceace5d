"""Scales and ticks by themselves, and what charts gained with them: intervals and turned axes."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from common.report.axes import is_finite, linear_axis, log_axis
from common.report.charts import Series, line_chart

SVG = "{http://www.w3.org/2000/svg}"


def draw(*series: Series, **options: object) -> ElementTree.Element:
    arguments = {"title": "T", "description": "D", "x_label": "x", "y_label": "y", **options}
    return ElementTree.fromstring(line_chart(series, **arguments))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("values", [(0.2, 0.7), (-3.0, 2.0), (-5.0, -1.0), (0.0, 0.0)])
def test_a_linear_axis_holds_zero_and_every_value(values: tuple[float, float]) -> None:
    to_pixel, ticks = linear_axis(values, 0.0, 100.0)
    assert all(0 <= to_pixel(value) <= 100 for value in (*values, 0.0))
    assert all(0 <= to_pixel(value) <= 100 for value, _ in ticks)
    assert "0" in [label for _, label in ticks]


def test_an_axis_may_run_either_way() -> None:
    up, down = log_axis([1.0, 100.0], 0.0, 100.0)[0], log_axis([1.0, 100.0], 100.0, 0.0)[0]
    assert up(10.0) == pytest.approx(50.0) and down(10.0) == pytest.approx(50.0)
    assert up(1.0) == pytest.approx(100 - down(1.0))


def test_finite_is_a_number_that_can_be_drawn() -> None:
    assert [is_finite(v) for v in (0.0, None, float("nan"), float("inf"))] == [True] + 3 * [False]


def test_whiskers_end_where_the_interval_does() -> None:
    points, ends = [(0.0, 1.0), (1.0, 2.0)], [(0.0, 0.5, 1.5), (1.0, 1.0, 4.0)]
    chart = draw(Series(label="s", points=points, style="marked", intervals=ends))
    circles = [float(c.get("cy", "")) for c in chart.iter(f"{SVG}circle")]
    per_unit = circles[0] - circles[1]
    vertical = [
        one for one in chart.iter(f"{SVG}line")
        if one.get("x1") == one.get("x2") and "opacity" in one.get("style", "")
    ]  # fmt: skip
    spans = [(float(one.get("y1", "")), float(one.get("y2", ""))) for one in vertical]
    assert spans[0][0] - spans[0][1] == pytest.approx(per_unit, abs=0.3)
    assert spans[1][0] - spans[1][1] == pytest.approx(3 * per_unit, abs=0.3)


def test_a_band_is_one_closed_shape_around_the_line() -> None:
    ends = [(0.0, 0.5, 1.5), (1.0, 1.5, 2.5), (2.0, 0.5, 1.5)]
    points = [(x, (low + high) / 2) for x, low, high in ends]
    chart = draw(Series(label="s", points=points, intervals=ends))
    shapes = [p.get("d", "") for p in chart.iter(f"{SVG}path")]
    assert re.sub(r"[-\d. ]", "", shapes[0]) == "MLLLLLZ"
    numbers = [float(n) for n in re.findall(r"[\d.]+", shapes[0])]
    xs, ys = numbers[::2], numbers[1::2]
    assert xs[:3] == xs[3:][::-1]
    assert all(top < bottom for top, bottom in zip(ys[:3], ys[3:][::-1], strict=True))


def test_a_falling_axis_puts_the_largest_left() -> None:
    points = [(4.0, 0.2), (0.4, 0.5), (0.04, 0.6)]
    chart = draw(Series(label="s", points=points, style="dots"), log_x=True, x_falls=True)
    xs = [float(c.get("cx", "")) for c in chart.iter(f"{SVG}circle")]
    assert xs[0] < xs[1] < xs[2]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
