"""Cached decoding is used exactly where it says what an argmax loop of full forward passes says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_families import FAMILIES, SWITCH, VOCABULARY, tiny_model
from torch import Tensor

import common.decode.cache_check
from common.decode.cache_check import check_cache
from common.decode.generate import generate, stream
from common.decode.methods import greedy_config

PROMPT, NEW = 8, 9  # across windows of 5 and 6, and across the switch at 12
IGNORED = "its scores with a cache are not those without"
REFUSED = "it does not take a cache of keys and values"
MOVED = f"its rotary frequencies change past {SWITCH} tokens"
WITHOUT_CACHE = {
    "openai-gpt": IGNORED,
    "mamba": IGNORED,
    "mamba2": IGNORED,
    "falcon_mamba": IGNORED,
    "rwkv": IGNORED,
    "recurrent_gemma": REFUSED,
    "lfm2": REFUSED,
    "jamba": REFUSED,
    "bamba": REFUSED,
    "falcon_h1": REFUSED,
    "zamba2": REFUSED,
    "qwen3_next": REFUSED,
    "phi3-longrope": MOVED,
    "llama-dynamic": MOVED,
}


def prompts(length: int = PROMPT) -> Tensor:
    return torch.randint(3, VOCABULARY, (3, length), generator=torch.Generator().manual_seed(1))


def argmax_loop(model: Any, ids_PC: Tensor, new_tokens: int) -> Tensor:
    ids_PT = ids_PC
    with torch.no_grad():
        for _ in range(new_tokens):
            scores_PV = model(input_ids=ids_PT, use_cache=False).logits[:, -1]
            ids_PT = torch.cat([ids_PT, scores_PV.argmax(dim=-1, keepdim=True)], dim=1)
    return ids_PT[:, ids_PC.shape[1] :]


@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_against_an_argmax_loop_of_full_passes(name: str) -> None:
    model, notices = tiny_model(name), []
    got = generate(model, prompts(), new_tokens=NEW, method=greedy_config(), notify=notices.append)
    np.testing.assert_array_equal(np.stack(got), argmax_loop(model, prompts(), NEW))
    assert len(np.unique(np.stack(got))) > 2  # not a model that says one token for ever
    expected = WITHOUT_CACHE.get(name)
    assert len(notices) == (expected is not None)
    for notice in notices:
        assert notice.startswith(f"note: {type(model).__name__}: {expected}; decoding without")


@pytest.mark.parametrize("name", ["phi3-longrope", "llama-dynamic"])
def test_moving_frequencies_matter_past_the_switch_only(name: str) -> None:
    model = tiny_model(name)
    short = check_cache(model, prompts(4), SWITCH + 1)  # the last token is never fed
    assert short.reason is None and short.bytes_per_sequence > 0
    assert check_cache(model, prompts(4), SWITCH + 2).reason == MOVED


def test_longrope_wholly_past_its_switch_has_one_set_of_frequencies() -> None:
    model = tiny_model("phi3-longrope")
    assert check_cache(model, prompts(SWITCH + 1), SWITCH + 9).reason is None
    got = generate(model, prompts(SWITCH + 1), new_tokens=8, method=greedy_config())
    np.testing.assert_array_equal(np.stack(got), argmax_loop(model, prompts(SWITCH + 1), 8))


def test_moving_frequencies_are_seen_without_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial runs over the whole length, so it sees what happens late."""
    monkeypatch.setattr(common.decode.cache_check, "_moving_frequencies", lambda *_: None)
    for name in ("phi3-longrope", "llama-dynamic"):
        assert check_cache(tiny_model(name), prompts(4), SWITCH + 6).reason == IGNORED


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "gemma3", "opt", "bloom"])
def test_rounding_is_not_taken_for_a_wrong_cache(name: str) -> None:
    model = tiny_model(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert check_cache(model, prompts(), PROMPT + NEW).reason is None
    assert check_cache(model.bfloat16(), prompts(), PROMPT + NEW).reason is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_wrong_cache_is_not_used(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama").to(dtype)
    right = check_cache(model, prompts(), 17)
    # Blocks, keys and values, heads, positions, depth.
    assert right.bytes_per_sequence == 2 * 2 * 2 * 17 * 8 * dtype.itemsize
    real = common.decode.cache_check.growing_cache

    def forgetful(model: Any, capacity: int) -> Any:
        cache = real(model, capacity)
        layer: Any = cache.layers[1]
        update = layer.update
        layer.update = lambda k, v, *a, **kw: update(torch.zeros_like(k), v)
        return cache

    monkeypatch.setattr(common.decode.cache_check, "growing_cache", forgetful)
    assert check_cache(model, prompts(), 17).reason == IGNORED


def test_scores_that_are_no_numbers_are_not_trusted() -> None:
    model = tiny_model("llama")
    torch.nn.init.constant_(model.model.norm.weight, torch.nan)
    assert check_cache(model, prompts(), 17).reason == IGNORED


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 1 byte")],
)
def test_lack_of_memory_is_no_answer(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(common.decode.cache_check, "growing_cache", fails)
    with pytest.raises(type(error), match="memory"):
        check_cache(tiny_model("llama"), prompts(), 17)


def test_a_stream_tells_before_its_first_token() -> None:
    model, notices = tiny_model("mamba"), []
    tokens = stream(
        model, prompts()[0], new_tokens=NEW, method=greedy_config(), notify=notices.append
    )
    assert len(notices) == 1 and IGNORED in notices[0]
    assert list(tokens) == argmax_loop(model, prompts()[:1], NEW)[0].tolist()
    assert len(notices) == 1


def test_the_notice_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    generate(tiny_model("mamba"), prompts(), new_tokens=2, method=greedy_config())
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("MambaForCausalLM") == 1


@pytest.mark.parametrize("name", ["mamba", "recurrent_gemma", "phi3-longrope"])
def test_training_goes_on_after_decoding(name: str) -> None:
    """Decoding runs in inference mode, and states that a model keeps must not leak from it."""
    model = tiny_model(name).train()
    generate(model, prompts(), new_tokens=NEW, method=greedy_config(), notify=lambda _: None)
    model(input_ids=prompts(), use_cache=False).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
