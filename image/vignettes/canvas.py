"""The canvas that a vignette is painted on, in scene units.

A scene is 32 units wide and high whatever the size asked for, and is drawn four times as large as
it will be, so that one box filter at the end gives the antialiasing. Everything random comes from
one `random.Random`, drawn in an order that does not depend on the size: the same vignette comes
out at 16 pixels and at 64.

Textured surfaces are computed half as fine as the canvas (their grain is no finer than that, and it
is a quarter of the work) and pasted through a mask as fine as the canvas.

Legend: H W rows and columns of the canvas; h w of a layer, w = W / 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from image.vignettes.noise import SCENE, noise
from image.vignettes.palettes import Colour, Light, Season

SUPERSAMPLING = 4
LAYER_SCALE = 2  # canvas pixels to a pixel of a layer

Point = tuple[float, float]


def ink(colour: Colour) -> tuple[int, int, int]:
    """`colour` as PIL takes it."""
    # Comparisons and no min() or max(): this runs 250 times a picture.
    red, green, blue = int(colour[0] + 0.5), int(colour[1] + 0.5), int(colour[2] + 0.5)
    return (
        red if red < 255 else 255,
        green if green < 255 else 255,
        blue if blue < 255 else 255,
    )


@cache
def _disc(radius: int) -> Image.Image:
    """A mask fading from its middle to its rim, `2 * radius + 1` canvas pixels on a side."""
    axis = np.arange(-radius, radius + 1) / (radius + 0.5)
    fall = np.clip(1.0 - np.hypot(axis[None, :], axis[:, None]), 0.0, 1.0)
    return Image.fromarray((255 * fall**1.5).astype(np.uint8))


class Stage:
    """A canvas, its light and season, and the pen.

    Args:
        size: side of the finished picture in pixels.
        rng: where every choice comes from.
        light: turns daylight colours into what is seen.
        season: what grows.
        sun_x: where the light comes from, in units.
    """

    def __init__(self, size: int, rng: Random, light: Light, season: Season, sun_x: float) -> None:
        self.side = size * SUPERSAMPLING
        self.unit = self.side / SCENE
        self.layer_side = self.side // LAYER_SCALE
        self.layer_unit = self.layer_side / SCENE
        self.rng = rng
        self.light = light
        self.season = season
        self.sun_x = sun_x
        self.image = Image.new("RGB", (self.side, self.side))
        self.draw = ImageDraw.Draw(self.image)

    def noise(self, name: str, rows: int) -> np.ndarray:
        """A crop of a noise field, (rows, w); see `image.vignettes.noise`."""
        return noise(name, self.rng, self.layer_side, rows)

    def row(self, y: float) -> int:
        """The layer row at `y` units, kept in the picture."""
        return min(self.layer_side, max(0, round(y * self.layer_unit)))

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill the polygon."""
        unit = self.unit
        self.draw.polygon([(x * unit, y * unit) for x, y in points], fill=ink(colour))

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill the rectangle; nothing where it is thinner than a canvas pixel."""
        unit = self.unit
        corners = (round(left * unit), round(top * unit), round(right * unit), round(bottom * unit))
        if corners[2] > corners[0] and corners[3] > corners[1]:
            self.draw.rectangle((*corners[:2], corners[2] - 1, corners[3] - 1), fill=ink(colour))

    def blob(self, x: float, y: float, wide: float, high: float, colour: Colour) -> None:
        """Fill the ellipse of these radii."""
        unit = self.unit
        edges = ((x - wide) * unit, (y - high) * unit, (x + wide) * unit, (y + high) * unit)
        self.draw.ellipse(edges, fill=ink(colour))

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw the line, at least one canvas pixel wide."""
        unit = self.unit
        pixels = max(1, round(width * unit))
        self.draw.line([(x * unit, y * unit) for x, y in points], fill=ink(colour), width=pixels)

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Lay light over what is there, most in the middle."""
        pixels = max(1, round(radius * self.unit))
        mask = _disc(pixels).point(lambda value: value * strength)
        at = (round(x * self.unit) - pixels, round(y * self.unit) - pixels)
        self.image.paste(ink(colour), (*at, at[0] + mask.width, at[1] + mask.height), mask)

    def lay(self, layer_hwC: np.ndarray, top: int, skyline_w: np.ndarray | None = None) -> None:
        """Paint a layer from layer row `top` on: all of it, or what lies below a skyline.

        Args:
            layer_hwC: floats of 0 to 255, clipped here.
            top: where its first row goes.
            skyline_w: (w,) units from the top of the picture.
        """
        small = Image.fromarray(np.clip(layer_hwC, 0, 255).astype(np.uint8))
        rows, y = len(layer_hwC) * LAYER_SCALE, top * LAYER_SCALE
        layer = small.resize((self.side, rows), Image.Resampling.NEAREST)
        if skyline_w is None:
            self.image.paste(layer, (0, y))
            return
        mask = Image.new("1", (self.side, rows))
        heights = (skyline_w * self.unit - y).tolist()
        outline = [((n + 0.5) * LAYER_SCALE, height) for n, height in enumerate(heights)]
        corners = [(self.side, outline[-1][1]), (self.side, rows), (0, rows), (0, outline[0][1])]
        ImageDraw.Draw(mask).polygon([*outline, *corners], fill=1)
        self.image.paste(layer, (0, y), mask)

    def finish(self) -> np.ndarray:
        """The picture, (3, size, size) uint8."""
        small = self.image.reduce(SUPERSAMPLING)
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))
