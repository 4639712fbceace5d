"""Stand-ins for the tests of the image tokenizer: pictures, a model, a feature network."""

from __future__ import annotations

import torch
from diffusers import VQModel
from torch import Tensor

from image.tokenizer.vq import new_vq_model

SIZE = 16


def blobs(count: int, *, size: int = SIZE, seed: int = 0) -> Tensor:
    """Smooth coloured images, unlike noise something a small model can learn."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    return (smooth * 255).to(torch.uint8)


def tiny_model() -> VQModel:
    torch.manual_seed(0)
    model = new_vq_model(
        image_size=SIZE,
        codes=6,
        embed_dim=3,
        channels=(8, 8, 8),
        layers_per_block=1,
        groups=4,
    )
    model.quantize.embedding.weight.data.normal_(std=0.3)
    return model.requires_grad_(True)


class FakeExtractor:
    """Six features: mean and spread of each colour; maps: the image and its half."""

    name, dim = "fake-net", 6

    def features(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        unit = images_NCHW.float() / 255
        return torch.cat([unit.mean((2, 3)), unit.std((2, 3))], 1)

    def maps(self, images_NCHW: Tensor) -> list[Tensor]:
        return [images_NCHW + 0.1, torch.nn.functional.avg_pool2d(images_NCHW + 0.1, 2)]
