"""The tokenizer's loss against its terms computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_tokenizer import SIZE, FakeExtractor, blobs, tiny_model

from image.tokenizer.loss import TokenizerLoss, perceptual_distance
from image.tokenizer.pixels import to_signed


@pytest.mark.parametrize("quantise", [True, False])
def test_loss_against_its_terms_by_hand(quantise: bool) -> None:
    model, images = tiny_model(), to_signed(blobs(3))
    loss = TokenizerLoss(
        maps=FakeExtractor().maps,
        perceptual_weight=0.7,
        commitment_weight=0.3,
        stability_weight=0.2,
    )
    parts = loss(model, images, quantise=quantise)
    with torch.no_grad():
        latents = model.encode(images).latents
        distances = (
            latents.permute(0, 2, 3, 1)[..., None, :] - model.quantize.embedding.weight
        ).norm(dim=-1)
        ids = distances.argmin(-1)
        entries = model.quantize.embedding.weight[ids].permute(0, 3, 1, 2)
        decoded: Any = model.decode(entries if quantise else latents, force_not_quantize=True)
        again = model.encode(decoded.sample.clamp(-1, 1)).latents
    expected = {
        "l1": (decoded.sample - images).abs().mean(),
        "perceptual": perceptual_distance(FakeExtractor().maps, decoded.sample, images),
    }
    weights = {"l1": 1.0, "perceptual": 0.7, "commitment": 0.3, "stability": 0.2}
    if quantise:
        spread = entries.var((0, 2, 3)).sum()  # the terms are free of the latents' scale
        expected["commitment"] = (latents - entries).square().sum(1).mean() / spread
        expected["stability"] = (again - entries).square().sum(1).mean() / spread
        assert parts.ids_M is not None and torch.equal(parts.ids_M, ids.flatten())
    else:
        assert parts.ids_M is None
    assert parts.terms.keys() == expected.keys()
    for name, value in expected.items():
        assert parts.terms[name].item() == pytest.approx(value.item(), rel=1e-4), name
    total = sum(weights[name] * value.item() for name, value in expected.items())
    assert parts.total.item() == pytest.approx(total, rel=1e-4)
    torch.testing.assert_close(
        parts.latents_MD, latents.permute(0, 2, 3, 1).flatten(0, 2), rtol=1e-4, atol=1e-5
    )
    parts.total.backward()
    assert model.encoder.conv_in.weight.grad.abs().sum() > 0


def test_perceptual_distance_against_numpy() -> None:
    one, other = blobs(2, seed=1), blobs(2, seed=2)
    distance = perceptual_distance(FakeExtractor().maps, to_signed(one), to_signed(other))
    expected = []
    for scale in (1, 2):
        maps = []
        for pixels in (one, other):
            values = pixels.double().numpy() / 255 + 0.1
            side = SIZE // scale
            values = values.reshape(2, 3, side, scale, side, scale).mean((3, 5))
            maps.append(values / np.sqrt(np.square(values).sum(1, keepdims=True)))
        expected.append(np.abs(maps[0] - maps[1]).mean())
    assert distance.item() == pytest.approx(np.mean(expected), rel=1e-4)
