"""Vignettes: little landscapes painted by program, the image data that needs no download.

    images_NCHW, labels_N, attributes = vignettes(0, 144)

Vignette number `index` is a pure function of (seed, index, size): training reads one range of
numbers, evaluation another, and neither ends. `scenes` composes the four kinds of land from the
surfaces of `scenery`, the things of `props` and `buildings`, and the colours of `palettes`.

Shapes: N images, C channels, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor

from image.vignettes.canvas import Stage
from image.vignettes.noise import SCENE
from image.vignettes.palettes import HOURS, LIGHTS, SEASON_COLOURS, SEASONS
from image.vignettes.scenes import SCENES, Scene

__all__ = ["HOURS", "LANDS", "SEASONS", "Vignette", "render", "vignettes"]

LEAST_SIZE = 8  # pixels on a side
LANDS = tuple(SCENES)


@dataclass(frozen=True, kw_only=True)
class Vignette:
    """One picture and what is on it."""

    pixels_CHW: np.ndarray
    """(3, size, size) uint8."""
    attributes: dict[str, str | int]
    """hour, season, land, and how many trees, houses, boats, clouds and birds."""


def vignettes(
    start: int, count: int, *, seed: int = 0, size: int = 32
) -> tuple[Tensor, Tensor, list[dict[str, str | int]]]:
    """Vignettes `start` to `start + count - 1`.

    Returns:
        (N, 3, size, size) uint8 pixels, (N,) int64 indices into `HOURS`, and N attributes.
    """
    pictures = [render(index, seed=seed, size=size) for index in range(start, start + count)]
    pixels = np.empty((count, 3, size, size), np.uint8)
    for row, picture in enumerate(pictures):
        pixels[row] = picture.pixels_CHW
    labels = [HOURS.index(str(picture.attributes["hour"])) for picture in pictures]
    return (
        torch.from_numpy(pixels),
        torch.tensor(labels, dtype=torch.int64),
        [picture.attributes for picture in pictures],
    )


def render(index: int, *, seed: int = 0, size: int = 32) -> Vignette:
    """Vignette number `index`, `size` pixels on a side."""
    assert size >= LEAST_SIZE, size
    rng = Random(f"{seed}/{index}")
    hour, season, land = rng.choice(HOURS), rng.choice(SEASONS), rng.choice(LANDS)
    variant = rng.randrange(3)
    light = LIGHTS[hour][variant]
    sun_x = rng.uniform(4, SCENE - 4)
    stage = Stage(size, rng, light, SEASON_COLOURS[season], sun_x)
    scene = Scene(stage=stage, hour=hour, aurora=hour == "night" and variant == 1)
    SCENES[land](scene)
    attributes = {"hour": hour, "season": season, "land": land, **scene.counts}
    return Vignette(pixels_CHW=stage.finish(), attributes=attributes)
