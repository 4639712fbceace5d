"""Lloyd's k-means on tensors, on their device.

It initialises a codebook from data and quantises features for MAUVE. Neither needs more than the
plain algorithm, and nothing else would need a library that has it.

Shapes: M points, K clusters, D width of a point.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kmeans(points_MD: Tensor, clusters: int, *, steps: int, generator: torch.Generator) -> Tensor:
    """(K, D) centres after at most `steps` steps; it stops early if no assignment changes.

    Centres start at random points; a centre without points is replaced by a random point.

    Args:
        points_MD: at least K of them.
        clusters: K.
        steps: of assignment and averaging.
        generator: draws on the CPU.
    """
    assert len(points_MD) >= clusters, (points_MD.shape, clusters)
    centres_KD = points_MD[sample(len(points_MD), clusters, generator, points_MD.device)].clone()
    former_M: Tensor | None = None
    for _ in range(steps):
        ids_M = nearest(points_MD, centres_KD)
        if former_M is not None and torch.equal(ids_M, former_M):
            break
        counts_K, sums_KD = totals(points_MD, ids_M, clusters)
        empty_K = counts_K == 0
        centres_KD = sums_KD / counts_K.clamp(min=1)[:, None]
        spare = sample(len(points_MD), int(empty_K.sum()), generator, points_MD.device)
        centres_KD[empty_K] = points_MD[spare]
        former_M = ids_M
    return centres_KD


def nearest(points_MD: Tensor, centres_KD: Tensor) -> Tensor:
    """(M,) index of the nearest centre, as `VectorQuantizer` finds it."""
    return torch.cdist(points_MD, centres_KD).argmin(1)


def totals(points_MD: Tensor, ids_M: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Per cluster: (K,) how many points it has, and (K, D) their sum."""
    counts_K = torch.bincount(ids_M, minlength=clusters).to(points_MD.dtype)
    sums_KD = points_MD.new_zeros(clusters, points_MD.shape[1]).index_add_(0, ids_M, points_MD)
    return counts_K, sums_KD


def sample(among: int, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """(count,) different numbers below `among`, drawn on the CPU to be equal on all devices."""
    return torch.randperm(among, generator=generator)[:count].to(device)
