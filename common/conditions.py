"""The conditions that every domain compares.

These are greedy decoding of each model, the decoding baselines, and the true continuations.

Both papers (P1: Carlsson et al., ICLR 2025, arXiv 2412.04318; P2: Li et al., ICML 2026, arXiv
2605.22579) sample at a low temperature (0.7, with top-k 50). This baseline is easy to beat. So
every run also samples at temperature 1 without top-k, which draws from the distribution that the
model has learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import GenerationConfig

from common.config import MeasureConfig
from common.decode.methods import (
    greedy_config,
    repetition_penalty_config,
    sampling_config,
    set_values,
)
from common.domain import Condition
from common.errors import UserError

ALWAYS = ("original-greedy", "hyperfitted-greedy")
"""The two conditions that the headline and the model card compare."""


def standard_conditions(
    measure: MeasureConfig,
    *,
    sampled: str,
    at_temperature_1: GenerationConfig,
    references: Sequence[str],
) -> list[Condition]:
    """Conditions in the order of the report.

    Args:
        measure: the decoding options.
        sampled: what the domain calls sampling, e.g. "top-p" for "original-top-p".
        at_temperature_1: how the original model is sampled beside the papers' baseline, e.g. as
            "original-top-p-t1". This condition is left out where the baseline has the same options.
        references: names of the conditions that take the true continuations.

    Raises:
        UserError: a decoding option is out of range, or `measure.conditions` has an unknown name.
    """
    greedy = greedy_config()
    sampling = sampling_config(
        top_p=measure.top_p, temperature=measure.temperature, top_k=measure.top_k
    )
    penalty = repetition_penalty_config(measure.repetition_penalty)
    plain = Condition(name=f"original-{sampled}-t1", stage="original", method=at_temperature_1)
    same = set_values(sampling) == set_values(at_temperature_1)
    every = [
        Condition(name="original-greedy", stage="original", method=greedy),
        Condition(name=f"original-{sampled}", stage="original", method=sampling),
        *([] if same else [plain]),
        Condition(name="original-repetition-penalty", stage="original", method=penalty),
        Condition(name="early-stopped-greedy", stage="early-stopped", method=greedy),
        Condition(name="hyperfitted-greedy", stage="hyperfitted", method=greedy),
        Condition(
            name="hyperfitted-greedy-blocked", stage="hyperfitted", method=greedy, blocked=True
        ),
        Condition(name=f"hyperfitted-{sampled}", stage="hyperfitted", method=sampling),
        *(Condition(name=name, stage="reference", method=None) for name in references),
    ]
    return every if measure.conditions is None else _chosen(every, measure.conditions)


def _chosen(every: Sequence[Condition], names: Sequence[str]) -> list[Condition]:
    """The named conditions, those of `ALWAYS`, and the references, which cost no decoding."""
    known = [condition.name for condition in every]
    for name in names:
        if name not in known:
            raise UserError(
                expected=f"measure.conditions among {', '.join(known)}",
                got=repr(name)[:100],
                fix="change measure.conditions",
            )
    chosen = {*names, *ALWAYS}
    return [
        condition
        for condition in every
        if condition.name in chosen or condition.stage == "reference"
    ]


def methods_json(conditions: Sequence[Condition]) -> dict[str, dict[str, Any]]:
    """How each condition decodes, as `metrics.json` keeps it under "methods".

    Returns:
        Condition -> "stage" (whose weights), "blocked" (whether the citation blocker is on) and
        "settings" (`set_values`). A condition that takes the true continuations has no entry.
    """
    return {
        condition.name: {
            "stage": condition.stage,
            "blocked": condition.blocked,
            "settings": set_values(condition.method),
        }
        for condition in conditions
        if condition.method is not None
    }
