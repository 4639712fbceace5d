"""Plots of the evidence report, read back from their SVG and measured.

P1 is Carlsson et al., ICLR 2025, arXiv 2412.04318.
"""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest
from svg_marks import SVG, dots, texts

from benchmarks.evidence.plots import Dot, DotRow, dot_plot, small_line_chart
from common.report.charts import WIDTH, Level, Series


def draw(*rows: DotRow, **options: object) -> ElementTree.Element:
    arguments = {"title": "T", "description": "D", "x_label": "x", **options}
    return ElementTree.fromstring(dot_plot(rows, **arguments))  # pyright: ignore[reportArgumentType]


def whiskers(chart: ElementTree.Element) -> list[tuple[float, float]]:
    lines = chart.iter(f"{SVG}line")
    level = [one for one in lines if one.get("y1") == one.get("y2")]
    return [(float(one.get("x1", "")), float(one.get("x2", ""))) for one in level]


def row(label: str, *values: float) -> DotRow:
    return DotRow(
        label=label,
        dots=[Dot(mean=v, low=v - 0.1, high=v + 0.1, kind=i) for i, v in enumerate(values)],
    )


def test_dots_and_intervals_stand_at_their_values() -> None:
    chart = draw(row("a", 0.2), row("b", 0.4), row("c", 0.8))
    (xa, ya), (xb, yb), (xc, yc) = dots(chart)
    assert xc - xb == pytest.approx(2 * (xb - xa), abs=0.3)
    assert ya < yb < yc
    ticks = texts(chart)
    assert ticks["0.2"][0] == pytest.approx(xa, abs=0.1)
    assert ticks["0.8"][0] == pytest.approx(xc, abs=0.1)
    for (low, high), x in zip(whiskers(chart), (xa, xb, xc), strict=True):
        assert high - x == pytest.approx(x - low, abs=0.15)
        assert high - low == pytest.approx(xb - xa, abs=0.2)


def test_a_value_without_interval_has_no_whisker() -> None:
    chart = draw(DotRow(label="a", dots=[Dot(mean=1.0, low=None, high=None)]))
    assert len(dots(chart)) == 1 and whiskers(chart) == []


def test_dots_of_one_row_do_not_hide_one_another() -> None:
    chart = draw(row("a", 0.5, 0.5, 0.5), row("b", 0.5, 0.5, 0.5), legend=("x", "y", "z"))
    ys = [y for _, y in dots(chart)[3:]]  # the first three belong to the legend
    assert min(b - a for a, b in itertools.pairwise(ys)) >= 8


def test_a_logarithmic_axis_spaces_equal_ratios_equally() -> None:
    chart = draw(
        *(DotRow(label=str(v), dots=[Dot(mean=v, low=None, high=None)]) for v in (0.25, 1.0, 4.0)),
        log_x=True,
    )
    (a, _), (b, _), (c, _) = dots(chart)
    assert b - a == pytest.approx(c - b, abs=0.15)


def test_labels_legend_and_levels_stay_inside_and_apart() -> None:
    chart = draw(
        row("original repetition penalty", 0.2, 0.9),
        legend=("original", "hyperfitted"),
        levels=[Level(y=0.70, label="P1: 0.70"), Level(y=0.68, label="P1: 0.68")],
    )
    placed = texts(chart)
    assert placed["original repetition penalty"][0] < min(x for x, _ in dots(chart)[2:])
    assert placed["P1: 0.70"][0] - placed["P1: 0.68"][0] >= 6 * len("P1: 0.68")
    assert placed["hyperfitted"][0] - placed["original"][0] >= 6 * len("original")
    height = float(chart.get("viewBox", "").split()[3])
    assert all(0 <= x <= WIDTH and 0 <= y <= height for x, y in placed.values())


def test_a_long_label_is_written_in_lines_that_fit() -> None:
    long = "original top-p 0.9, T 0.7, top-k 50"
    chart = draw(row(long, 0.2, 0.9), row("b", 0.5))
    placed = {words.replace("\u00a0", " "): where for words, where in texts(chart).items()}
    lines = [words for words in placed if words in long and len(words) > 1]
    assert lines[0].endswith(("0.9,", "0.7,"))  # no setting is cut from its number
    assert " ".join(lines) == long and len(lines) == 2
    assert all(placed[words][0] - 6.9 * len(words) >= 0 for words in lines)
    assert placed[lines[1]][1] - placed[lines[0]][1] >= 12
    assert placed["b"][1] - placed[lines[1]][1] >= 12


def test_without_dots_there_is_no_plot() -> None:
    for rows in ([], [DotRow(label="a", dots=[])]):
        assert dot_plot(rows, title="A", description="", x_label="x") == ""


def test_the_accessible_description_tells_the_course() -> None:
    points = [(0.0, 0.25), (1.0, None), (2.0, 0.625)]
    text = small_line_chart([Series(label="TTR", points=points)], title="A", x_label="x")
    assert ElementTree.fromstring(text).findtext(f"{SVG}desc") == "TTR from 0.25 to 0.625"


def test_without_points_there_is_no_chart() -> None:
    assert small_line_chart([Series(label="TTR", points=[])], title="A", x_label="x") == ""
