"""Generate continuations of many prompts at once.

Why not `model.generate`: at the batch size of 8 in the authors' code it spends most of a step on
Python and on copying its cache. Prompts of a set have one length, so they form batches without
padding. This loop batches as many as memory allows, computes the scores of the last position only,
and updates its cache in place. It reads nothing from the checkpoint's generation config.

Sampling draws one uniform number per prompt and step from the seed before it begins, and inverts
the distribution function with them. So a sample does not depend on the batches.

Shapes: P prompts, B of them in a batch, C tokens of prompt, N new tokens, T = C + N, V vocabulary.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import psutil
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel

from common.decode.cache_check import check_cache, keeps_last_only, last_scores
from common.decode.kv_cache import growing_cache
from common.decode.methods import score_processors
from common.errors import UserError
from common.tools.library_errors import lacks_memory
from common.tools.modules import eval_mode

# Share of the free memory to plan with; the rest is for activations and other processes.
MEMORY_SHARE = 0.5
# Copies of the (B, V) float32 scores alive in a step: scores, processed, sorted values and indices,
# probabilities and their float64 sums.
SCORE_COPIES = 10
# Bytes of activations of a step without a cache, per token and unit of hidden size. The largest
# case is a block of a state-space model in plain torch: 3 float32 of 2 x 16 states.
UNCACHED_BYTES = 400

Notify = Callable[[str], None]


def to_stderr(line: str) -> None:
    """Print a notice to standard error, the default."""
    print(line, file=sys.stderr)


def once(notify: Notify) -> Notify:
    """`notify`, but each line only once: a run decodes many times with the same model."""
    return functools.cache(notify)


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
    notify: Notify = to_stderr,
) -> list[np.ndarray]:
    """Continue every prompt.

    Args:
        model: a causal language model; it decodes in eval mode, then its mode is restored.
        ids_PC: (P, C) int64 prompts of one length, C at least 1.
        new_tokens: N, at least 1.
        method: from `common.decode.methods`.
        seed: for sampling methods.
        processors: further score processors, e.g. the citation blocker. Called with the (B, L)
            ids so far and (B, V) float32 scores, after penalties and before top-k and top-p.
        max_batch: upper limit of B; by default as many as memory allows.
        stop_at: end a continuation before this id. By default no id is special and every
            continuation has N tokens, because measures need a fixed length.
        use_cache: False computes every step from scratch, which also happens where the model's
            cache fails its check (`common.decode.cache_check`).
        progress: called with (tokens done, tokens in total) after every step.
        notify: called with one line that says why decoding will be slow, if it will.

    Returns:
        P arrays of int64 ids, without the prompt.

    Raises:
        UserError: an unsupported method, or too little memory for a single prompt.
    """
    assert ids_PC.ndim == 2 and ids_PC.shape[1] > 0 and new_tokens > 0, (ids_PC.shape, new_tokens)
    prompts = len(ids_PC)
    if prompts == 0:
        return []
    noise_PN = _noise(prompts, new_tokens, seed) if method.do_sample else None
    done: list[np.ndarray] = []
    with eval_mode(model):
        total = ids_PC.shape[1] + new_tokens
        cache_bytes = _cache_bytes(model, ids_PC, total, notify) if use_cache else None
        use_cache = cache_bytes is not None
        needed = _uncached_bytes(model, total) if cache_bytes is None else cache_bytes
        batch = min(_fitting(model, needed), prompts, max_batch or prompts)
        while len(done) < prompts:
            # Even batches: 130 prompts in batches of at most 128 become 65 + 65, not 128 + 2.
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
    notify: Notify = to_stderr,
) -> Iterator[int]:
    """Continue one (C,) prompt and yield each token at once; arguments as for `generate`.

    With the same seed, `generate` gives the same tokens for its first prompt only. `notify` is
    called before this returns, so that its line is not printed among the tokens.
    """
    noise_1N = _noise(1, new_tokens, seed) if method.do_sample else None
    ids_1C = ids_C[None]
    with eval_mode(model):
        use_cache = _cache_bytes(model, ids_1C, len(ids_C) + new_tokens, notify) is not None

    def tokens() -> Iterator[int]:
        with eval_mode(model):
            steps = _steps(model, ids_1C, new_tokens, method, processors, noise_1N, use_cache)
            for next_1 in steps:
                token = int(next_1[0])
                if token == stop_at:
                    return
                yield token

    return tokens()


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


def _cache_bytes(model: PreTrainedModel, ids_PC: Tensor, total: int, notify: Notify) -> int | None:
    """Bytes of cache per sequence; None without a cache, after calling `notify` with the reason."""
    if total == ids_PC.shape[1] + 1:
        return None  # one step, so nothing would ever be read from the cache
    check = check_cache(model, ids_PC, total)
    if check.reason is None:
        return check.bytes_per_sequence
    inner = getattr(model, "get_base_model", lambda: model)()
    notify(
        f"note: {type(inner).__name__}: {check.reason}; decoding without a cache, each step over "
        "the whole sequence, which is slow"
    )
    return None


def _uncached_bytes(model: PreTrainedModel, total: int) -> int:
    """Rough upper limit of the bytes of a step over a whole sequence."""
    config = model.config.get_text_config(decoder=True)
    scores = 0 if keeps_last_only(model) else config.vocab_size * model.dtype.itemsize
    return total * (UNCACHED_BYTES * config.hidden_size + scores)


def _fitting(model: PreTrainedModel, sequence_bytes: int) -> int:
    """How many sequences fit the planned share of the free memory; at least 1."""
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    needed = sequence_bytes + SCORE_COPIES * vocabulary * torch.float32.itemsize
    if model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        # What torch's allocator holds without using it is available as well.
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
    except RuntimeError as error:
        if not lacks_memory(error):
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

    Sums are in float64: in float32 the tail of a vocabulary of 100,000 would be rounded away.
    """
    sums_BV = scores_BV.double().softmax(dim=-1).cumsum(dim=-1)
    goal_B1 = noise_B.double()[:, None] * sums_BV[:, -1:]
    # right=True finds the first sum above the goal, so never a token of probability zero.
    return torch.searchsorted(sums_BV, goal_B1, right=True)[:, 0]


def _until(row_N: np.ndarray, stop_at: int | None) -> np.ndarray:
    if stop_at is None:
        return row_N
    found = np.flatnonzero(row_N == stop_at)
    return row_N[: found[0]] if found.size else row_N
