"""The codebook: its start, its moving averages, and codes that nothing chooses."""

from __future__ import annotations

import pytest
import torch

from common.tools.kmeans import nearest
from image.tokenizer.codebook import Codebook


def test_codebook_starts_at_the_centres_of_clusters() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    latents = torch.cat([c + 0.1 * torch.randn(50, 2, generator=generator) for c in centres])
    rows = torch.zeros(4, 2)
    book = Codebook(rows, decay=0.9, restart_after=5, seed=1)
    book.start(latents, batch_latents=20, update=3)
    ids = nearest(latents, rows)
    for code in range(4):
        torch.testing.assert_close(rows[code], latents[ids == code].mean(0))
    assert book.counts_K.sum() == pytest.approx(20)
    torch.testing.assert_close(book.sums_KD, rows * book.counts_K[:, None])
    error = (latents - rows[ids]).square().sum(1).mean().item()
    first = latents[torch.randperm(200, generator=torch.Generator().manual_seed(1_000_006))[:4]]
    assert error < (latents - first[nearest(latents, first)]).square().sum(1).mean().item()


def test_codebook_follows_by_moving_averages() -> None:
    latents = torch.tensor([[0.0], [1.0], [10.0], [12.0]])
    rows = torch.zeros(2, 1)
    book = Codebook(rows, decay=0.75, restart_after=100, seed=0)
    book.start(latents, batch_latents=4, update=0)
    low, high = (int(nearest(torch.tensor([[x]]), rows)) for x in (0.5, 11.0))
    assert rows[low].item() == 0.5 and rows[high].item() == 11.0
    count, total = {low: 2.0, high: 2.0}, {low: 1.0, high: 22.0}
    for update, batch in enumerate(([1.0, 2.0, 9.0], [3.0, 8.0, 8.0], [1.0, 1.0, 1.0])):
        part = torch.tensor(batch)[:, None]
        ids = nearest(part, rows)
        book.follow(part, ids, update=update)
        for code in (low, high):
            mine = [x for x, i in zip(batch, ids.tolist(), strict=True) if i == code]
            count[code] = 0.75 * count[code] + 0.25 * len(mine)
            total[code] = 0.75 * total[code] + 0.25 * sum(mine)
            assert rows[code].item() == pytest.approx(total[code] / count[code])
    assert book.restarts == 0
    expected = torch.distributions.Categorical(torch.tensor([count[low], count[high]]))
    assert book.perplexity() == pytest.approx(expected.entropy().exp().item(), rel=1e-5)


def test_a_code_that_nothing_chooses_becomes_a_latent() -> None:
    latents = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    rows = torch.zeros(3, 1)
    book = Codebook(rows, decay=0.5, restart_after=2, seed=0)
    book.start(latents, batch_latents=4, update=0)
    batch = torch.tensor([[7.0], [7.5], [8.0]])
    chosen = torch.zeros(3, dtype=torch.int64)
    book.follow(batch, chosen, update=1)
    # After the update of number 1, two are done.
    assert book.restarts == 0 and book.usage(update=2, window=1) == pytest.approx(1 / 3)
    book.follow(batch, chosen, update=2)
    assert book.restarts == 2 and {x.item() for x in rows[1:]} <= {7.0, 7.5, 8.0}
    assert rows[1] != rows[2]
    book.follow(batch, chosen, update=3)
    assert book.restarts == 2 and book.usage(update=4, window=1) == pytest.approx(1 / 3)
    assert book.usage(update=4, window=2) == 1.0
    assert rows[0].item() > 6  # the one that is chosen keeps moving
