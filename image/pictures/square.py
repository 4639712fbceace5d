"""Pictures opened with care and made square RGB, with a count of what had to be changed.

A data set of mixed sizes or modes trains without complaint and measures something else than its
owner thinks, so every kind of change is counted and told; what cannot be changed without a
decision (16-bit and CMYK pictures) is refused. So is a picture of more pixels than a camera gives,
from its header, before they are decoded: a file of a few kilobytes can unfold to gigabytes.
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
"""64 megapixels, 192 MiB once decoded: more than nearly all cameras give, and a thousand times what
is used of it here, where images become a few hundred pixels wide."""


def open_picture(file: Path | bytes, where: str) -> Image.Image:
    """A decoded picture.

    Args:
        file: its path, or what is in it.
        where: what messages call it.

    Raises:
        UserError: it cannot be read, or has more than `MOST_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns above 89 megapixels and refuses above 179, or not at all where its limit
            # was taken away; here all of that is told in one way.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as picture:
                width, height = picture.size
                if width * height > MOST_PIXELS:
                    raise _too_large(f"{where} of {width:,} x {height:,}")
                picture.load()
    except Image.DecompressionBombError as error:
        raise _too_large(f"{where} of many times that") from error
    except UserError:  # a ValueError too
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
        expected=f"pictures of at most {MOST_PIXELS:,} pixels, as their headers tell",
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

        The shorter side is scaled, bicubic with antialiasing, and the middle kept; in one step,
        so that the longer side is not rounded in between.

        Raises:
            UserError: the picture's mode is not one of 1, L, LA, P, PA, RGB and RGBA.
        """
        self._seen += 1
        # A camera's "this side up", which browsers and viewers follow.
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
        """A line for each kind of change that was made."""
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
