"""What stands in a vignette: trees, boats, clouds, birds, grass and flowers.

Each is drawn with the stage's pen in scene units, foot at (x, y). Surfaces are built from dabs,
which is what gives them their grain once the canvas is made smaller.
"""

from __future__ import annotations

from math import cos, pi, sin

from image.vignettes.canvas import Stage
from image.vignettes.noise import SCENE
from image.vignettes.palettes import BARK, LAMP, SAILS, SNOW, Colour, mix, shade, varied

TREES = ("round", "conical", "poplar")


def draw_tree(stage: Stage, kind: str, x: float, y: float, high: float, distance: float) -> None:
    """One of `TREES`, `high` units high."""
    if kind == "conical":
        _draw_conifer(stage, x, y, high, distance)
    else:
        _draw_crown(stage, x, y, high, distance, slender=kind == "poplar")


def _draw_crown(
    stage: Stage, x: float, y: float, high: float, distance: float, *, slender: bool
) -> None:
    rng, light = stage.rng, stage.light
    leaf = varied(rng.choice(stage.season.leaves), rng)
    dark = light.on(shade(leaf, 0.68), distance=distance)
    lit = light.on(shade(leaf, 1.16), distance=distance)
    wide, tall = (0.17, 0.44) if slender else (0.36, 0.36)
    wide, tall = wide * high, tall * high
    middle = y - high + tall
    stage.line(((x, y), (x, middle)), 0.11 * high, light.on(BARK, distance=distance))
    stage.blob(x, middle, wide, tall, dark)
    if not slender:
        for side in (-1, 1):
            stage.blob(x + side * 0.5 * wide, middle + 0.35 * tall, wide * 0.6, tall * 0.5, dark)
    toward = max(-1.0, min(1.0, (stage.sun_x - x) / 10))
    for _ in range(10 + int(1.6 * high)):
        angle, out = 2 * pi * rng.random(), rng.random() ** 0.6
        across, up = out * cos(angle), -out * sin(angle)
        bright = 0.45 + 0.3 * across * toward - 0.35 * up + rng.uniform(-0.22, 0.22)
        dab = high * (0.05 + 0.045 * rng.random())
        colour = mix(dark, lit, max(0.0, min(1.0, bright)))
        stage.blob(x + across * wide * 0.92, middle + up * tall * 0.92, dab, dab * 0.85, colour)
    if stage.season.snow:
        snow = light.on(SNOW, distance=distance)
        for _ in range(5):
            across = rng.uniform(-0.8, 0.8)
            at_y = middle - tall * (1 - across * across) ** 0.5 * rng.uniform(0.55, 0.95)
            stage.blob(x + across * wide, at_y, high * 0.09, high * 0.05, snow)


def _draw_conifer(stage: Stage, x: float, y: float, high: float, distance: float) -> None:
    rng, light = stage.rng, stage.light
    needle = varied(stage.season.needles, rng, 0.15)
    dark = light.on(shade(needle, 0.7), distance=distance)
    lit = light.on(shade(needle, 1.3), distance=distance)
    snow = light.on(SNOW, distance=distance)
    stage.line(((x, y), (x, y - 0.3 * high)), 0.10 * high, light.on(BARK, distance=distance))
    side = 1 if stage.sun_x > x else -1
    tiers = 4 if high > 6 else 3
    for tier in range(tiers):
        foot = y - high * (0.12 + 0.62 * tier / tiers)
        tip = foot - high * (0.88 - 0.5 * tier / tiers) * 0.52
        wide = high * (0.30 - 0.19 * tier / tiers)
        stage.polygon(((x - wide, foot), (x, tip), (x + wide, foot)), dark)
        stage.polygon(((x, tip), (x + side * wide, foot), (x + side * 0.15 * wide, foot)), lit)
        for _ in range(4):
            across = rng.uniform(-0.8, 0.8)
            at = (x + across * wide, foot - high * 0.05 * rng.random())
            colour = dark if rng.random() < 0.5 else lit
            stage.blob(*at, high * 0.05, high * 0.035, colour)
        if stage.season.snow:
            out = side * wide
            stage.polygon(
                ((x, tip), (x + 0.75 * out, foot - 0.04 * high), (x + 0.3 * out, foot)), snow
            )


