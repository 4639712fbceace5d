"""ImageGPT's tokenizer: every pixel becomes the nearest of K colours (Chen et al. 2020, "Generative
pretraining from pixels", section 3.2).

The library's own processor encodes, so ids are those that its checkpoints were trained on. Decoding
is a table lookup, which the library does not have.

Shapes: N images, C channels, H W pixels, L = H * W codes per image, K colours.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from transformers import ImageGPTImageProcessor

from common.errors import UserError, first_line
from common.tools.files import writing
from image.tokenizer.pixels import check_images


class ColourTokenizer:
    """One code per pixel.

    Args:
        processor: has colour clusters; its size is the size of the images.

    Raises:
        UserError: a processor for images that are not square.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.clusters_KC = torch.as_tensor(processor.clusters, dtype=torch.float32)
        height, width = processor.size["height"], processor.size["width"]
        if height != width:
            raise UserError(
                expected="an ImageGPT processor for square images",
                got=f"one for {height} x {width}",
                fix="choose another checkpoint",
            )
        self.image_size = self.grid = int(height)
        self.vocab_size = len(self.clusters_KC)

    @property
    def fingerprint(self) -> str:
        """sha256 over the processor's settings, clusters included."""
        settings = json.dumps(self.processor.to_dict(), sort_keys=True, default=str)
        return hashlib.sha256(settings.encode()).hexdigest()

    def encode(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        check_images(images_NCHW, size=self.image_size, of="the tokenizer")
        ids = [torch.empty(0, self.grid**2, dtype=torch.int64)]
        for start in range(0, len(images_NCHW), batch_size):
            part_NCHW = images_NCHW[start : start + batch_size]
            processed = self.processor(
                images=list(part_NCHW.cpu()), do_resize=False, return_tensors="pt"
            )
            ids.append(processed["input_ids"].long())
        return torch.cat(ids)

    def decode(self, ids_NL: Tensor, *, batch_size: int = 256) -> Tensor:
        mean_C, std_C = (
            torch.tensor(values) for values in (self.processor.image_mean, self.processor.image_std)
        )
        unit_KC = self.clusters_KC * std_C + mean_C
        colours_KC = (unit_KC * 255.0).round().clamp(0, 255).to(torch.uint8)
        return rearrange(colours_KC[ids_NL.cpu()], "n (h w) c -> n c h w", h=self.grid).contiguous()

    def save(self, folder: Path) -> None:
        """Write preprocessor_config.json.

        Raises:
            UserError: the folder cannot be written.
        """
        with writing(folder):
            self.processor.save_pretrained(folder)


def load_colours(where: str) -> ColourTokenizer:
    """The ImageGPT processor in a folder or at a hub id.

    Raises:
        UserError: it cannot be read.
    """
    try:
        processor = ImageGPTImageProcessor.from_pretrained(where)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            expected="an ImageGPT processor",
            got=f"{where!r}, which cannot be read: {first_line(error)}",
            fix="save or download it again",
        ) from error
    return ColourTokenizer(processor)
