"""What fills a vignette: sky, ridges and water, painted as textured layers.

Every surface has a texture of its own (billows and streaks in the sky, furrows in the fields,
ripples on the water), so that no two patches of a picture are quite alike.

Legend: h w rows and columns of a layer, which is (rows, w, 3) of 0 to 255.
"""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from image.vignettes.canvas import LAYER_SCALE, Stage
from image.vignettes.noise import SCENE
from image.vignettes.palettes import ROCK, SNOW, Colour, mix, shade


def paint_sky(stage: Stage, horizon: float, *, wisps: float, aurora: bool) -> None:
    """Gradient, streaks and wisps down to `horizon` units and a little below it.

    Args:
        stage: what to paint on.
        horizon: where the gradient ends; dips of the land show its last colour.
        wisps: how much thin cloud there is, around 0 (little) to 1 (much).
        aurora: whether there are northern lights.
    """
    light, rows = stage.light, stage.row(horizon + 7)
    stops = np.array((light.zenith, light.middle, light.horizon), np.float32)
    height = np.arange(rows, dtype=np.float32) / (horizon * stage.layer_unit)
    sky = [np.interp(height, (0, 0.55, 1), stops[:, c]) for c in range(3)]
    contrast = np.abs(stops[2] - stops[0]) * 0.06 + 4.0
    drawn = 0.75 * stage.noise("streak", rows) + 0.55 * stage.noise("mottle", rows)
    layer = drawn[..., None] * contrast + np.stack(sky, axis=-1, dtype=np.float32)[:, None, :]
    veil = np.clip((stage.noise("billow", rows) + (wisps - 1.2)) * 0.5, 0, 0.6)
    veil *= 1.0 + 0.3 * stage.noise("grain", rows)
    layer += veil[..., None] * (np.array(light.cloud, np.float32) - layer)
    if aurora:
        band = np.exp(-((height - 0.42) ** 2) / 0.05)[:, None]
        sheet = np.clip(stage.noise("curtain", rows) + 0.2, 0, 2) * band
        layer += sheet[..., None] * np.array((16, 76, 48), np.float32)
    stage.lay(layer, 0)


def paint_sun(stage: Stage, y: float, radius: float) -> None:
    """The sun with its halo."""
    light, x = stage.light, stage.sun_x
    stage.glow(x, y, radius * 4.6, mix(light.disc, light.horizon, 0.3), 0.75)
    stage.glow(x, y, radius * 2.2, light.disc, 0.9)
    stage.blob(x, y, radius, radius, light.disc)


def paint_moon(stage: Stage, y: float, radius: float, *, crescent: bool) -> None:
    """The moon, full with its seas or a crescent."""
    light, x = stage.light, stage.sun_x
    stage.glow(x, y, radius * 4.2, mix(light.disc, light.horizon, 0.4), 0.55)
    if crescent:
        behind = stage.image.getpixel((round(x * stage.unit), round((y - radius) * stage.unit)))
        stage.blob(x, y, radius, radius, light.disc)
        assert isinstance(behind, tuple)
        cut: Colour = (float(behind[0]), float(behind[1]), float(behind[2]))
        stage.blob(x + radius * 0.55, y - radius * 0.25, radius * 0.85, radius * 0.85, cut)
        return
    stage.blob(x, y, radius, radius, light.disc)
    for _ in range(3):
        angle, out = 2 * pi * stage.rng.random(), radius * 0.5 * stage.rng.random()
        spot = radius * (0.14 + 0.16 * stage.rng.random())
        at = (x + out * cos(angle), y + out * sin(angle))
        stage.blob(*at, spot, spot * 0.8, shade(light.disc, 0.84))


def paint_stars(stage: Stage, horizon: float, count: int) -> None:
    """Stars of many sizes and of warm and cold colours; the largest have rays."""
    rng = stage.rng
    for number in range(count):
        x, y = SCENE * rng.random(), horizon * rng.random() ** 1.2
        size, warmth = 0.16 + 0.34 * rng.random() ** 2, rng.random()
        colour = mix((255, 238, 200), (196, 220, 255), warmth)
        if number < 3:
            for reach_x, reach_y in ((1.0, 0.0), (0.0, 1.0)):
                ends = ((x - reach_x, y - reach_y), (x + reach_x, y + reach_y))
                stage.line(ends, 0.25, mix(colour, stage.light.middle, 0.35))
            size = 0.55
        stage.blob(x, y, size, size, mix(colour, stage.light.middle, 0.3 * rng.random()))


def ridge_line(stage: Stage, base: float, swell: float, *, jagged: bool) -> np.ndarray:
    """Heights of a skyline around `base`, (w,) in units from the top."""
    rng, x = stage.rng, np.arange(stage.layer_side, dtype=np.float32) / stage.layer_side
    line = np.zeros_like(x)
    for octave in range(1, 5):
        turns = octave * rng.uniform(0.7, 1.3) * (1.3 if jagged else 1.0) * x + rng.random()
        if jagged:
            line += (1 - 4 * np.abs(turns % 1.0 - 0.5)) / octave**1.25
        else:
            line += np.sin(2 * pi * turns) / octave**1.4
    return base - (swell * 0.55) * line


