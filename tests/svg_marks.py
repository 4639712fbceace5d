"""What tests read from an SVG chart."""

from __future__ import annotations

from xml.etree import ElementTree

SVG = "{http://www.w3.org/2000/svg}"


def dots(chart: ElementTree.Element) -> list[tuple[float, float]]:
    circles = chart.iter(f"{SVG}circle")
    return [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in circles]


def texts(chart: ElementTree.Element) -> dict[str, tuple[float, float]]:
    return {
        t.text or "": (float(t.get("x", "")), float(t.get("y", "")))
        for t in chart.iter(f"{SVG}text")
    }
