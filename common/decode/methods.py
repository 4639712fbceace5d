"""The decoding methods, as generation configs that inherit nothing from the checkpoint.

`model.generate` fills every `None` of a `GenerationConfig` from the model's own file. So a config
that only says `do_sample=False` keeps an inherited repetition penalty and is not greedy at all.
Here every option that changes a score has its neutral value. The configs serve both
`common.decode.generate` and `model.generate`, and saved checkpoints contain the greedy one.
"""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig, LogitsProcessor
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from common.errors import UserError

# Logits may be divided by these at most: beyond them they are not finite in single precision.
LEAST_DIVISOR, MOST_DIVISOR = 1e-5, 1000.0
# Values that switch an option off without being None.
NEUTRAL: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "temperature": 1.0,
    "top_p": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "min_new_tokens": 0,  # overrides an inherited min_length; setting both only warns
    "guidance_scale": 1.0,
    "renormalize_logits": False,
    "remove_invalid_values": False,
    "suppress_tokens": [],
    "begin_suppress_tokens": [],
}
# Read only when sampling; a greedy config that sets them would be refused by `save_pretrained`.
NEUTRAL_SAMPLING: dict[str, Any] = NEUTRAL | {"do_sample": True, "top_k": 0, "min_p": 0.0}
# Options whose only neutral value is None: `model.generate` would still inherit them.
ONLY_NONE = (
    "bad_words_ids",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "sequence_bias",
    "stop_strings",
    "top_h",
    "watermarking_config",
)
_REPORTED = ("top_p", "min_p", "temperature", "top_k", "repetition_penalty", "no_repeat_ngram_size")
SUPPORTED = {"do_sample", *_REPORTED}


def greedy_config() -> GenerationConfig:
    """Plain argmax: every option neutral."""
    return GenerationConfig(**NEUTRAL)


def sampling_config(
    *, top_p: float = 0.9, temperature: float = 0.7, top_k: int = 50
) -> GenerationConfig:
    """The sampling baseline of P1 (Carlsson et al., ICLR 2025, arXiv 2412.04318, section 3).

    Args:
        top_p: nucleus mass in (0, 1]; 1 is off.
        temperature: above 0.
        top_k: draw from this many tokens; 0 is off.

    Raises:
        UserError: a value out of range.
    """
    if not 0.0 < top_p <= 1.0:
        raise UserError(expected="top_p in (0, 1]", got=str(top_p), fix="use 1 to switch it off")
    if not LEAST_DIVISOR <= temperature <= MOST_DIVISOR:
        raise UserError(
            expected=f"a temperature above 0, from {LEAST_DIVISOR} to {MOST_DIVISOR:g}",
            got=str(temperature),
            fix="use greedy decoding instead of a lower one",
        )
    if top_k < 0:
        raise UserError(expected="top_k of at least 0", got=str(top_k), fix="0 switches it off")
    changed = {"top_p": top_p, "temperature": temperature, "top_k": top_k}
    return GenerationConfig(**(NEUTRAL_SAMPLING | changed))


def min_p_config(min_p: float = 0.05) -> GenerationConfig:
    """Sampling among the tokens with at least `min_p` of the likeliest one's probability.

    The rule and the value are those of Nguyen et al. 2024 (arXiv 2407.01082, section 3).

    Raises:
        UserError: a value outside (0, 1].
    """
    if not 0.0 < min_p <= 1.0:
        raise UserError(expected="min_p in (0, 1]", got=str(min_p), fix="use sampling_config")
    return GenerationConfig(**(NEUTRAL_SAMPLING | {"min_p": min_p}))


def no_repeat_ngram_config(size: int = 4) -> GenerationConfig:
    """Greedy, but no token that would repeat an n-gram of `size`, in the prompt or after it.

    Raises:
        UserError: a size below 1.
    """
    if size < 1:
        raise UserError(expected="n-grams of at least 1 token", got=str(size), fix="4 is usual")
    return GenerationConfig(**(NEUTRAL | {"no_repeat_ngram_size": size}))


def repetition_penalty_config(penalty: float = 1.2) -> GenerationConfig:
    """Greedy with logits of tokens seen so far, prompt included, divided by `penalty` if positive.

    Raises:
        UserError: a penalty that is not above 0.
    """
    if not LEAST_DIVISOR <= penalty <= MOST_DIVISOR:
        raise UserError(
            expected=f"a repetition penalty above 0, from {LEAST_DIVISOR} to {MOST_DIVISOR:g}",
            got=str(penalty),
            fix="1 switches it off",
        )
    return GenerationConfig(**(NEUTRAL | {"repetition_penalty": penalty}))


def set_values(method: GenerationConfig) -> dict[str, float]:
    """The options that a method sets: {"top_p": 0.9, "temperature": 0.7, "top_k": 50}.

    Sampling always includes its temperature; plain greedy decoding sets none.
    """
    names = {n for n in _REPORTED if getattr(method, n) not in (None, NEUTRAL_SAMPLING[n])}
    if method.do_sample:
        names.add("temperature")
    return {name: getattr(method, name) for name in _REPORTED if name in names}


def settings(method: GenerationConfig) -> str:
    """`set_values` as text: "top-p 0.9, temperature 0.7, top-k 50"."""
    return ", ".join(
        f"{name.replace('_', '-')} {value:g}" for name, value in set_values(method).items()
    )


def score_processors(
    method: GenerationConfig,
) -> tuple[list[LogitsProcessor], list[LogitsProcessor]]:
    """The score processors of a method: those before and those after the caller's own.

    The order is that of `model.generate`: penalty, n-grams, the caller's, then temperature, top-k,
    top-p, min-p.

    Raises:
        UserError: an option is set that these loops do not implement; none is ignored silently.
    """
    for name in sorted(set(NEUTRAL_SAMPLING) - SUPPORTED) + list(ONLY_NONE):
        value = getattr(method, name, None)
        if value is not None and value != NEUTRAL_SAMPLING.get(name):
            raise UserError(
                expected=f"a generation config with only {', '.join(sorted(SUPPORTED))} set",
                got=f"{name}={value!r}",
                fix="build it with a function of common.decode.methods",
            )
    before: list[LogitsProcessor] = []
    after: list[LogitsProcessor] = []
    if method.repetition_penalty not in (None, 1.0):
        before.append(RepetitionPenaltyLogitsProcessor(method.repetition_penalty))
    if method.no_repeat_ngram_size:
        before.append(NoRepeatNGramLogitsProcessor(method.no_repeat_ngram_size))
    if method.do_sample:
        if method.temperature not in (None, 1.0):
            after.append(TemperatureLogitsWarper(method.temperature))
        if method.top_k:
            after.append(TopKLogitsWarper(method.top_k))
        if method.top_p is not None and method.top_p < 1.0:
            after.append(TopPLogitsWarper(method.top_p))
        if method.min_p:
            after.append(MinPLogitsWarper(method.min_p))
    return before, after