def paint_ridge(
    stage: Stage,
    skyline_w: np.ndarray,
    colours: tuple[Colour, Colour],
    *,
    distance: float,
    bottom: float = float(SCENE),
    furrows: bool = False,
    caps: bool = False,
) -> None:
    """Land below a skyline: lighter at its rim, textured, with fields or caps of snow where asked.

    Args:
        stage: what to paint on.
        skyline_w: (w,) units, from `ridge_line`.
        colours: daylight colour of the rim and of the foot.
        distance: 0 near to 1 at the horizon; hazes the colours and calms the texture.
        bottom: where the land ends, in units.
        furrows: whether to lay fields on it.
        caps: whether snow lies on the heights.
    """
    light, rng = stage.light, stage.rng
    highest = float(skyline_w.min())
    top = stage.row(highest)
    rows = max(1, stage.row(bottom) - top)
    y = (np.arange(top, top + rows, dtype=np.float32) / stage.layer_unit)[:, None]
    depth = y - skyline_w
    rim, foot = (np.array(light.on(c, distance=distance), np.float32) for c in colours)
    texture = 0.75 * stage.noise("grain", rows) + 0.6 * stage.noise("mottle", rows)
    layer = rim + np.clip(depth / 7.0, 0, 1)[..., None] * (foot - rim)
    if furrows:
        turn, spacing = rng.uniform(-0.9, 0.9), rng.uniform(1.7, 2.6)
        x = np.arange(stage.layer_side, dtype=np.float32) * (sin(turn) / stage.layer_unit)
        rows_of_crop = np.sin((2 * pi / spacing) * (x + depth * (1.3 * cos(turn))))
        fields = np.clip(stage.noise("billow", rows) * 2.5, -1, 1)
        texture = texture * 0.8 + rows_of_crop * (0.8 * np.maximum(fields, 0))
        other = np.array(light.on(rng.choice(stage.season.grass), distance=distance), np.float32)
        layer += np.clip(-fields, 0, 0.6)[..., None] * (other - layer)
    strength = (0.06 if stage.season.snow else 0.08) - 0.05 * distance
    layer *= 1.0 + strength * texture[..., None]
    if caps:
        snow = np.array(light.on(SNOW, distance=distance * 0.7), np.float32)
        lying = np.clip((highest + 2.6 - y + 0.9 * stage.noise("grain", rows)) * 1.4, 0, 1)
        layer += lying[..., None] * (snow * (1 + 0.05 * texture[..., None]) - layer)
    stage.lay(layer, top, skyline_w)


def paint_water(stage: Stage, top: float, bottom: float, *, calm: float, glitter: float) -> None:
    """Water that mirrors the canvas above `top`, with ripples, and glitter below sun or moon.

    Args:
        stage: what to paint on.
        top: the waterline, in units.
        bottom: where the water ends, in units.
        calm: 0 (choppy) to 1 (a mirror).
        glitter: how bright the path of light is, 0 to 1.
    """
    light, unit, side = stage.light, stage.layer_unit, stage.layer_side
    first, last = stage.row(top), stage.row(bottom)
    rows = last - first
    above = np.asarray(stage.image.reduce(LAYER_SCALE), np.float32)
    ripple, mottle = stage.noise("ripple", rows), stage.noise("mottle", rows)
    down = np.arange(rows, dtype=np.float32)[:, None]
    near = 0.35 + down * (0.65 / rows)
    sway = ripple * near * (unit * (1.3 - calm))
    source_y = np.clip(first - 1 - down * 1.15 - 0.9 * sway, 0, first - 1).astype(np.int32)
    source_x = np.clip(np.arange(side) + 0.8 * sway, 0, side - 1).astype(np.int32)
    body = np.array(mix(light.on((50, 128, 160)), light.middle, 0.25), np.float32)
    layer = 0.42 * above[source_y, source_x] + 0.54 * body
    layer *= (1.0 + 0.09 * near * ripple + 0.05 * mottle)[..., None]
    across = np.arange(side, dtype=np.float32) / unit - stage.sun_x
    path = np.exp(-((across / (1.2 + 0.06 * down / unit)) ** 2)) * np.clip(ripple + 0.25, 0, 1.3)
    crest = np.clip(ripple - 1.15, 0, 1) * near
    shine = np.clip(0.3 * crest + 0.85 * glitter * path, 0, 0.85)
    layer += shine[..., None] * (np.array(mix(light.disc, light.horizon, 0.2), np.float32) - layer)
    stage.lay(layer, first)


def paint_rocks(stage: Stage, x: float, y: float, count: int) -> None:
    """A few boulders around (x, y), lit from the sun's side."""
    rng = stage.rng
    for _ in range(count):
        wide = 0.6 + 0.9 * rng.random()
        at_x, at_y = x + rng.uniform(-2.5, 2.5), y + rng.uniform(-0.6, 0.6)
        side = 0.25 if stage.sun_x > at_x else -0.25
        stage.blob(at_x, at_y, wide, wide * 0.7, stage.light.on(shade(ROCK, 0.62)))
        stage.blob(
            at_x + side, at_y - 0.15, wide * 0.65, wide * 0.42, stage.light.on(shade(ROCK, 1.1))
        )
