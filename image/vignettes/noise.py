"""Band-limited noise for the vignettes: one small bank of fields, made once, cropped at random.

A fresh field for every layer of every image would cost more than everything else together. Uniform
noise filtered in the frequency domain is periodic and has its energy in the band it was given,
which sets the size of the grain: most of it at 4 to 9 output pixels, so that 4 x 4 pixel patches
differ from their neighbours and still compress well.

Legend: crops are (rows, side) of a layer, which has `side` pixels across a scene.
"""

from __future__ import annotations

from functools import cache
from random import Random

import numpy as np
from PIL import Image

SCENE = 32  # scene units across a picture
BANK = 4 * SCENE  # samples on a side of a field, which covers 2 scenes

# Wavelengths in scene units along x and y, and how wide the band is in octaves.
_FIELDS: dict[str, tuple[float, float, float]] = {
    "grain": (4.6, 4.2, 0.6),
    "mottle": (8.5, 7.0, 0.8),
    "billow": (14.0, 7.0, 1.3),
    "streak": (18.0, 4.6, 0.7),
    "ripple": (8.0, 2.8, 0.6),
    "curtain": (3.5, 18.0, 0.9),
}


@cache
def _field(name: str, side: int) -> np.ndarray:
    """(2 * side, 2 * side) float32, mean 0, deviation 1, clipped at 2.4 deviations."""
    wave_x, wave_y, octaves = _FIELDS[name]
    white = np.random.default_rng(sorted(_FIELDS).index(name)).random((BANK, BANK)) - 0.5
    cycles = np.fft.fftfreq(BANK, d=2 * SCENE / BANK)  # per scene unit
    radius = np.hypot(cycles[None, :] * wave_x, cycles[:, None] * wave_y)
    radius[0, 0] = 1e-9
    band = np.exp(-0.5 * (np.log2(radius) / octaves) ** 2)
    field = np.fft.ifft2(np.fft.fft2(white) * band).real
    field = np.clip(field / field.std(), -2.4, 2.4).astype(np.float32)
    if 2 * side != BANK:
        resized = Image.fromarray(field).resize((2 * side, 2 * side), Image.Resampling.BICUBIC)
        field = np.asarray(resized)
    field.setflags(write=False)
    return field


def noise(name: str, rng: Random, side: int, rows: int) -> np.ndarray:
    """A random crop (rows, side) of the field `name`, mirrored half of the time.

    Args:
        name: one of grain, mottle, billow, streak, ripple and curtain, finest first.
        rng: where the crop lies; draws the same numbers at every size.
        side: pixels across the layer.
        rows: how many rows are needed, at most `side`.
    """
    top, left, mirrored = rng.random(), rng.random(), rng.random() < 0.5
    y, x = int(top * side), int(left * side)
    crop = _field(name, side)[y : y + rows, x : x + side]
    return crop[:, ::-1] if mirrored else crop
