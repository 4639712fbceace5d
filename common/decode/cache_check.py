"""Check on the model itself whether it may decode with a cache, before anything is generated.

A cache that an architecture does not support gives wrong scores without any error. State-space
models ignore keys and values, and recurrent ones keep their state elsewhere. Where the rotary
frequencies change with the length, cached keys do not change with them. So two sequences of the
length to be decoded are scored with and without the cache, in the steps of decoding. If the scores
differ, or the model does not accept the cache, decoding runs every step over the whole sequence:
slow, and always right.

Shapes: P prompts, B of them tried, C tokens of prompt, L fed tokens, V vocabulary.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from common.decode.kv_cache import bytes_per_sequence, growing_cache
from common.tools.library_errors import LIBRARY_ERRORS, lacks_memory
from common.tools.precision import compute_dtype

TRIED_PROMPTS = 2
# Largest root-mean-square difference of the scores, relative to their spread. A sound cache differs
# by rounding: below 1e-5 in float32, 1e-3 with TF32, 1e-2 to 3e-2 in bf16; a wrong one by O(1).
TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-6}
LOW_PRECISION_TOLERANCE = 0.1


@dataclass(frozen=True, kw_only=True)
class CacheCheck:
    """Result of the check.

    Attributes:
        bytes_per_sequence: size of the cache for the whole length; 0 without a cache.
        reason: why the cache must not be used, or None.
    """

    bytes_per_sequence: int = 0
    reason: str | None = None


@torch.inference_mode()
def check_cache(model: PreTrainedModel, ids_PC: Tensor, total: int) -> CacheCheck:
    """Try the cache over the length that will be decoded.

    Args:
        model: in eval mode.
        ids_PC: (P, C) prompts.
        total: tokens of prompt and continuation; the last one is never fed.
    """
    context, fed = ids_PC.shape[1], total - 1
    reason = _moving_frequencies(model, context, fed)
    if reason is not None:
        return CacheCheck(reason=reason)
    ids_BC = ids_PC[:TRIED_PROMPTS].to(model.device)
    ids_BL = torch.cat([ids_BC, _filler(model, len(ids_BC), fed - context)], dim=1)
    # First without the cache, so that a model that fails anyway raises its own error.
    plain_BV = last_scores(model, ids_BL, None).float()
    try:
        cache = growing_cache(model, total)
        last_scores(model, ids_BC, cache)
        cached_BV = plain_BV
        for start, end in [(context, fed - 1), (fed - 1, fed)]:
            if context <= start < end:
                cached_BV = last_scores(model, ids_BL[:, start:end], cache).float()
    except LIBRARY_ERRORS as error:
        if lacks_memory(error):
            raise
        return CacheCheck(reason="it does not take a cache of keys and values")
    spread_B = (plain_BV - plain_BV.mean(dim=-1, keepdim=True)).norm(dim=-1)
    worst = float(((cached_BV - plain_BV).norm(dim=-1) / spread_B.clamp(min=1e-30)).max())
    # Written with `not`, so that NaN is refused.
    if not worst <= TOLERANCE.get(compute_dtype(model), LOW_PRECISION_TOLERANCE):
        return CacheCheck(reason="its scores with a cache are not those without")
    return CacheCheck(bytes_per_sequence=bytes_per_sequence(cache))


def last_scores(model: PreTrainedModel, ids_BL: Tensor, cache: object | None) -> Tensor:
    """(B, V) scores after the last token, in the model's dtype."""
    extra: dict[str, Any] = {"logits_to_keep": 1} if keeps_last_only(model) else {}
    if cache is not None:  # some models do not accept this argument
        extra["past_key_values"] = cache
    output = model(input_ids=ids_BL, use_cache=cache is not None, **extra)
    return output.logits[:, -1]


def keeps_last_only(model: PreTrainedModel) -> bool:
    """Whether `forward` can compute the scores of the last position only."""
    # A peft wrapper passes its arguments on to the model inside.
    inner = getattr(model, "get_base_model", lambda: model)()
    return _keeps_last_only(type(inner))


@functools.cache
def _keeps_last_only(model_class: type[PreTrainedModel]) -> bool:
    return "logits_to_keep" in inspect.signature(model_class.forward).parameters


def _moving_frequencies(model: PreTrainedModel, context: int, fed: int) -> str | None:
    """Why cached keys become wrong, if the rotary frequencies change with the length; else None.

    "longrope" has one set of frequencies up to a length and another beyond it; "dynamic" changes
    them with every token beyond one. In a model that was not trained with them the difference is
    small and rounding can hide it, so the configuration is read as well.
    """
    config = model.config.get_text_config(decoder=True)
    rope = getattr(config, "rope_parameters", None) or {}
    for one in [rope, *(value for value in rope.values() if isinstance(value, dict))]:
        kind = one.get("rope_type", "default")
        if kind == "longrope" and context <= one["original_max_position_embeddings"] < fed:
            limit = one["original_max_position_embeddings"]
        elif kind == "dynamic" and config.max_position_embeddings < fed:
            limit = config.max_position_embeddings
        else:
            continue
        return f"its rotary frequencies change past {limit} tokens"
    return None


def _filler(model: Any, rows: int, columns: int) -> Tensor:
    """(rows, columns) random ids for the tokens to be generated. Repeating the prompt would not do:
    attention to equal tokens gives the same result whatever the cache holds."""
    limit = model.get_input_embeddings().weight.shape[0]
    generator = torch.Generator().manual_seed(0)
    return torch.randint(limit, (rows, columns), generator=generator).to(model.device)
