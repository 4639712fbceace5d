"""Labels and definitions of the metrics and conditions of a run.

The label of a sampled condition includes its settings, because top-p at temperature 0.7 and at 1
are different conditions. A family such as `rep_2`, `rep_3`, `rep_4` is one entry, with the number
taken from the name. A metric that is not listed here is shown under its own name; the domain that
measures it gives its definition to the report.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_METRICS = (
    (r"ttr_(\d+)", "TTR-{0}", "distinct tokens / tokens, over the last {0} generated tokens"),
    (r"(\w+)_ttr", "{0} TTR", "distinct tokens / tokens of the whole continuation"),
    (r"rep_(\d+)", "rep-{0}", "1 - distinct {0}-grams / {0}-grams of one continuation"),
    (
        r"distinct_(\d+)",
        "distinct-{0}",
        "different {0}-grams / {0}-grams over all continuations together; falls with their number",
    ),
    (
        r"self_bleu_(\d+)",
        "Self-BLEU-{0}",
        "BLEU of a continuation against all others of its set, 0 to 1; higher: more alike; all are "
        "equally long, so there is no brevity penalty",
    ),
    (
        r"dataset_bleu_(\d+)",
        "dataset BLEU-{0}",
        "BLEU of a continuation against the whole training set; higher: more borrowed; its brevity "
        "penalty exp(1 - training length / length) is its upper bound where the training sequences "
        "are longer, so even a verbatim copy stays below 1",
    ),
    (
        r"dataset_bleu_(\d+)_no_bp",
        "dataset BLEU-{0}, no BP",
        "the same without the brevity penalty, 0 to 1; 1: all its n-grams are borrowed",
    ),
    (
        r"across_self_bleu_(\d+)",
        "Self-BLEU-{0} across samples",
        "BLEU of a sampled continuation against the other samples of its prompt, 0 to 1, mean over "
        "prompts; higher: the model answers a prompt more alike",
    ),
    (
        r"across_distinct_(\d+)",
        "distinct-{0} across samples",
        "different {0}-grams / {0}-grams over the samples of one prompt together, mean over "
        "prompts; falls with their number",
    ),
    (
        "compression_ratio",
        "compression ratio",
        "size of the token ids before / after deflate; higher: more repetitive",
    ),
    (
        "overlap_tokens",
        "overlap, mean",
        "longest run of tokens also found in the training set, mean over continuations",
    ),
    ("overlap_max", "overlap, max", "the longest such run of any continuation, in tokens"),
    (
        r"overlap_over_(\d+)",
        "overlap > {0}",
        "share of continuations with such a run of more than {0} tokens",
    ),
    ("entropy_nats", "entropy (nats)", "mean entropy of the next-token distribution, nats"),
    ("top1_mass", "top-1 mass", "mean probability of the likeliest next token"),
    (
        r"top(\d+)_mass",
        "top-{0} mass",
        "mean probability of the {0} likeliest next tokens together",
    ),
    ("perplexity", "perplexity", "exp of the mean loss per token; empty where it overflows"),
    ("loss_nats", "loss (nats)", "mean negative log-likelihood of the true next token, nats"),
    ("gold_rank", "gold rank, mean", "mean rank of the true next token, 0 = the likeliest"),
    ("gold_rank_median", "gold rank, median", "median of the same rank"),
    (
        "gold_rank_zero_share",
        "gold likeliest",
        "share of tokens that are the model's likeliest, so greedy decoding would pick them",
    ),
    (
        r"share_p1_over_(\d+)",
        "p1 > 0.{0}",
        "share of predictions whose likeliest token has a probability above 0.{0}",
    ),
    ("tokens", "tokens", "number of predicted tokens behind a row"),
)

_STAGES = {
    "original": "the pretrained model",
    "early-stopped": "fine-tuned only up to its lowest validation loss",
    "hyperfitted": "fine-tuned towards zero training loss",
}
_KNOBS = {
    "top_p": "top-p",
    "min_p": "min-p",
    "temperature": "temperature",
    "top_k": "top-k",
    "repetition_penalty": "repetition penalty",
    "no_repeat_ngram_size": "no-repeat n-gram size",
}
# Definitions of conditions without settings.
_CONDITIONS = {
    "original-greedy": "the pretrained model, always its likeliest token",
    "early-stopped-greedy": "fine-tuned only up to its lowest validation loss, greedy",
    "hyperfitted-greedy": "fine-tuned towards zero training loss, greedy",
    "hyperfitted-greedy-blocked": "the same, kept from continuing a match with the training set",
}
_TRUE_CONTINUATION = "what really followed the prompt"

# Condition -> how it decodes, as `common.conditions.methods_json` gives it; older runs have none.
Methods = Mapping[str, Mapping[str, Any]]


class Reference(NamedTuple):
    """The condition that others are compared with: what really followed the prompts.

    Attributes:
        condition: its name, e.g. "human".
        words: what the reader calls it, e.g. "human text".
    """

    condition: str
    words: str


def reference_of(metrics: Mapping[str, Any]) -> Reference | None:
    """The reference of a run, as its domain named it.

    Runs of an earlier version did not record it. There it is the last condition that decodes
    nothing, if the run recorded how each condition decodes.
    """
    conditions, methods = metrics["conditions"], metrics.get("methods")
    if "reference" in metrics:
        named = Reference(**metrics["reference"])
        return named if named.condition in conditions else None
    if not methods:
        return None
    true = [name for name in conditions if name not in methods]
    return Reference(true[-1], condition_label(true[-1])) if true else None


def ttr_name(conditions: Mapping[str, Any]) -> str | None:
    """Name of the type-token ratio that was measured, whatever its window."""
    names = (name for sets in conditions.values() for name in sets.get("all", {}))
    return next((name for name in names if re.fullmatch(r"ttr_\d+|\w+_ttr", name)), None)


def metric_label(name: str) -> str:
    """ "rep_4" -> "rep-4"; an unknown name is returned with spaces for underscores."""
    entry = _lookup(name)
    return entry[0] if entry else name.replace("_", " ")


def metric_definition(name: str) -> str | None:
    """One line on what `name` measures, or None for a metric of the domain."""
    entry = _lookup(name)
    return entry[1] if entry else None


def condition_label(name: str, methods: Methods | None = None) -> str:
    """Label of a condition; that of a sampled one includes the settings.

    Args:
        name: e.g. "original-top-p".
        methods: of the run.

    Returns:
        "original, top-p 0.9, T 0.7, top-k 50"; "original, sampled, T 1" where nothing is cut off;
        "original top-p" where the settings are not known.
    """
    values = _settings(name, methods)
    if "temperature" in values:
        short = _KNOBS | {"temperature": "T"}
        listed = [f"{short[knob]} {value:g}" for knob, value in values.items()]
        sampled = ["sampled"] if values.keys() == {"temperature"} else []
        return ", ".join([(methods or {})[name]["stage"], *sampled, *listed])
    words = name.removesuffix("-t1").replace("-", " ")
    words = words.replace("top p", "top-p").replace("early stopped", "early-stopped")
    return f"{words} at T 1" if name.endswith("-t1") else words


def condition_definition(name: str, methods: Methods | None = None) -> str | None:
    """One line on what a condition does, or None where that is not known."""
    values = _settings(name, methods)
    if not values:
        true = methods and name not in methods
        return _CONDITIONS.get(name) or (_TRUE_CONTINUATION if true else None)
    stage = (methods or {})[name]["stage"]
    decoding = "sampled" if "temperature" in values else "greedy"
    settings = ", ".join(f"{_KNOBS[knob]} {value:g}" for knob, value in values.items())
    return f"{_STAGES.get(stage, stage)}, {decoding} with {settings}"


def in_order(names: Iterable[str]) -> list[str]:
    """Known metrics in the order of this file, then the others in the given order."""
    known = [pattern for pattern, _, _ in _METRICS]
    unique = list(dict.fromkeys(names))

    def place(name: str) -> int:
        matches = (i for i, pattern in enumerate(known) if re.fullmatch(pattern, name))
        return next(matches, len(known))

    return sorted(unique, key=place)


def _lookup(name: str) -> tuple[str, str] | None:
    for pattern, label, definition in _METRICS:
        found = re.fullmatch(pattern, name)
        if found:
            return label.format(*found.groups()), definition.format(*found.groups())
    return None


def _settings(name: str, methods: Methods | None) -> Mapping[str, float]:
    return (methods or {}).get(name, {}).get("settings", {})
