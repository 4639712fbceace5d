"""What every domain compares: the models greedily, the decoding baselines, the truth."""

from __future__ import annotations

from collections.abc import Sequence

from common.config import MeasureConfig
from common.decode_config import greedy_config, repetition_penalty_config, sampling_config
from common.domain import Condition


def standard_conditions(
    measure: MeasureConfig, *, sampled: str, references: Sequence[str]
) -> list[Condition]:
    """Conditions in the order of the report.

    Args:
        measure: the decoding options.
        sampled: what the domain calls sampling, e.g. "top-p" for "original-top-p".
        references: names of the conditions that take what really followed.

    Raises:
        UserError: a decoding option out of range.
    """
    greedy = greedy_config()
    sampling = sampling_config(
        top_p=measure.top_p, temperature=measure.temperature, top_k=measure.top_k
    )
    penalty = repetition_penalty_config(measure.repetition_penalty)
    return [
        Condition(name="original-greedy", stage="original", method=greedy),
        Condition(name=f"original-{sampled}", stage="original", method=sampling),
        Condition(name="original-repetition-penalty", stage="original", method=penalty),
        Condition(name="early-stopped-greedy", stage="early-stopped", method=greedy),
        Condition(name="hyperfitted-greedy", stage="hyperfitted", method=greedy),
        Condition(
            name="hyperfitted-greedy-blocked", stage="hyperfitted", method=greedy, blocked=True
        ),
        Condition(name=f"hyperfitted-{sampled}", stage="hyperfitted", method=sampling),
        *(Condition(name=name, stage="reference", method=None) for name in references),
    ]
