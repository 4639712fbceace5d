"""Layer geometry against eigenvalues of numpy covariances, and the library's own hidden states."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, LlamaConfig
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from benchmarks.analyses.geometry import _distances, _Moments, compare_layers, layer_states
from common.model.tune import decoder_blocks

VOCAB, LAYERS, FIRST = 29, 3, 3
CONFIGS = {
    "llama": LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        max_position_embeddings=16,
        initializer_range=0.3,
    ),
    "gpt2": GPT2Config(vocab_size=VOCAB, n_embd=12, n_layer=LAYERS, n_head=2, n_positions=16),
}
IDS = torch.randint(VOCAB, (7, 10), generator=torch.Generator().manual_seed(1))


def pair(name: str) -> tuple[Any, Any]:
    torch.manual_seed(0)
    original = AutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    changed = copy.deepcopy(original)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return original, changed


def final_norm(model: Any) -> torch.nn.Module:
    return model.model.norm if hasattr(model, "model") else model.transformer.ln_f


def effective_dimension(states_ND: np.ndarray) -> float:
    eigenvalues = np.linalg.eigvalsh(np.cov(states_ND, rowvar=False))
    return eigenvalues.sum() ** 2 / np.square(eigenvalues).sum()


@pytest.mark.parametrize("name", CONFIGS)
def test_states_against_those_of_the_library(name: str) -> None:
    model, _ = pair(name)
    with torch.no_grad():
        got = layer_states(model, IDS, FIRST)
        assert not any(block._forward_hooks for block in decoder_blocks(model)[1])
        output = model(input_ids=IDS[:, :-1], output_hidden_states=True, use_cache=False)
        want = [state[:, FIRST - 1 :] for state in output.hidden_states[1:]]
        assert len(got) == LAYERS + 1 and len(want) == LAYERS
        # The library has the last state after the norm only, and the others before it.
        for mine, theirs in zip([*got[: LAYERS - 1], got[-1]], want, strict=True):
            torch.testing.assert_close(mine, theirs)
        torch.testing.assert_close(final_norm(model)(got[-2]), got[-1])
        assert not torch.allclose(got[-2], got[-1], atol=0.1)


@pytest.mark.parametrize("name", CONFIGS)
def test_distances_and_dimensions_against_numpy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = pair(name)
    # Two sequences at a time.
    monkeypatch.setitem(
        compare_layers.__globals__, "STATE_BYTES", 2 * 4 * 12 * (LAYERS + 1) * 2 * 10
    )
    got = compare_layers(*models, IDS, first=FIRST)
    assert [layer.name for layer in got] == [
        *(f"block {n}" for n in range(1, LAYERS + 1)),
        "after the final norm",
    ]
    np.testing.assert_allclose([x.relative_depth for x in got], [1 / 3, 2 / 3, 1, 1])
    with torch.no_grad():
        states = [
            [state.double().numpy() for state in layer_states(model, IDS, FIRST)]
            for model in models
        ]
    for layer, before, after in zip(got, *states, strict=True):
        norms = np.linalg.norm(before, axis=-1)
        cosines = (before * after).sum(-1) / norms / np.linalg.norm(after, axis=-1)
        distances = np.linalg.norm(after - before, axis=-1)
        assert layer.cosine.mean == pytest.approx(cosines.mean(), rel=1e-6)
        assert layer.l2.mean == pytest.approx(distances.mean(), rel=1e-6)
        assert layer.relative_l2.mean == pytest.approx((distances / norms).mean(), rel=1e-6)
        whole = [effective_dimension(x.reshape(-1, 12)) for x in (before, after)]
        assert layer.dimension_original.mean == pytest.approx(whole[0], rel=1e-6)
        assert layer.dimension_hyperfitted.mean == pytest.approx(whole[1], rel=1e-6)
        assert layer.dimension_change.mean == pytest.approx(whole[1] - whole[0], rel=1e-6)
        low, high = layer.dimension_change.low, layer.dimension_change.high
        assert low is not None and high is not None and low < layer.dimension_change.mean < high
        assert layer.cosine.n == layer.dimension_change.n == len(IDS)


def test_leaving_a_sequence_out_against_leaving_it_out() -> None:
    generator = torch.Generator().manual_seed(2)
    # Far from the origin, as hidden states with a few huge coordinates are.
    states = torch.randn(6, 5, 8, generator=generator) * torch.linspace(3, 0.1, 8)
    states += 100 * torch.randn(8, generator=generator)
    moments = _Moments()
    for batch in states.split(4):
        moments.add(batch)
    scatter = moments.scatter()
    for batch in states.split(4):
        scatter.leave_out_each(batch)
    x = states.double().numpy()
    want = [effective_dimension(np.delete(x, row, axis=0).reshape(-1, 8)) for row in range(6)]
    np.testing.assert_allclose(torch.cat(scatter.left_out), want, rtol=1e-8)
    assert scatter.influence().mean() == pytest.approx(effective_dimension(x.reshape(-1, 8)))


def test_a_model_does_not_differ_from_itself() -> None:
    model, _ = pair("llama")
    for layer in compare_layers(model, model, IDS, first=FIRST):
        assert layer.cosine.mean == pytest.approx(1.0)
        assert layer.l2.high == layer.relative_l2.high == 0.0
        assert layer.dimension_change.low == layer.dimension_change.high == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_are_left_as_they_are(dtype: torch.dtype) -> None:
    """Those of a float64 model too, which are summed without a copy."""
    states_BLD = torch.randn(3, 4, 6, dtype=dtype)
    before_BLD = states_BLD.clone()
    moments = _Moments()
    moments.add(states_BLD)
    moments.scatter().leave_out_each(states_BLD)
    _distances(states_BLD, states_BLD + 1)
    torch.testing.assert_close(states_BLD, before_BLD, rtol=0, atol=0)


def test_a_float64_model_against_the_same_in_float32() -> None:
    single = compare_layers(*pair("llama"), IDS, first=FIRST)
    double = compare_layers(*(model.double() for model in pair("llama")), IDS, first=FIRST)
    for one, other in zip(single, double, strict=True):
        assert one.dimension_change.mean == pytest.approx(other.dimension_change.mean, rel=1e-3)
        assert one.relative_l2.mean == pytest.approx(other.relative_l2.mean, rel=1e-4)
