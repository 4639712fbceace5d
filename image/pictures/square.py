"""Open pictures safely, make them square RGB, and count the changes.

A data set of mixed sizes or modes would train without an error and measure something else than its
owner thinks. So every kind of change is counted and reported. Pictures whose conversion needs a
decision (16-bit, CMYK) are refused. A picture of more pixels than cameras have is refused by its
header, before it is decoded: a file of a few kilobytes can decode to gigabytes.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from common.errors import UserError, first_line

_TRANSPARENT = ("RGBA", "LA", "PA")
_KINDS = {
    "size": "resized to {size} x {size} (shorter side, then the middle)",
    "grey": "greyscale and made RGB",
    "palette": "with a palette and made RGB",
    "alpha": "with transparency and laid on white",
}


MOST_PIXELS = 64 * 2**20
"""64 megapixels, 192 MiB decoded: more than nearly all cameras have, and far more than images of a
few hundred pixels on a side need."""


def open_picture(file: Path | bytes, where: str) -> Image.Image:
    """A decoded picture.

    Args:
        file: its path or its content.
        where: its name in messages.

    Raises:
        UserError: it cannot be read, or has more than `MOST_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns above 89 megapixels and refuses above 179, or never where its limit was
            # removed; here one error replaces all of this.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as picture:
                width, height = picture.size
                if width * height > MOST_PIXELS:
                    raise _too_large(f"{where} of {width:,} x {height:,}")
                picture.load()
    except Image.DecompressionBombError as error:
        raise _too_large(f"{where} of many times that") from error
    except UserError:  # which is a ValueError and must pass the next clause
        raise
    except (OSError, SyntaxError, ValueError) as error:  # PIL raises all three for broken files
        raise UserError(
            expected="a readable image",
            got=f"{where} ({type(error).__name__}: {first_line(error)})",
            fix="replace or remove it",
        ) from error
    return picture


def _too_large(got: str) -> UserError:
    return UserError(
        expected=f"pictures of at most {MOST_PIXELS:,} pixels by their headers",
        got=got,
        fix="scale it down or leave it out",
    )


class Squarer:
    """Makes pictures (size, size) RGB and counts the changes.

    Args:
        size: side in pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._seen = 0
        self._changes: Counter[str] = Counter()

    def __call__(self, picture: Image.Image, where: str) -> np.ndarray:
        """(3, size, size) uint8 of `picture`, which messages call `where`.

        The middle square is cut out and scaled, bicubic with antialiasing, in one step, so that
        the longer side is not rounded in between.

        Raises:
            UserError: the picture's mode is not one of 1, L, LA, P, PA, RGB and RGBA.
        """
        self._seen += 1
        # Applies the camera's orientation tag, as browsers and viewers do.
        picture = self._to_rgb(ImageOps.exif_transpose(picture), where)
        width, height = picture.size
        if (width, height) != (self.size, self.size):
            self._changes["size"] += 1
            side = min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
            picture = picture.resize(
                (self.size, self.size),
                Image.Resampling.BICUBIC,
                box=(left, top, left + side, top + side),
            )
        return np.asarray(picture).transpose(2, 0, 1)

    def notes(self) -> tuple[str, ...]:
        """One line per kind of change."""
        return tuple(
            f"{self._changes[kind]:,} of {self._seen:,} images were {text.format(size=self.size)}"
            for kind, text in _KINDS.items()
            if self._changes[kind]
        )

    def _to_rgb(self, picture: Image.Image, where: str) -> Image.Image:
        if picture.mode == "RGB" and "transparency" not in picture.info:
            return picture
        if picture.mode in _TRANSPARENT or "transparency" in picture.info:
            self._changes["alpha"] += 1
            layer = picture.convert("RGBA")
            white = Image.new("RGBA", layer.size, "white")
            return Image.alpha_composite(white, layer).convert("RGB")
        if picture.mode in ("1", "L"):
            self._changes["grey"] += 1
        elif picture.mode == "P":
            self._changes["palette"] += 1
        else:
            raise UserError(
                expected="a picture with 8 bits a channel, grey, RGB or with a palette",
                got=f"{where} of the mode {picture.mode!r}",
                fix="convert it to RGB or leave it out",
            )
        return picture.convert("RGB")
