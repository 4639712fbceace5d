"""Charts are read back from their SVG and measured."""

from __future__ import annotations

import itertools
import math
import random
import re
from xml.etree import ElementTree

import pytest
from svg_marks import SVG, dots, texts

from common.report.charts import HEIGHT, WIDTH, Level, Marker, Series, from_to, line_chart, thin


def draw(*series: Series, **options: object) -> ElementTree.Element:
    arguments = {"title": "T", "description": "D", "x_label": "x", "y_label": "y", **options}
    return ElementTree.fromstring(line_chart(series, **arguments))  # pyright: ignore[reportArgumentType]


def test_a_linear_chart_is_linear_in_both_directions() -> None:
    points = [(0.0, 0.0), (10.0, 1.0), (20.0, 4.0), (40.0, 2.0)]
    pixels = dots(draw(Series(label="s", points=points, style="dots")))
    (x0, y0), (x1, y1) = pixels[0], pixels[1]
    for (x, y), (px, py) in zip(points, pixels, strict=True):
        assert px == pytest.approx(x0 + (x1 - x0) * x / 10, abs=0.11)
        assert py == pytest.approx(y0 + (y1 - y0) * y, abs=0.25)
    assert y1 < y0 and x1 > x0


def test_a_log_axis_spaces_equal_ratios_equally_and_ticks_stand_at_their_value() -> None:
    points = [(0, 2.0), (1, 0.2), (2, 0.02)]
    chart = draw(Series(label="s", points=points, style="dots"), log_y=True)
    ys = [y for _, y in dots(chart)]
    assert ys[1] - ys[0] == pytest.approx(ys[2] - ys[1], abs=0.2) and ys[1] > ys[0]
    assert texts(chart)["0.2"][1] - 4 == pytest.approx(ys[1], abs=0.2)


def test_a_log_axis_takes_zeros_and_says_so() -> None:
    chart = draw(
        Series(label="s", points=[(0, 1.0), (1, 0.01), (2, 0.0)], style="dots"), log_y=True
    )
    ys = [y for _, y in dots(chart)]
    assert ys[0] < ys[1] < ys[2]
    assert texts(chart)["0"] and texts(chart)["0.01"][1] - 4 == pytest.approx(ys[1], abs=0.2)
    zeros = draw(Series(label="s", points=[(0, 0.0), (1, 0.0)], style="dots"), log_y=True)
    assert len({y for _, y in dots(zeros)}) == 1


def test_a_negative_value_on_a_log_axis_is_our_bug() -> None:
    with pytest.raises(AssertionError, match="negative"):
        draw(Series(label="s", points=[(0, -1.0)]), log_y=True)


@pytest.mark.parametrize("hole", [None, math.nan, math.inf])
def test_a_value_that_is_not_finite_leaves_a_gap(hole: float | None) -> None:
    chart = draw(Series(label="s", points=[(0, 1.0), (1, 2.0), (2, hole), (3, 2.0), (4, 1.0)]))
    path = next(chart.iter(f"{SVG}path")).get("d", "")
    assert re.sub(r"[-\d. ]", "", path) == "MLML"


def test_everything_lies_inside_the_view_box() -> None:
    chart = draw(
        Series(label="a", points=[(0, 1.0), (600, 5.2)], style="dots"),
        markers=[Marker(x=5, label="lowest validation loss"), Marker(x=612, label="stopped")],
        levels=[Level(y=7.0, label="human")],
    )
    assert chart.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}" and chart.get("width") is None
    for x, y in [*dots(chart), *texts(chart).values()]:
        assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    for line in chart.iter(f"{SVG}line"):
        assert 0 <= float(line.get("y2", "")) <= HEIGHT and 0 <= float(line.get("x2", "")) <= WIDTH


def test_labels_at_the_line_ends_do_not_overlap() -> None:
    rng = random.Random(0)
    series = [
        Series(label=f"s{i}", points=[(0, 1.0), (1, 0.5 + rng.random() / 50)]) for i in range(4)
    ]
    placed = texts(
        draw(*series, levels=[Level(y=0.0, label="zero"), Level(y=0.01, label="almost")])
    )
    names = [*(f"s{i}" for i in range(4)), "zero", "almost"]
    ys = sorted(placed[name][1] for name in names)
    assert min(b - a for a, b in itertools.pairwise(ys)) >= 12.9


@pytest.mark.parametrize("left", [0.0, 300.0, 560.0, 600.0])
def test_marker_labels_do_not_overlap(left: float) -> None:
    chart = draw(
        Series(label="s", points=[(0, 1.0), (600, 2.0)]),
        markers=[Marker(x=600, label="stopped"), Marker(x=left, label="lowest validation loss")],
    )
    placed = texts(chart)
    assert placed["lowest validation loss"][0] + 5.5 * 22 < placed["stopped"][0]


def test_the_accessible_name_and_escaping() -> None:
    text = line_chart(
        [Series(label="<b>", points=[(0, 1.0)])],
        title='a "quoted" & title',
        description="falls < 1",
        x_label="x",
        y_label="y",
    )
    chart = ElementTree.fromstring(text)
    assert chart.get("role") == "img"
    assert chart.get("aria-label") == 'a "quoted" & title. falls < 1'
    assert chart.findtext(f"{SVG}title") == 'a "quoted" & title'
    assert chart.findtext(f"{SVG}desc") == "falls < 1"
    assert "<b>" in texts(chart)


def test_colours_are_left_to_the_page() -> None:
    text = line_chart(
        [Series(label="s", points=[(0, 1.0), (1, 2.0)], colour=2)],
        title="T", description="D", x_label="x", y_label="y",
    )  # fmt: skip
    assert "var(--chart-3," in text
    assert not re.search(r"(stroke|fill):#", text)


def test_ticks_are_round_numbers_and_few() -> None:
    for top in (0.0123, 0.74, 5.1, 612, 5000, 123_456):
        chart = draw(Series(label="s", points=[(0, 0.0), (top, top)]))
        ticks = [name for name in texts(chart) if re.fullmatch(r"[\d.,]+k?", name)]
        assert 2 <= len(ticks) <= 8, (top, ticks)
        for tick in ticks:
            number = float(tick.replace(",", "").replace("k", "e3"))
            assert float(f"{number:.2g}") == number, tick


def test_thinning_keeps_spikes_and_order() -> None:
    points = [(float(i), 1.0 + i % 3 * 0.01) for i in range(10_000)]
    points[4321] = (4321.0, 50.0)
    kept = thin(points, 1000)
    assert len(kept) <= 1000
    assert (4321.0, 50.0) in kept
    assert kept == sorted(kept)
    assert thin(points[:10], 1000) == points[:10]


def test_thinning_keeps_a_gap() -> None:
    points: list[tuple[float, float | None]] = [(float(i), 1.0) for i in range(300)]
    points[100:200] = [(float(i), None) for i in range(100, 200)]
    kept = thin(points, 60)
    assert any(y is None for _, y in kept)
    assert {y for x, y in kept if x < 90} == {1.0}


def test_a_chart_in_words_leaves_out_gaps_and_what_has_no_name() -> None:
    batch = Series(label="batch", points=[(0, None), (1, 3.9), (2, math.inf), (3, 0.0512)])
    validation = Series(label="validation", points=[(1, 4.0), (2, 5.2), (3, None)])
    nameless = Series(label="", points=[(1, 1.0)])
    empty = Series(label="empty", points=[(1, None), (2, math.nan)])
    told = from_to([batch, empty, validation, nameless])
    assert told == "batch from 3.9 to 0.0512; validation from 4 to 5.2"
    assert from_to([empty, nameless]) == ""
