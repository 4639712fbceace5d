"""The order of the data: a permutation per (seed, epoch), the same whatever asks."""

from __future__ import annotations

import pytest
import torch

from common.hyperfit.data_order import DataOrder, batched


def stream(count: int, batch: int, seed: int, updates: int) -> list[int]:
    order = DataOrder(count, batch_size=batch, seed=seed)
    rows = [order.rows(update) for update in range(updates)]
    assert all(len(rows_B) == batch for rows_B in rows)
    return [row for rows_B in rows for row in rows_B]


@pytest.mark.parametrize("batch", [1, 4, 7, 10, 13])
def test_every_epoch_is_a_permutation_of_seed_and_epoch(batch: int) -> None:
    rows = stream(10, batch, seed=3, updates=40)
    for epoch in range(len(rows) // 10):
        generator = torch.Generator().manual_seed(3 * 1_000_003 + epoch)
        expected = torch.randperm(10, generator=generator).tolist()
        assert rows[epoch * 10 : (epoch + 1) * 10] == expected
        assert sorted(expected) == list(range(10))


def test_seed_matters_and_epochs_differ() -> None:
    rows = stream(10, 10, seed=0, updates=3)
    assert rows != stream(10, 10, seed=1, updates=3)
    assert rows[:10] != rows[10:20] != rows[20:]


def test_any_update_can_be_asked_for_first() -> None:
    in_order = DataOrder(6, batch_size=4, seed=5)
    expected = [in_order.rows(update) for update in range(9)]
    for update in (8, 0, 5, 5):
        afresh = DataOrder(6, batch_size=4, seed=5)
        assert afresh.rows(update) == expected[update]
    assert in_order.epochs(9) == pytest.approx(6.0)


@pytest.mark.parametrize("size", [1, 2, 5, 7])
def test_batched_keeps_every_row_in_order(size: int) -> None:
    parts = list(batched(range(7), size))
    assert [row for part in parts for row in part] == list(range(7))
    assert all(len(part) == size for part in parts[:-1]) and 1 <= len(parts[-1]) <= size
