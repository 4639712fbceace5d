"""The houses of a vignette: cottage, gable, church and lighthouse.

Walls are laid in courses and roofs in rows of tiles, which is what gives them their grain once the
canvas is made smaller; windows are lit where the light says so.
"""

from __future__ import annotations

from image.vignettes.canvas import Stage
from image.vignettes.palettes import LAMP, ROOFS, SNOW, WALLS, Colour, mix, shade, varied

HOUSES = ("cottage", "gable", "church", "lighthouse")


def draw_house(stage: Stage, kind: str, x: float, y: float, wide: float, distance: float) -> None:
    """One of `HOUSES`, `wide` units wide with its middle at x."""
    if kind == "lighthouse":
        _draw_lighthouse(stage, x, y, wide, distance)
        return
    rng, light = stage.rng, stage.light
    wall = light.on(varied(rng.choice(WALLS), rng), distance=distance)
    roof = light.on(varied(rng.choice(ROOFS), rng), distance=distance)
    left, right, eaves = x - wide / 2, x + wide / 2, y - 0.52 * wide
    ridge = eaves - 0.46 * wide
    if kind == "church":
        _draw_tower(stage, left, y, wide, wall, roof)
    _lay_courses(stage, left, eaves, right, y, wall)
    over = 0.09 * wide
    if kind == "gable":
        stage.polygon(((left, eaves), (x, ridge), (right, eaves)), shade(wall, 0.94))
        for end in (left - over, right + over):
            stage.line(((end, eaves + 0.08 * wide), (x, ridge)), 0.13 * wide, roof)
    else:
        slope = 0.2 * wide
        _lay_tiles(stage, left - over, ridge, right + over, eaves, slope, roof)
        chimney = rng.choice((left + slope, right - slope))
        if kind == "cottage":
            stage.box(
                chimney - 0.06 * wide,
                ridge - 0.16 * wide,
                chimney + 0.07 * wide,
                ridge + 0.1 * wide,
                shade(roof, 0.72),
            )
            _draw_smoke(stage, chimney, ridge - 0.2 * wide, wide)
    if stage.season.snow and kind != "gable":
        stage.line(
            ((left + 0.1 * wide, ridge), (right - 0.1 * wide, ridge)),
            0.12 * wide,
            light.on(SNOW, distance=distance),
        )
    _draw_windows(stage, x, eaves, y, wide, distance)


def _lay_courses(
    stage: Stage, left: float, top: float, right: float, foot: float, wall: Colour
) -> None:
    """A wall in courses of stone, shaded towards the side away from the sun."""
    stage.box(left, top, right, foot, wall)
    course = max(0.5, (foot - top) / 5)
    y, shift = top, False
    while y < foot:
        stage.box(left, y, right, y + 0.28 * course, shade(wall, 0.88))
        at = left + (0.5 if shift else 0.0) * course
        while at < right:
            end = min(right, at + 1.1 * course)
            stage.box(at, y + 0.28 * course, end, min(foot, y + course), shade(wall, 1.06))
            at += 2.2 * course
        y, shift = y + course, not shift
    away = right - 0.22 * (right - left) if stage.sun_x < (left + right) / 2 else left
    stage.box(away, top, away + 0.22 * (right - left), foot, shade(wall, 0.86))


def _lay_tiles(
    stage: Stage, left: float, top: float, right: float, foot: float, slope: float, roof: Colour
) -> None:
    """A roof seen from the side, in rows of tiles."""
    rows = 4
    for row in range(rows):
        above, below = row / rows, (row + 1) / rows
        high, low = top + (foot - top) * above, top + (foot - top) * below
        inset, outset = slope * (1 - above), slope * (1 - below)
        factor = (1.1, 0.88)[row % 2] - 0.03 * row
        corners = (
            (left + inset, high),
            (right - inset, high),
            (right - outset, low),
            (left + outset, low),
        )
        stage.polygon(corners, shade(roof, factor))


