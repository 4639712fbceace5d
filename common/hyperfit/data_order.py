"""Which sequences an update trains on: a function of the seed and the update's number alone.

Every epoch is a permutation drawn from (seed, epoch). The epochs form one endless stream, from
which every update takes a full batch. A resumed run needs only the number of its update.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


class DataOrder:
    """Batches of one run.

    Args:
        count: how many sequences there are.
        batch_size: sequences per update, at least 1.
        seed: of the permutations.
    """

    def __init__(self, count: int, *, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self._epoch, self._permutation_N = -1, torch.empty(0, dtype=torch.int64)

    def rows(self, update: int) -> list[int]:
        """The sequences that update number `update`, from 0, trains on."""
        positions = range(update * self.batch_size, (update + 1) * self.batch_size)
        return [int(self._permutation(p // self.count)[p % self.count]) for p in positions]

    def epochs(self, updates: int) -> float:
        """`updates` in epochs, i.e. passes over the data."""
        return updates * self.batch_size / self.count

    def _permutation(self, epoch: int) -> torch.Tensor:
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch = epoch
            self._permutation_N = torch.randperm(self.count, generator=generator)
        return self._permutation_N


def batched(rows: Sequence[int], size: int) -> Iterator[list[int]]:
    """Consecutive rows, `size` at a time; the last may be fewer."""
    for start in range(0, len(rows), size):
        yield list(rows[start : start + size])
