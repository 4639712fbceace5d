"""Diversity across samples: how much the sampled continuations of one prompt differ.

The other measures of diversity look within one text. Hyperfitting makes a greedy text more diverse,
but makes the distribution of the next token narrower. Ruan et al. (arXiv 2508.04117) measure
diversity by how much k sampled continuations of one prompt differ. So a run can measure both. It
samples the original and the hyperfitted model with every sampling setting of the run.

Shapes: P prompts, C tokens of context, K samples of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from transformers import GenerationConfig

from common.decode.generate import generate
from common.decode.methods import set_values
from common.domain import Condition, Stage
from common.evaluate import Evaluator
from common.measure.diversity import across_metrics

STAGES: tuple[Stage, ...] = ("original", "hyperfitted")


def sampled_conditions(conditions: Sequence[Condition]) -> list[Condition]:
    """Every sampling setting among `conditions`, for the original and the hyperfitted model.

    A setting that only one of the two has is added for the other, under a name of the same form,
    e.g. "hyperfitted-top-p-t1".
    """
    found: dict[str, Condition] = {}
    settings: list[dict[str, Any]] = []
    for condition in conditions:
        method = condition.method
        if method is None or condition.blocked or not method.do_sample:
            continue
        if set_values(method) in settings:
            continue
        settings.append(set_values(method))
        suffix = condition.name.removeprefix(f"{condition.stage}-")
        for stage in STAGES:
            name = f"{stage}-{suffix}"
            found[name] = replace(condition, name=name, stage=stage)
    return sorted(found.values(), key=lambda condition: STAGES.index(condition.stage))


def measure_across(
    evaluator: Evaluator, model: Any, stage: Stage, *, prompts: int, samples: int
) -> dict[str, dict[str, Any]]:
    """Diversity across samples of one prompt, as JSON: condition -> metric -> interval.

    Random numbers are drawn for each row and step. So the samples of a prompt differ, and they do
    not depend on the batch size.

    Args:
        evaluator: has the prompts, the seed and the processors of the run.
        model: with the weights of `stage`.
        stage: only its conditions are measured.
        prompts: how many, evenly spaced among the pooled ones.
        samples: K, at least 2.
    """
    chosen = evaluator.curve_prompts(prompts)
    measured: dict[str, dict[str, Any]] = {}
    for condition in sampled_conditions(evaluator.conditions):
        if condition.stage != stage:
            continue
        assert isinstance(condition.method, GenerationConfig)
        with evaluator.autocast():
            texts = generate(
                model,
                chosen.ids_PC.repeat_interleave(samples, dim=0),
                new_tokens=chosen.new_tokens,
                method=condition.method,
                seed=evaluator.seed,
                processors=evaluator.domain.processors(),
                max_batch=evaluator.max_batch,
                notify=evaluator.notify,
            )
        sets = [texts[i : i + samples] for i in range(0, len(texts), samples)]
        intervals = across_metrics(sets, seed=evaluator.seed)
        measured[condition.name] = {name: value.to_json() for name, value in intervals.items()}
    return measured