def _draw_tower(
    stage: Stage, left: float, y: float, wide: float, wall: Colour, roof: Colour
) -> None:
    """A church tower with its spire, at the left of the nave."""
    width, high = 0.34 * wide, 1.15 * wide
    _lay_courses(stage, left - 0.2 * wide, y - high, left - 0.2 * wide + width, y, wall)
    middle = left - 0.2 * wide + width / 2
    spire = (
        (middle - 0.65 * width, y - high),
        (middle, y - high - 0.8 * wide),
        (middle + 0.65 * width, y - high),
    )
    stage.polygon(spire, roof)
    stage.polygon((spire[0], spire[1], (middle, y - high)), shade(roof, 0.78))
    stage.box(
        middle - 0.07 * wide,
        y - 0.95 * wide,
        middle + 0.07 * wide,
        y - 0.72 * wide,
        _window_colour(stage),
    )


def _window_colour(stage: Stage) -> Colour:
    return LAMP if stage.light.lamps else stage.light.on((104, 114, 136))


def _draw_windows(
    stage: Stage, x: float, eaves: float, y: float, wide: float, distance: float
) -> None:
    """A door between two windows; a warm glow where they are lit."""
    pane, middle = 0.095 * wide, (eaves + y) / 2
    for at in (x - 0.28 * wide, x + 0.28 * wide):
        if stage.light.lamps:
            stage.glow(at, middle, 0.42 * wide, (255, 176, 80), 0.6)
        stage.box(at - pane, middle - 1.15 * pane, at + pane, middle + pane, _window_colour(stage))
    door = stage.light.on(varied((128, 72, 52), stage.rng, 0.2), distance=distance)
    stage.box(x - 0.09 * wide, y - 0.34 * wide, x + 0.09 * wide, y, door)


def _draw_smoke(stage: Stage, x: float, y: float, wide: float) -> None:
    drift = 1 if stage.rng.random() < 0.5 else -1
    puff = mix(stage.light.cloud, stage.light.middle, 0.25)
    for step in range(4):
        radius = wide * (0.07 + 0.035 * step)
        at = (x + drift * wide * 0.09 * step**1.3, y - wide * 0.17 * step)
        stage.blob(*at, radius, radius * 0.85, mix(puff, stage.light.middle, 0.18 * step))


def _draw_lighthouse(stage: Stage, x: float, y: float, wide: float, distance: float) -> None:
    light, high = stage.light, 2.3 * wide
    bands = 5
    for band in range(bands):
        low, up = band / bands, (band + 1) / bands
        lower, upper = wide * (0.30 - 0.12 * low), wide * (0.30 - 0.12 * up)
        y_low, y_up = y - high * low, y - high * up
        paint = (222, 72, 62) if band % 2 else (246, 240, 230)
        # Lit by its own lamp, or it is lost at night.
        colour = mix(light.on(paint, distance=distance), paint, 0.3 if light.lamps else 0.0)
        stage.polygon(
            ((x - lower, y_low), (x - upper, y_up), (x + upper, y_up), (x + lower, y_low)), colour
        )
        edge = 1 if stage.sun_x < x else -1
        stage.polygon(
            (
                (x + edge * lower * 0.4, y_low),
                (x + edge * upper * 0.4, y_up),
                (x + edge * upper, y_up),
                (x + edge * lower, y_low),
            ),
            shade(colour, 0.78),
        )
    top = y - high
    if light.lamps:
        stage.glow(x, top - 0.15 * wide, 1.9 * wide, (255, 232, 150), 0.8)
    stage.box(x - 0.15 * wide, top - 0.3 * wide, x + 0.15 * wide, top, LAMP)
    cap = light.on((120, 50, 48), distance=distance)
    stage.box(x - 0.24 * wide, top - 0.03 * wide, x + 0.24 * wide, top + 0.07 * wide, cap)
    stage.polygon(
        (
            (x - 0.22 * wide, top - 0.28 * wide),
            (x, top - 0.58 * wide),
            (x + 0.22 * wide, top - 0.28 * wide),
        ),
        cap,
    )
