"""Generating continuations for many prompts at once.

Why not `model.generate`: at the batch of 8 that the authors' code uses it spends most of a step
on Python and on copying its cache. Prompts of a set have one length, so all of them fit one batch
without padding; this loop takes as many as memory allows, computes the scores of the last position
only, and keeps its cache in place. It reads nothing from the checkpoint's generation config.

Sampling draws the uniform numbers for every (prompt, step) from the seed before it begins and
inverts the distribution function with them, so a sample does not depend on how prompts are batched.

Shapes: P prompts, B of them in a batch, C tokens of prompt, N new tokens, T = C + N, V vocabulary.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import psutil
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel

from common.decode_config import score_processors
from common.errors import UserError
from common.kv_cache import bytes_per_sequence, growing_cache
from common.precision import compute_dtype

# Share of the free memory to plan with; the rest is for activations and other processes.
MEMORY_SHARE = 0.5
# Copies of the (B, V) float32 scores alive in a step: scores, processed, sorted values and indices,
# probabilities and their float64 sums.
SCORE_COPIES = 10
# Cached and uncached scores of a sound cache differ by rounding only; a wrong cache by O(1).
CACHE_TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-6}
LOW_PRECISION_TOLERANCE = 0.2


def generate(
    model: PreTrainedModel,
    ids_PC: Tensor,
    *,
    new_tokens: int,
    method: GenerationConfig,
    seed: int = 0,
    processors: Sequence[LogitsProcessor] = (),
    max_batch: int | None = None,
    stop_at: int | None = None,
    use_cache: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[np.ndarray]:
    """Continue every prompt.

    Args:
        model: a causal language model; evaluated in eval mode, its training flag is restored.
        ids_PC: (P, C) int64 prompts of one length, C at least 1.
        new_tokens: N, at least 1.
        method: from `common.decode_config`.
        seed: for sampling methods.
        processors: further score processors, e.g. the citation blocker. Called with the (B, L)
            ids so far and (B, V) float32 scores, after penalties and before top-k and top-p.
        max_batch: upper limit of B; by default what memory allows.
        stop_at: end a continuation before this id. By default none is special and every
            continuation has N tokens, as measuring over a fixed length needs.
        use_cache: False computes every step from scratch, for models that cannot cache.
        progress: called with (tokens done, tokens in all) after every step.

    Returns:
        P arrays of int64 ids, without the prompt.

    Raises:
        UserError: an unsupported method, a model whose cache does not reproduce its own scores,
            or too little memory for a single prompt.
    """
    assert ids_PC.ndim == 2 and ids_PC.shape[1] > 0 and new_tokens > 0, (ids_PC.shape, new_tokens)
    prompts = len(ids_PC)
    if prompts == 0:
        return []
    noise_PN = _noise(prompts, new_tokens, seed) if method.do_sample else None
    done: list[np.ndarray] = []
    with _evaluating(model):
        capacity = ids_PC.shape[1] + new_tokens
        sequence_bytes = check_cache(model, ids_PC, capacity) if use_cache else 0
        batch = min(_fitting(model, sequence_bytes), prompts, max_batch or prompts)
        while len(done) < prompts:
            # Even batches: 130 prompts in batches of at most 128 are 65 + 65, not 128 + 2.
            left = prompts - len(done)
            rows = slice(len(done), len(done) + -(-left // -(-left // batch)))
            steps = _steps(
                model,
                ids_PC[rows],
                new_tokens,
                method,
                processors,
                noise_PN[rows] if noise_PN is not None else None,
                use_cache,
            )
            new_BN = _collect(steps, len(done), prompts, new_tokens, stop_at, progress)
            if new_BN is None:
                batch = _halved(rows.stop - rows.start)
            else:
                done.extend(_until(row, stop_at) for row in new_BN)
    return done


def stream(
    model: PreTrainedModel,
    ids_C: Tensor,
    *,
    new_tokens: int,
    method: GenerationConfig,
    seed: int = 0,
    processors: Sequence[LogitsProcessor] = (),
    stop_at: int | None = None,
) -> Iterator[int]:
    """Continue one (C,) prompt, giving each token as it comes; arguments as for `generate`.

    With the same seed, `generate` gives the same tokens for its first prompt only.
    """
    noise_1N = _noise(1, new_tokens, seed) if method.do_sample else None
    with _evaluating(model):
        check_cache(model, ids_C[None], len(ids_C) + new_tokens)
        for next_1 in _steps(model, ids_C[None], new_tokens, method, processors, noise_1N, True):
            token = int(next_1[0])
            if token == stop_at:
                return
            yield token


def _steps(
    model: PreTrainedModel,
    ids_BC: Tensor,
    new_tokens: int,
    method: GenerationConfig,
    processors: Sequence[LogitsProcessor],
    noise_BN: Tensor | None,
    use_cache: bool,
) -> Iterator[Tensor]:
    """The (B,) next tokens of each step, on the model's device."""
    before, after = score_processors(method)
    chain = [*before, *processors, *after]
    batch, context = ids_BC.shape
    ids_BT = torch.empty((batch, context + new_tokens), dtype=torch.int64, device=model.device)
    ids_BT[:, :context] = ids_BC
    noise_BN = noise_BN.to(model.device) if noise_BN is not None else None
    cache = growing_cache(model, context + new_tokens) if use_cache else None
    fed = 0
    for length in range(context, context + new_tokens):
        with torch.inference_mode():
            scores_BV = last_scores(model, ids_BT[:, fed:length], cache).float()
            for process in chain:
                scores_BV = process(ids_BT[:, :length], scores_BV)  # type: ignore[arg-type]
            if noise_BN is None:
                next_B = scores_BV.argmax(dim=-1)
            else:
                next_B = _sample(scores_BV, noise_BN[:, length - context])
            ids_BT[:, length] = next_B
        fed = length if use_cache else 0
        yield next_B


