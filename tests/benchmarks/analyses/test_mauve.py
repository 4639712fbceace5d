"""MAUVE against its definition: closed forms, fine integration, and components by eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import entropy
from transformers import GPT2Config, LlamaConfig
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from benchmarks.analyses.mauve import (
    clusters_for,
    divergence_area,
    last_states,
    mauve,
    principal_components,
)


def features(shift: float, *, seed: int, members: int = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(members, 8, generator=generator) * torch.linspace(2, 0.2, 8)
    return x + shift * torch.eye(8)[0]


def test_a_sample_against_itself_is_one() -> None:
    x = features(0, seed=0)
    assert mauve(x, x, seeds=range(3)) == [1.0] * 3


def test_disjoint_samples_are_near_zero() -> None:
    # The curve of disjoint histograms is ((1 - w)^5, w^5).
    area, _ = quad(lambda w: w**5 * 5 * (1 - w) ** 4, 0, 1)
    [score] = mauve(features(-200, seed=0), features(200, seed=1), seeds=[0])
    assert score == pytest.approx(area, abs=1e-3) and area < 0.01


def test_falls_with_distance_and_is_symmetric() -> None:
    true = features(0, seed=0)
    scores = [np.mean(mauve(true, features(s, seed=1), seeds=range(3))) for s in (0, 3, 9)]
    assert 1 > scores[0] > scores[1] > scores[2] > 0
    one, other = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.1, 0.8])
    assert divergence_area(one, other) == pytest.approx(divergence_area(other, one))


def test_seeds_decide_the_clusters() -> None:
    true, made = features(0, seed=0), features(1, seed=1)
    assert mauve(true, made, seeds=[0, 1]) == mauve(true, made, seeds=[0]) + mauve(
        true, made, seeds=[1]
    )
    assert len(set(mauve(true, made, seeds=range(5)))) > 1


@pytest.mark.parametrize(
    ("one", "other"), [([0.5, 0.5, 0.0], [0.2, 0.3, 0.5]), ([0.7, 0.3], [0.4, 0.6])]
)
def test_area_against_a_fine_curve(one: list[float], other: list[float]) -> None:
    p, q = np.array(one), np.array(other)

    weights = np.linspace(1e-9, 1 - 1e-9, 20_001)[:, None]
    mixed = weights * p + (1 - weights) * q
    xs, ys = (
        np.exp(-5 * entropy(np.broadcast_to(one, mixed.shape), mixed, axis=1)) for one in (q, p)
    )
    # Beyond the curve's ends its corners: up to (0, 1) on the left, down to (1, 0) on the right.
    fine = -torch.trapezoid(torch.tensor([0, *ys, 1]), torch.tensor([1, *xs, 0])).item()
    assert divergence_area(p, q) == pytest.approx(fine, abs=2e-3)


def test_components_against_eigenvalues() -> None:
    x = features(1, seed=0).double()
    unit = x / x.norm(dim=1, keepdim=True)
    values, vectors = np.linalg.eigh(np.cov(unit.numpy(), rowvar=False))
    share = np.cumsum(values[::-1]) / values.sum()
    kept = int(np.searchsorted(share, 0.9)) + 1
    assert 1 < kept < 8
    want = (unit - unit.mean(0)).numpy() @ vectors[:, ::-1][:, :kept]
    got = principal_components(x).numpy()
    assert got.shape == want.shape
    np.testing.assert_allclose(np.abs(got), np.abs(want), atol=1e-9)  # the sign is free


def test_number_of_clusters() -> None:
    assert [clusters_for(n) for n in (4, 29, 160, 1024)] == [2, 2, 16, 102]


def test_last_state_against_the_library() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=19,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=16,
    )
    model = AutoModelForCausalLM.from_config(config).train()
    ids = torch.randint(19, (5, 12))
    got = last_states(model, ids, batch_size=2)
    assert model.training
    with torch.no_grad():
        want = model.eval()(input_ids=ids, output_hidden_states=True).hidden_states[-1][:, -1]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_last_state_of_a_model_with_fewer_positions() -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=19, n_embd=16, n_layer=1, n_head=2, n_positions=8)
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(19, (3, 9))
    torch.testing.assert_close(
        last_states(model, ids, batch_size=3), last_states(model, ids[:, :8], batch_size=3)
    )
