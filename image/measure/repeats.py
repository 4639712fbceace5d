"""How varied completed images are, and how many of them are copies.

A model in a loop paints flat areas or stripes: each code repeats the one above it or the one to its
left. So repetition is counted between neighbours in the grid. A copy is found by its distance to
the nearest training image in feature space, compared with the distances of real held-out images.

Everything but the copies is counted on the completion alone, the codes after the prompt. A
neighbour may lie in the prompt, since a stripe often continues from there.

Shapes: N images, L codes per image = G * G in rows, D features, T training images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import UserError
from common.measure.intervals import Interval, bootstrap_mean, jackknife

FLAT = 0.5
CHUNK_IMAGES = 512  # x T distances at a time

METRICS = {
    "code_ttr": "distinct codes / codes of a completion",
    "vertical_equal_share": "share of completed codes that equal the code above them",
    "horizontal_equal_share": "share of completed codes that equal the code to their left",
    "repeated_rows": "share of completed rows of codes that equal the row above",
    "repeated_columns": "share of columns, over the completed rows, that equal the one to the left",
    "flat_share": "share of completions that are flat or striped: more than half of their codes "
    "equal the code above, or more than half the code to the left",
    "distinct_images": "different completions / completions; falls with their number",
    "copy_rate": "share of images that lie nearer to a training image than 99 % of real held-out "
    "images do, in feature space",
}


def code_arrays(ids_NL: Tensor, *, grid: int, given: int) -> dict[str, NDArray[np.float64]]:
    """Per image the metrics that are defined for one image; names as in `METRICS`.

    Args:
        ids_NL: (N, L) codes of whole images, prompt included, in rows.
        grid: G.
        given: how many of the codes are the prompt; at least one whole row must follow it.

    Returns:
        Arrays of (N,) float64, all in [0, 1]; `flat_share` is 0 or 1.
    """
    count, length = ids_NL.shape
    assert length == grid * grid and 0 <= given <= length - grid and grid > 1, (length, given)
    ids_NGG = ids_NL.numpy().reshape(count, grid, grid)
    completed_GG = np.arange(length).reshape(grid, grid) >= given
    up_NGG, left_NGG = ids_NGG[:, 1:] == ids_NGG[:, :-1], ids_NGG[:, :, 1:] == ids_NGG[:, :, :-1]
    vertical_N = up_NGG[:, completed_GG[1:]].mean(1)
    horizontal_N = left_NGG[:, completed_GG[:, 1:]].mean(1)
    first_row = -(-given // grid)  # the first without a code of the prompt
    sorted_NL = np.sort(ids_NL.numpy()[:, given:], axis=1)
    distinct_N = 1 + (np.diff(sorted_NL, axis=1) != 0).sum(1)
    return {
        "code_ttr": distinct_N / (length - given),
        "vertical_equal_share": vertical_N,
        "horizontal_equal_share": horizontal_N,
        "repeated_rows": up_NGG[:, max(first_row - 1, 0) :].all(2).mean(1),
        "repeated_columns": left_NGG[:, first_row:].all(1).mean(1),
        "flat_share": ((vertical_N > FLAT) | (horizontal_N > FLAT)).astype(np.float64),
    }


def code_metrics(ids_NL: Tensor, *, grid: int, given: int, seed: int = 0) -> dict[str, Interval]:
    """The means of `code_arrays` with bootstrap intervals over images, and `distinct_images`.

    Args:
        ids_NL, grid, given: as in `code_arrays`; N at least 1.
        seed: of the bootstrap.
    """
    arrays = code_arrays(ids_NL, grid=grid, given=given)
    intervals = {name: bootstrap_mean(values, seed=seed) for name, values in arrays.items()}
    return intervals | {"distinct_images": distinct_images(ids_NL[:, given:])}


def distinct_images(completions_NL: Tensor) -> Interval:
    """Different completions / completions, with a jackknife interval: a bootstrap draws images
    twice, and such duplicates would count as repetition."""
    count = len(completions_NL)
    _, kind_N, sizes = np.unique(
        completions_NL.numpy(), axis=0, return_inverse=True, return_counts=True
    )
    alone_N = sizes[kind_N.reshape(-1)] == 1
    return jackknife(sizes.size / count, (sizes.size - alone_N) / max(count - 1, 1))


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The nearest training image of each image.

    Attributes:
        distances_N: Euclidean, in feature space.
        indices_N: which training image, the first of equals.
    """

    distances_N: Tensor
    indices_N: Tensor


class CopyDetector:
    """Tells copies of training images by their distance in feature space.

    The threshold is the `quantile` of the distances of real held-out images to their nearest
    training images. An image counts as a copy if its own distance is at most the threshold. So
    about that share of other real images count as copies too, and a copy rate means its excess over
    that share. Plain images have small distances, whether copied or not: look at the nearest images
    as well.

    All features must be of the same part of an image, the completed rows, and training and held-out
    images must have gone through the tokenizer, as completions have. Of 1,000 verbatim copies of
    CIFAR-10 training images below a quarter of another image, at half the resolution, this finds
    all. Comparing whole images with raw training images finds 4, fewer than among real images.

    Args:
        train_TD: features of the training images.
        heldout_ND: features of real images outside the training set. They should not be those
            that are judged later, whose rate would be `quantile` by construction.
        quantile: 0.01 is 1 %.

    Raises:
        UserError: too few held-out images to estimate the quantile.

    Attributes:
        threshold: the largest distance of a copy.
    """

    def __init__(self, train_TD: Tensor, heldout_ND: Tensor, *, quantile: float = 0.01) -> None:
        least = round(1 / quantile)
        if len(heldout_ND) < least:
            raise UserError(
                expected=f"at least {least} held-out images for copy_rate",
                got=f"{len(heldout_ND)}",
                fix="hold out more images",
            )
        self._train_TD = train_TD
        distances_N = self.nearest(heldout_ND).distances_N
        # A value of the sample and no interpolation, so that a distance of 0 stays exactly 0.
        self.threshold = float(torch.quantile(distances_N, quantile, interpolation="lower"))

    def nearest(self, images_ND: Tensor) -> Nearest:
        """The nearest training image of each of (N, D) features."""
        parts = [
            # Not by matrix products, whose rounding would give a copy a distance above zero.
            torch.cdist(part, self._train_TD, compute_mode="donot_use_mm_for_euclid_dist").min(1)
            for part in images_ND.split(CHUNK_IMAGES)
        ]
        return Nearest(
            distances_N=torch.cat([part.values for part in parts]),
            indices_N=torch.cat([part.indices for part in parts]),
        )

    def copy_rate(self, nearest: Nearest, *, seed: int = 0) -> Interval:
        """Share of copies, with a bootstrap interval over images."""
        copied_N = (nearest.distances_N <= self.threshold).numpy()
        return bootstrap_mean(copied_N, seed=seed)
