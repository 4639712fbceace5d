"""The tokenizer's figures against hand-made ones."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_tokenizer import blobs, tiny_model
from torch import Tensor

from common.errors import UserError
from image.tokenizer.quality import (
    code_perplexity,
    measure_tokenizer,
    psnr_db,
    squared_errors,
)
from image.tokenizer.vq import VQTokenizer


def test_psnr() -> None:
    images = torch.full((3, 3, 4, 4), 100, dtype=torch.uint8)
    others = images.clone()
    others[1] += 5
    others[2, :, 0, 0] -= 16
    errors = squared_errors(images, others)
    np.testing.assert_allclose(errors, [0, 25, 16])
    np.testing.assert_allclose(
        psnr_db(errors), [20 * math.log10(255 * math.sqrt(12)), 20 * math.log10(51), 36.0896], 1e-5
    )


def test_perplexity_against_torch() -> None:
    counts = np.array([5, 0, 1, 3, 0])
    expected = torch.distributions.Categorical(torch.tensor(counts).double()).entropy().exp()
    assert code_perplexity(counts) == pytest.approx(expected.item())


class Halves:
    """Codes 0 to 3 stand for grey levels; level 2 is decoded wrongly, as 1."""

    vocab_size, grid, image_size, fingerprint = 8, 2, 2, "halves"

    def encode(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        return images_NCHW[:, 0].flatten(1).long() // 10

    def decode(self, ids_NL: Tensor, *, batch_size: int = 256) -> Tensor:
        grey = torch.where(ids_NL == 2, 1, ids_NL) * 10
        return grey.view(-1, 1, 2, 2).expand(-1, 3, 2, 2).to(torch.uint8)

    def save(self, folder: Path) -> None:
        raise AssertionError("not needed")


def test_measured_figures_by_hand() -> None:
    grey = torch.tensor([[0, 10, 20, 30], [0, 10, 10, 30]], dtype=torch.uint8)
    quality = measure_tokenizer(Halves(), grey.view(2, 1, 2, 2).expand(2, 3, 2, 2))
    assert quality.usage == 4 / 8
    assert (quality.stability.mean, quality.stability.n) == (7 / 8, 2)
    exact, off = 10 * math.log10(255**2 * 12), 10 * math.log10(255**2 / 25)
    assert quality.psnr_db.mean == pytest.approx((exact + off) / 2)
    assert quality.pooled_psnr_db == pytest.approx(10 * math.log10(255**2 / 12.5))
    shares = np.array([2, 3, 1, 2]) / 8
    assert quality.perplexity == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert "reconstructions_NCHW" not in quality.to_json()


def test_images_of_another_size_are_not_measured() -> None:
    with pytest.raises(UserError, match="16 x 16"):
        measure_tokenizer(VQTokenizer(tiny_model()), blobs(1, size=24))