def draw_boat(stage: Stage, x: float, y: float, long: float) -> None:
    """A sailing boat with its broken mirror image in the water."""
    rng, light = stage.rng, stage.light
    hull = light.on(varied(rng.choice(((150, 70, 50), (60, 76, 110), (236, 228, 212))), rng))
    sail = light.on(rng.choice(SAILS))
    # Sails catch more light than the land does, or they are lost at night.
    sail = mix(sail, light.disc, 0.25)
    lean = rng.choice((-1, 1))
    mast = y - 1.25 * long
    for step in range(4):
        at = y + 0.16 * long + 0.19 * long * step
        half = long * (0.36 - 0.07 * step)
        shift = long * 0.10 * (-1) ** step
        stage.box(
            x - half + shift,
            at,
            x + half + shift,
            at + 0.1 * long,
            mix(sail if step else hull, light.on((50, 128, 160)), 0.35),
        )
    stage.polygon(
        (
            (x + 0.05 * lean * long, mast),
            (x + 0.52 * lean * long, y - 0.2 * long),
            (x + 0.05 * lean * long, y - 0.2 * long),
        ),
        sail,
    )
    stage.polygon(
        (
            (x - 0.05 * lean * long, mast + 0.2 * long),
            (x - 0.4 * lean * long, y - 0.2 * long),
            (x - 0.05 * lean * long, y - 0.2 * long),
        ),
        shade(sail, 0.84),
    )
    stage.line(((x, mast - 0.08 * long), (x, y)), 0.07 * long, light.on(BARK))
    stage.polygon(
        (
            (x - 0.56 * long, y - 0.14 * long),
            (x + 0.56 * long, y - 0.14 * long),
            (x + 0.36 * long, y + 0.14 * long),
            (x - 0.36 * long, y + 0.14 * long),
        ),
        hull,
    )
    if light.lamps:
        stage.glow(x, y - 0.35 * long, 0.5 * long, LAMP, 0.8)


def draw_cloud(stage: Stage, x: float, y: float, wide: float) -> None:
    """A heap of dabs: shadow below, light above and on the sun's side."""
    rng, light = stage.rng, stage.light
    shadow = mix(light.cloud, mix(light.zenith, light.middle, 0.6), 0.55)
    toward = 0.14 if stage.sun_x > x else -0.14
    heaps = [(rng.uniform(-0.42, 0.42), rng.uniform(0.12, 0.24)) for _ in range(6)]
    for across, size in heaps:
        stage.blob(x + across * wide, y, size * wide, size * wide * 0.62, shadow)
    for across, size in heaps:
        size *= 1.0 - 0.8 * abs(across)
        at = (x + (across * 0.9 + toward * size) * wide, y - (0.05 + 0.4 * size) * wide)
        colour = mix(light.cloud, shadow, 0.45 * rng.random())
        stage.blob(*at, size * wide * 0.72, size * wide * 0.46, colour)


def draw_bird(stage: Stage, x: float, y: float, span: float) -> None:
    """Two wings."""
    colour = mix(stage.light.on((50, 48, 66)), stage.light.middle, 0.1)
    lift = span * stage.rng.uniform(0.22, 0.42)
    wings = (
        (x - span, y - lift),
        (x - 0.4 * span, y - 1.1 * lift),
        (x, y),
        (x + 0.4 * span, y - 1.1 * lift),
        (x + span, y - lift),
    )
    stage.line(wings, 0.3, colour)


def draw_grass(stage: Stage, top: float, count: int, ground: Colour) -> None:
    """Tufts and flowers below `top` units."""
    rng, light = stage.rng, stage.light
    for _ in range(count):
        x, y = SCENE * rng.random(), top + (SCENE - top) * rng.random()
        blade, bright = 0.8 + 0.9 * rng.random(), rng.choice((0.8, 0.9, 1.12))
        tip = (x + rng.uniform(-0.5, 0.5), y - blade)
        stage.line(((x, y), tip), 0.3, light.on(shade(ground, bright)))
    for _ in range(count // 2 if stage.season.petals else 0):
        x, y = SCENE * rng.random(), top + 0.5 + (SCENE - top) * rng.random()
        petal = mix(light.on(rng.choice(stage.season.petals)), light.disc, 0.12)
        size = 0.24 + 0.3 * rng.random()
        stage.blob(x, y, size, size, petal)
