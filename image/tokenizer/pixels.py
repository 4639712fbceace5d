"""Conversion between uint8 pixels, used everywhere outside models, and the floats inside them.

Shapes: N images, C channels, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.errors import UserError


def check_images(images_NCHW: Tensor, *, size: int, of: str) -> None:
    """Refuse images whose size does not fit a model.

    Args:
        images_NCHW: (N, 3, H, W) uint8.
        size: H and W that are needed.
        of: whose size it is, e.g. "the tokenizer".

    Raises:
        UserError: names both sizes.
    """
    assert images_NCHW.dtype == torch.uint8 and images_NCHW.ndim == 4, images_NCHW.dtype
    shape = tuple(images_NCHW.shape[1:])
    if shape != (3, size, size):
        raise UserError(
            expected=f"RGB images of {size} x {size}, the size of {of}",
            got=f"{shape[2]} x {shape[1]} with {shape[0]} channels",
            fix=f"read the images with size {size}, or choose another model",
        )


def to_signed(images_NCHW: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]."""
    return images_NCHW.float() / 127.5 - 1.0


def to_uint8(signed_NCHW: Tensor) -> Tensor:
    """Floats around [-1, 1] to uint8, clipped and rounded; the exact inverse of `to_signed`."""
    return ((signed_NCHW + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
