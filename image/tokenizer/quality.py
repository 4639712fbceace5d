"""Quality of a tokenizer: fidelity of its reconstructions, usage and stability of its codes.

Shapes: N images, C channels, H W pixels, L codes per image, K codes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.measure.intervals import Interval, bootstrap_mean
from image.tokenizer.load import ImageTokenizer

# Mean squared error of rounding to 8 bits; an exact reconstruction counts as this error.
LEAST_SQUARED_ERROR = 1.0 / 12.0


@dataclass(frozen=True, kw_only=True)
class TokenizerQuality:
    """Figures of one tokenizer on one set of images.

    Attributes:
        psnr_db: per image, averaged.
        pooled_psnr_db: of the mean squared error over all images; never above `psnr_db`.
        usage: share of the K codes that occur at least once.
        perplexity: exp of the entropy of the codes, the equivalent number of equally used codes.
        stability: share of codes that are the same after decoding and encoding again.
        reconstructions_NCHW: uint8.
    """

    psnr_db: Interval
    pooled_psnr_db: float
    usage: float
    perplexity: float
    stability: Interval
    reconstructions_NCHW: Tensor

    def to_json(self) -> dict[str, Any]:
        """The figures, without the images."""
        return {
            "psnr_db": self.psnr_db.to_json(),
            "pooled_psnr_db": self.pooled_psnr_db,
            "usage": self.usage,
            "perplexity": self.perplexity,
            "stability": self.stability.to_json(),
        }


def measure_tokenizer(tokenizer: ImageTokenizer, images_NCHW: Tensor) -> TokenizerQuality:
    """Encode, decode and encode again.

    Args:
        images_NCHW: (N, 3, H, W) uint8, N at least 1, not trained on.

    Raises:
        UserError: images of another size than the tokenizer's.
    """
    ids_NL = tokenizer.encode(images_NCHW)
    decoded_NCHW = tokenizer.decode(ids_NL)
    again_NL = tokenizer.encode(decoded_NCHW)
    errors_N = squared_errors(images_NCHW, decoded_NCHW)
    counts_K = np.bincount(ids_NL.numpy().ravel(), minlength=tokenizer.vocab_size)
    return TokenizerQuality(
        psnr_db=bootstrap_mean(psnr_db(errors_N)),
        pooled_psnr_db=float(psnr_db(errors_N.mean())),
        usage=float((counts_K > 0).mean()),
        perplexity=code_perplexity(counts_K),
        stability=bootstrap_mean((ids_NL == again_NL).double().mean(1).numpy()),
        reconstructions_NCHW=decoded_NCHW,
    )


def squared_errors(images_NCHW: Tensor, others_NCHW: Tensor) -> np.ndarray:
    """(N,) mean squared difference per image, in grey levels squared."""
    difference_NCHW = images_NCHW.to(torch.int32) - others_NCHW.to(torch.int32)
    return difference_NCHW.square().double().mean((1, 2, 3)).numpy()


def psnr_db(squared_error: np.ndarray | float) -> np.ndarray:
    """10 log10(255^2 / error); the error is at least that of rounding, so at most 58.9 dB."""
    return 10.0 * np.log10(255.0**2 / np.maximum(squared_error, LEAST_SQUARED_ERROR))


def code_perplexity(counts_K: np.ndarray) -> float:
    """exp(-sum p log p) of the counts, 0 log 0 being 0."""
    shares = counts_K[counts_K > 0] / counts_K.sum()
    return math.exp(-(shares * np.log(shares)).sum())