def last_scores(model: PreTrainedModel, ids_BL: Tensor, cache: object | None) -> Tensor:
    """(B, V) scores after the last token, in the model's dtype."""
    # A peft wrapper hands its arguments on to the model inside.
    inner = getattr(model, "get_base_model", lambda: model)()
    extra = {"logits_to_keep": 1} if _keeps_last_only(type(inner)) else {}
    output = model(input_ids=ids_BL, past_key_values=cache, use_cache=cache is not None, **extra)
    return output.logits[:, -1]


def check_cache(model: PreTrainedModel, ids_PC: Tensor, capacity: int) -> int:
    """Compare one cached step with the uncached forward pass, on up to two prompts.

    A cache that an architecture does not support gives wrong scores without any error.

    Returns:
        Bytes of cache that one sequence of `capacity` tokens takes.

    Raises:
        UserError: the scores differ by more than rounding.
    """
    ids_BC = ids_PC[:2].to(model.device)
    with torch.inference_mode():
        cache = growing_cache(model, capacity)
        first_B = last_scores(model, ids_BC, cache).argmax(dim=-1, keepdim=True)
        cached_BV = last_scores(model, first_B, cache).float()
        plain_BV = last_scores(model, torch.cat([ids_BC, first_B], dim=1), None).float()
    worst = float((cached_BV - plain_BV).abs().max() / plain_BV.abs().max().clamp(min=1e-30))
    dtype = compute_dtype(model)
    if worst > CACHE_TOLERANCE.get(dtype, LOW_PRECISION_TOLERANCE):
        raise UserError(
            expected=f"{type(model).__name__} to give the same scores with its cache as without",
            got=f"a relative difference of {worst:.1e} in {dtype}",
            fix="decode with use_cache=False",
        )
    return bytes_per_sequence(cache)


def _fitting(model: PreTrainedModel, sequence_bytes: int) -> int:
    """How many sequences fit the planned share of the free memory; at least 1."""
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    needed = sequence_bytes + SCORE_COPIES * vocabulary * torch.float32.itemsize
    if model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        # What the allocator holds but does not use is free to us as well.
        free += torch.cuda.memory_reserved(model.device)
        free -= torch.cuda.memory_allocated(model.device)
    else:
        free = psutil.virtual_memory().available
    return max(1, int(MEMORY_SHARE * free) // needed)


def _collect(
    steps: Iterator[Tensor],
    before: int,
    prompts: int,
    new_tokens: int,
    stop_at: int | None,
    progress: Callable[[int, int], None] | None,
) -> np.ndarray | None:
    """(B, up to N) tokens of a batch, or None where memory ran out."""
    columns: list[Tensor] = []
    stopped_B: Tensor | None = None
    try:
        for next_B in steps:
            columns.append(next_B)
            if progress is not None:
                rows = len(next_B)
                progress(before * new_tokens + len(columns) * rows, prompts * new_tokens)
            if stop_at is not None:
                here_B = next_B == stop_at
                stopped_B = here_B if stopped_B is None else stopped_B | here_B
                if bool(stopped_B.all()):
                    break
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU allocator has no own
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        return None
    return torch.stack(columns, dim=1).cpu().numpy()


def _halved(size: int) -> int:
    """The next batch to try after `size` sequences ran out of memory."""
    if size == 1:
        raise UserError(
            expected="memory to decode one prompt",
            got="too little",
            fix="free some memory or ask for fewer new tokens",
        )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return -(-size // 2)


def _noise(prompts: int, new_tokens: int, seed: int) -> Tensor:
    """(P, N) uniform numbers in [0, 1), equal on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((prompts, new_tokens), generator=generator)


def _sample(scores_BV: Tensor, noise_B: Tensor) -> Tensor:
    """(B,) tokens by inverting the distribution function at `noise_B`.

    Sums are in float64, so that a vocabulary of 100,000 does not round the tail away.
    """
    sums_BV = scores_BV.double().softmax(dim=-1).cumsum(dim=-1)
    goal_B1 = noise_B.double()[:, None] * sums_BV[:, -1:]
    # right=True: the first sum above the goal, hence never a token of probability zero.
    return torch.searchsorted(sums_BV, goal_B1, right=True)[:, 0]


def _until(row_N: np.ndarray, stop_at: int | None) -> np.ndarray:
    if stop_at is None:
        return row_N
    found = np.flatnonzero(row_N == stop_at)
    return row_N[: found[0]] if found.size else row_N


@functools.cache
def _keeps_last_only(model_class: type[PreTrainedModel]) -> bool:
    """Whether `forward` can compute the scores of the last position only."""
    return "logits_to_keep" in inspect.signature(model_class.forward).parameters


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Eval mode inside, the former mode after."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
