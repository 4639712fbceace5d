"""What every domain compares: the models greedily, the decoding baselines, the truth.

The papers sample at a low temperature (0.7, with top-k 50), which makes a baseline that is easy to
beat. So sampling at temperature 1 without top-k, which asks the model for what it has learnt,
stands beside it in every run.
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
"""What the headline and the model card hold against each other."""


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
            "original-top-p-t1"; left out where the options make the baseline the same.
        references: names of the conditions that take what really followed.

    Raises:
        UserError: a decoding option out of range, or a condition in `measure.conditions` that there
            is none of.
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
    known = [one.name for one in every]
    for name in names:
        if name not in known:
            raise UserError(
                expected=f"measure.conditions among {', '.join(known)}",
                got=repr(name)[:100],
                fix="change measure.conditions",
            )
    chosen = {*names, *ALWAYS}
    return [one for one in every if one.name in chosen or one.stage == "reference"]


def methods_json(conditions: Sequence[Condition]) -> dict[str, dict[str, Any]]:
    """How each condition decodes, as `metrics.json` keeps it under "methods".

    Returns:
        Condition -> "stage" (whose weights), "blocked" (whether the citation blocker is on) and
        "settings" (`set_values`); a condition that takes what really followed has no entry.
    """
    return {
        one.name: {
            "stage": one.stage,
            "blocked": one.blocked,
            "settings": set_values(one.method),
        }
        for one in conditions
        if one.method is not None
    }
