"""How varied a model's answers to one prompt are: diversity across samples, not within a text.

Hyperfitting makes a single greedy text more varied and the distribution it is drawn from narrower.
Ruan et al. (arXiv 2508.04117) read diversity the other way round, as how much k sampled
continuations of one prompt differ, so both stand in a report that asks for it. The original and the
hyperfitted model are sampled with every sampling setting of the run.

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

    A setting that only one of them has is asked of the other under the name it would have, e.g.
    "hyperfitted-top-p-t1".
    """
    found: dict[str, Condition] = {}
    settings: list[dict[str, Any]] = []
    for one in conditions:
        if one.method is None or one.blocked or not one.method.do_sample:
            continue
        if set_values(one.method) in settings:
            continue
        settings.append(set_values(one.method))
        suffix = one.name.removeprefix(f"{one.stage}-")
        for stage in STAGES:
            found[f"{stage}-{suffix}"] = replace(one, name=f"{stage}-{suffix}", stage=stage)
    return sorted(found.values(), key=lambda one: STAGES.index(one.stage))


def measure_across(
    evaluator: Evaluator, model: Any, stage: Stage, *, prompts: int, samples: int
) -> dict[str, dict[str, Any]]:
    """Diversity across samples of one prompt, as JSON: condition -> metric -> interval.

    Random numbers are drawn per row and step, so the samples of a prompt are apart, and the same
    whatever the batch size.

    Args:
        evaluator: has prompts, seed and decoding of the run.
        model: with the weights of `stage`.
        stage: only its conditions are measured.
        prompts: how many, taken evenly from the pooled ones.
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
