"""k-means against scipy's from the same start."""

from __future__ import annotations

import numpy as np
import torch
from scipy.cluster.vq import kmeans2

from common.tools.kmeans import kmeans, nearest, totals


def points() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(80, 3, generator=generator, dtype=torch.float64)


def test_against_scipy() -> None:
    x = points()
    start = x[torch.randperm(80, generator=torch.Generator().manual_seed(5))[:6]]
    for steps in (1, 3, 200):
        got = kmeans(x, 6, steps=steps, generator=torch.Generator().manual_seed(5))
        want, ids = kmeans2(x.numpy(), start.numpy(), iter=steps, minit="matrix", missing="raise")
        np.testing.assert_allclose(got, want)
    np.testing.assert_array_equal(nearest(x, got), ids)
    assert not torch.allclose(start, got)


def test_a_settled_result_needs_no_more_steps() -> None:
    x = points()
    two = [kmeans(x, 6, steps=n, generator=torch.Generator().manual_seed(5)) for n in (200, 10**9)]
    torch.testing.assert_close(*two)


def test_an_empty_cluster_becomes_a_point() -> None:
    x = torch.tensor([[0.0], [0.0], [0.0], [5.0]])
    # Starting from two equal points, one of the two centres is nearest to nothing.
    found = {
        tuple(
            sorted(
                kmeans(x, 2, steps=50, generator=torch.Generator().manual_seed(s))
                .flatten()
                .tolist()
            )
        )
        for s in range(10)
    }
    assert found == {(0.0, 5.0)}


def test_totals() -> None:
    counts, sums = totals(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([2, 0, 2]), 3)
    assert counts.tolist() == [1.0, 0.0, 2.0] and sums.flatten().tolist() == [2.0, 0.0, 5.0]
