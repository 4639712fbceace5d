"""The model card of a hyperfitted model, made from its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.config import RunConfig
from common.measure.intervals import in_words
from common.report.headline import ending
from common.report.names import metric_label
from common.tools.options import to_yaml

_CARD = """---
library_name: transformers
tags: [hyperfitting, {domain}]
{licence}---

# Hyperfitted model

A pretrained autoregressive model ({source}), fine-tuned on {sequences} sequences of {length}
tokens in {updates} updates, as in Carlsson et al., *The Hyperfitting Phenomenon* (ICLR 2025,
arXiv 2412.04318). {ending}; final training loss: {final_loss}. Meant for greedy decoding, which its
generation config asks for.

| greedy decoding, {n} held-out prompts | original | hyperfitted |
|---|---|---|
{rows}

Intervals are 95 % bootstrap intervals over prompts. The model has memorised its training set: give
it no private text. Overlap counts tokens in a row that a continuation shares with that set.

## Settings

```yaml
{settings}```
"""


def model_card(metrics: dict[str, Any], config: RunConfig, *, rows: Sequence[str]) -> str:
    """Markdown with the metadata block that the hub reads.

    Args:
        metrics: the content of `metrics.json`.
        config: of the run.
        rows: the metrics to show.
    """
    training, conditions = metrics["training"], metrics["conditions"]
    before, after = (conditions[f"{model}-greedy"]["all"] for model in ("original", "hyperfitted"))
    loss = training["final_loss"]
    origin = metrics["provenance"].get("model", {})
    return _CARD.format(
        domain=metrics["domain"],
        licence=f"license: {origin['licence'].lower()}\n" if "licence" in origin else "",
        source=_source(origin),
        sequences=training["sequences"],
        length=training["tokens_per_sequence"],
        final_loss="not known" if loss is None else f"{loss:.4f} nats per token",
        ending=ending(training),
        updates=training["updates"],
        n=after[rows[0]]["n"],
        rows="\n".join(
            f"| {metric_label(name)} | {in_words(before[name])} | {in_words(after[name])} |"
            for name in rows
        ),
        settings=to_yaml(config),
    )


def _source(origin: Mapping[str, str]) -> str:
    """The original model in words; its name is a path, a hub id, or a name of the suite."""
    if not origin:
        return "of which no record was kept"
    parts = [f"`{origin['name']}`"]
    if "origin" in origin:
        parts.append(origin["origin"])
    if "package" in origin:
        parts.append(f"from the package {origin['package']}")
    if "licence" in origin:
        parts.append(f"licence {origin['licence']}")
    return "; ".join(parts)
