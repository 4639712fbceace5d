"""Colours of the vignettes: what the light is at each hour, what grows in each season.

Things are given their colour in plain daylight; `Light.on` turns it into what is seen at that hour
and at that distance. One rule instead of a table for every object keeps a scene in one key.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

Colour = tuple[float, float, float]

HOURS = ("dawn", "day", "dusk", "night")
SEASONS = ("spring", "summer", "autumn", "winter")


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` where share is 0, `b` where it is 1."""
    keep = 1.0 - share
    return (
        a[0] * keep + b[0] * share,
        a[1] * keep + b[1] * share,
        a[2] * keep + b[2] * share,
    )


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` made darker (below 1) or lighter (above 1)."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


@dataclass(frozen=True, kw_only=True)
class Light:
    """The light of one scene; colours are 0 to 255."""

    zenith: Colour
    """Sky at the top."""
    middle: Colour
    """Sky half way down."""
    horizon: Colour
    """Sky at the bottom."""
    disc: Colour
    """Sun or moon."""
    cloud: Colour
    """Lit side of a cloud."""
    tint: Colour
    """Factors on the daylight colour of things."""
    haze: Colour
    """What distance turns everything into."""
    lamps: bool = False
    """Whether windows are lit."""

    def on(self, daylight: Colour, *, distance: float = 0.0) -> Colour:
        """The colour seen of a thing that is `daylight` by day, 0 near to 1 at the horizon."""
        tinted = (
            daylight[0] * self.tint[0],
            daylight[1] * self.tint[1],
            daylight[2] * self.tint[2],
        )
        return mix(tinted, self.haze, distance)


LIGHTS: dict[str, tuple[Light, ...]] = {
    "dawn": (
        Light(
            zenith=(104, 132, 192),
            middle=(232, 176, 186),
            horizon=(255, 226, 172),
            disc=(255, 244, 206),
            cloud=(255, 222, 208),
            tint=(0.98, 0.84, 0.84),
            haze=(228, 188, 194),
        ),
        Light(
            zenith=(126, 176, 196),
            middle=(212, 214, 190),
            horizon=(255, 220, 160),
            disc=(255, 250, 214),
            cloud=(255, 236, 214),
            tint=(1.0, 0.92, 0.78),
            haze=(226, 210, 184),
        ),
        Light(
            zenith=(122, 106, 176),
            middle=(232, 150, 172),
            horizon=(255, 204, 152),
            disc=(255, 232, 190),
            cloud=(255, 196, 190),
            tint=(0.94, 0.78, 0.86),
            haze=(208, 152, 184),
        ),
    ),
    "day": (
        Light(
            zenith=(52, 126, 212),
            middle=(112, 180, 238),
            horizon=(206, 232, 244),
            disc=(255, 246, 190),
            cloud=(255, 255, 252),
            tint=(1.0, 1.0, 1.0),
            haze=(172, 206, 232),
        ),
        Light(
            zenith=(36, 146, 192),
            middle=(116, 204, 214),
            horizon=(236, 242, 214),
            disc=(255, 240, 168),
            cloud=(255, 250, 236),
            tint=(1.04, 1.02, 0.92),
            haze=(170, 214, 208),
        ),
        Light(
            zenith=(104, 140, 184),
            middle=(164, 190, 214),
            horizon=(230, 228, 218),
            disc=(255, 252, 232),
            cloud=(246, 246, 244),
            tint=(0.90, 0.93, 0.95),
            haze=(188, 202, 212),
        ),
    ),
    "dusk": (
        Light(
            zenith=(52, 44, 108),
            middle=(196, 78, 116),
            horizon=(255, 158, 74),
            disc=(255, 214, 120),
            cloud=(250, 140, 120),
            tint=(0.80, 0.56, 0.60),
            haze=(178, 90, 116),
            lamps=True,
        ),
        Light(
            zenith=(74, 74, 140),
            middle=(224, 124, 96),
            horizon=(255, 204, 100),
            disc=(255, 236, 160),
            cloud=(255, 176, 130),
            tint=(0.92, 0.68, 0.56),
            haze=(206, 128, 108),
        ),
        Light(
            zenith=(34, 58, 116),
            middle=(126, 88, 158),
            horizon=(252, 146, 138),
            disc=(255, 200, 170),
            cloud=(226, 130, 160),
            tint=(0.66, 0.56, 0.74),
            haze=(140, 96, 150),
            lamps=True,
        ),
    ),
    "night": (
        Light(
            zenith=(12, 18, 56),
            middle=(28, 48, 106),
            horizon=(72, 102, 158),
            disc=(255, 248, 214),
            cloud=(92, 112, 168),
            tint=(0.40, 0.48, 0.70),
            haze=(46, 70, 126),
            lamps=True,
        ),
        Light(
            zenith=(8, 26, 52),
            middle=(18, 66, 92),
            horizon=(62, 134, 136),
            disc=(240, 250, 226),
            cloud=(70, 126, 140),
            tint=(0.36, 0.52, 0.60),
            haze=(34, 88, 106),
            lamps=True,
        ),
        Light(
            zenith=(28, 16, 62),
            middle=(66, 42, 116),
            horizon=(132, 92, 160),
            disc=(255, 236, 220),
            cloud=(124, 96, 160),
            tint=(0.50, 0.42, 0.68),
            haze=(88, 62, 132),
            lamps=True,
        ),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Season:
    """Daylight colours of what changes with the season."""

    grass: tuple[Colour, ...]
    """Meadows and fields."""
    leaves: tuple[Colour, ...]
    """Crowns of round trees."""
    needles: Colour = (62, 116, 86)
    """Conifers."""
    petals: tuple[Colour, ...] = ()
    """Flowers in the grass; none in winter."""
    snow: bool = False
    """Whether it lies on roofs and conifers."""


SEASON_COLOURS: dict[str, Season] = {
    "spring": Season(
        grass=((138, 186, 82), (116, 172, 78), (168, 196, 92)),
        leaves=((136, 192, 84), (244, 178, 196), (250, 214, 220), (160, 204, 96)),
        petals=((255, 255, 250), (255, 220, 80), (240, 140, 180)),
    ),
    "summer": Season(
        grass=((102, 160, 66), (84, 146, 70), (196, 184, 84)),
        leaves=((66, 132, 64), (92, 150, 62), (62, 120, 84), (112, 158, 72)),
        petals=((224, 60, 50), (255, 214, 70), (150, 110, 210)),
    ),
    "autumn": Season(
        grass=((176, 156, 78), (150, 146, 72), (200, 158, 82)),
        leaves=((222, 124, 40), (194, 72, 46), (232, 178, 62), (140, 136, 62)),
        petals=((210, 110, 40), (160, 60, 50)),
    ),
    "winter": Season(
        grass=((232, 238, 248), (216, 228, 242), (240, 242, 244)),
        leaves=((150, 130, 122), (214, 220, 230), (120, 110, 112)),
        needles=(88, 124, 116),
        snow=True,
    ),
}

WALLS: tuple[Colour, ...] = (
    (244, 232, 208),
    (232, 200, 160),
    (204, 122, 96),
    (222, 222, 226),
    (240, 206, 132),
    (170, 196, 206),
)
ROOFS: tuple[Colour, ...] = (
    (190, 74, 52),
    (158, 58, 66),
    (104, 92, 100),
    (72, 104, 138),
    (198, 116, 60),
)
SAILS: tuple[Colour, ...] = (
    (252, 248, 236),
    (252, 248, 236),
    (220, 76, 56),
    (238, 178, 70),
    (92, 150, 190),
)
LAMP: Colour = (255, 216, 116)
BARK: Colour = (110, 80, 62)
SAND: Colour = (232, 206, 156)
ROCK: Colour = (140, 136, 140)
SNOW: Colour = (242, 246, 252)


def varied(colour: Colour, rng: Random, by: float = 0.08) -> Colour:
    """`colour` a little lighter or darker, and each channel a little off."""
    whole = 1.0 + by * (2 * rng.random() - 1)
    return (
        colour[0] * (whole + by * (rng.random() - 0.5)),
        colour[1] * (whole + by * (rng.random() - 0.5)),
        colour[2] * (whole + by * (rng.random() - 0.5)),
    )
