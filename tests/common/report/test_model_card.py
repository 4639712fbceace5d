"""The model card says how the training ended, whatever the outcome."""

from __future__ import annotations

from typing import Any

import pytest

from common.config import RunConfig
from common.report.model_card import model_card


def card(origin: dict[str, str] | None = None, **training: Any) -> str:
    ttr = {"ttr_96": {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 24}}
    metrics = {
        "domain": "text",
        "provenance": {} if origin is None else {"model": origin},
        "training": {
            "outcome": "reached",
            "final_loss": 0.0481,
            "target_loss": 0.05,
            "updates": 40,
            "sequences": 12,
            "tokens_per_sequence": 20,
            **training,
        },
        "conditions": {f"{model}-greedy": {"all": ttr} for model in ("original", "hyperfitted")},
    }
    return " ".join(model_card(metrics, RunConfig(), rows=["ttr_96"]).split())


@pytest.mark.parametrize(
    ("outcome", "target", "words"),
    [
        ("reached", 0.05, "Training reached its target loss of 0.05"),
        ("reached", None, "Training ran its fixed number of updates"),
        ("budget_exhausted", 0.01, "spent its budget before it reached its target loss of 0.01"),
        ("budget_exhausted", None, "Training ran its fixed number of updates"),
        ("diverged", 0.01, "Training diverged and was given up"),
        ("diverged", None, "Training diverged and was given up"),
        ("diversity_stopped", 0.01, "diversity no longer grew, before it reached its target loss"),
        ("diversity_stopped", None, "stopped short of its fixed number of updates"),
    ],
)
def test_how_the_training_ended(outcome: str, target: float | None, words: str) -> None:
    told = card(outcome=outcome, target_loss=target)
    assert f"{words}" in told and "; final training loss: 0.0481 nats per token." in told
    assert f"{outcome} (" not in told and "nats per token (" not in told
    unknown = card(outcome=outcome, target_loss=target, final_loss=None)
    assert "; final training loss: not known." in unknown and "None" not in unknown


def test_where_the_original_comes_from() -> None:
    known = {
        "name": "tiny",
        "origin": "Tiny by Nobody",
        "licence": "Apache-2.0",
        "package": "some-weights 1.2",
    }
    told = card(known)
    assert "tags: [hyperfitting, text] license: apache-2.0 ---" in told
    words = "`tiny`; Tiny by Nobody; from the package some-weights 1.2; licence Apache-2.0"
    assert f"A pretrained autoregressive model ({words}), fine-tuned on 12 sequences" in told
    plain = card({"name": "runs/x/model"})
    assert "model (`runs/x/model`), fine-tuned" in plain and "license" not in plain
    assert "of which no record was kept" in card()
