"""The content of `metrics.json`: every figure of a run with its interval.

JSON has no NaN. Only two values may be null: a perplexity that overflows, and a final loss that is
not finite or was not measured. A NaN anywhere else is a bug and is not written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from common.measure.intervals import Interval

SCHEMA_VERSION = 1


def make_metrics(
    *,
    domain: str,
    training: Mapping[str, Any],
    probe: Mapping[str, Mapping[str, float | Mapping[str, Any]]],
    conditions: Mapping[str, Mapping[str, Mapping[str, Interval]]],
    provenance: Mapping[str, Any],
    by_position: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    methods: Mapping[str, Mapping[str, Any]] | None = None,
    across_samples: Mapping[str, Mapping[str, Any]] | None = None,
    reference: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The content of `metrics.json`, schema 1 (`common/record/schema/metrics.schema.json`).

    Args:
        domain: the domain's name.
        training: "outcome", "final_loss", "updates", "seconds" and further entries (the report
            uses "target_loss"). A loss that is not finite becomes null.
        probe: model name -> measure -> number, or interval as JSON (`ProbeResult.to_json()`). The
            mean of an interval becomes the measure's number, and the interval goes to
            "intervals". A perplexity that is not finite (it overflows at a loss of 709 nats)
            becomes null, and an interval with such an end is left out.
        conditions: condition -> prompt set, or "all" -> metric -> interval.
        provenance: from `common.record.provenance.provenance`.
        by_position: model name -> measure -> its mean at each token of the true continuations.
        methods: condition -> decoding method, from `common.conditions.methods_json`.
        across_samples: condition -> metric -> interval as JSON, from `common.across_samples`.
        reference: "condition", the one that others are compared with, and "words", what the reader
            calls it.
    """
    return {
        "schema": SCHEMA_VERSION,
        "domain": domain,
        "training": {**training, "final_loss": finite_or_null(training["final_loss"])},
        "probe": {model: _probe_json(measures) for model, measures in probe.items()},
        "by_position": dict(by_position or {}),
        "methods": dict(methods or {}),
        **({} if reference is None else {"reference": dict(reference)}),
        "conditions": {
            condition: {
                prompt_set: {metric: interval.to_json() for metric, interval in metrics.items()}
                for prompt_set, metrics in prompt_sets.items()
            }
            for condition, prompt_sets in conditions.items()
        },
        "across_samples": dict(across_samples or {}),
        "provenance": dict(provenance),
    }


def _probe_json(measures: Mapping[str, float | Mapping[str, Any]]) -> dict[str, Any]:
    intervals = {name: dict(v) for name, v in measures.items() if isinstance(v, Mapping)}
    numbers = {n: intervals[n]["mean"] if n in intervals else v for n, v in measures.items()}
    if "perplexity" in numbers:
        numbers["perplexity"] = finite_or_null(numbers["perplexity"])
    finite = {
        name: interval
        for name, interval in intervals.items()
        if all(finite_or_null(end) is end for end in interval.values())
    }
    return {**numbers, "intervals": finite}


def finite_or_null(value: Any) -> Any:
    """The value, or null for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
