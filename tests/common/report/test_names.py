"""Names for people: a sampled condition is told by its settings, an older run's by its name."""

from __future__ import annotations

from typing import Any

import pytest

from common.conditions import methods_json, standard_conditions
from common.config import MeasureConfig
from common.decode.methods import sampling_config
from common.report.names import (
    condition_definition,
    condition_label,
    in_order,
    metric_definition,
    metric_label,
    reference_of,
)


def methods(sampled: str, top_p: float = 0.9, **measure: Any) -> dict[str, Any]:
    return methods_json(
        standard_conditions(
            MeasureConfig(**measure),
            sampled=sampled,
            at_temperature_1=sampling_config(top_p=top_p, temperature=1.0, top_k=0),
            references=["human"],
        )
    )


TEXT, IMAGE = methods("top-p"), methods("sampled", top_p=1.0)


@pytest.mark.parametrize(
    ("name", "of", "label"),
    [
        ("original-top-p", TEXT, "original, top-p 0.9, T 0.7, top-k 50"),
        ("original-top-p-t1", TEXT, "original, top-p 0.9, T 1"),
        ("hyperfitted-top-p", TEXT, "hyperfitted, top-p 0.9, T 0.7, top-k 50"),
        ("original-sampled", IMAGE, "original, top-p 0.9, T 0.7, top-k 50"),
        ("original-sampled-t1", IMAGE, "original, sampled, T 1"),
        ("hyperfitted-greedy", TEXT, "hyperfitted greedy"),
        ("hyperfitted-greedy-blocked", TEXT, "hyperfitted greedy blocked"),
        ("early-stopped-greedy", TEXT, "early-stopped greedy"),
        ("original-repetition-penalty", TEXT, "original repetition penalty"),
        ("human", TEXT, "human"),
        # Older runs have not recorded their settings.
        ("original-top-p", None, "original top-p"),
        ("hyperfitted-top-p", {}, "hyperfitted top-p"),
        ("original-top-p-t1", {}, "original top-p at T 1"),
        ("original-sampled", None, "original sampled"),
    ],
)
def test_labels_carry_temperature_and_top_k(name: str, of: Any, label: str) -> None:
    assert condition_label(name, of) == label


def test_labels_follow_the_options_of_the_run() -> None:
    own = methods("top-p", top_p=0.5, temperature=1.3, top_k=0)
    assert condition_label("original-top-p", own) == "original, top-p 0.9, T 1.3"
    assert condition_label("original-top-p-t1", own) == "original, top-p 0.5, T 1"
    hot = methods("top-p", temperature=1.3, top_k=7)
    definition = condition_definition("hyperfitted-top-p", hot)
    assert definition == (
        "fine-tuned towards zero training loss, sampled with top-p 0.9, temperature 1.3, top-k 7"
    )


@pytest.mark.parametrize(
    ("name", "of", "definition"),
    [
        (
            "original-top-p",
            TEXT,
            "the pretrained model, sampled with top-p 0.9, temperature 0.7, top-k 50",
        ),
        ("original-sampled-t1", IMAGE, "the pretrained model, sampled with temperature 1"),
        (
            "original-repetition-penalty",
            TEXT,
            "the pretrained model, greedy with repetition penalty 1.2",
        ),
        ("original-greedy", TEXT, "the pretrained model, always its likeliest token"),
        ("human", TEXT, "what really followed the prompt"),
        ("original-top-p", {}, None),
        ("human", None, None),
        ("my-own", {}, None),
    ],
)
def test_definitions_come_from_the_settings(name: str, of: Any, definition: str) -> None:
    assert condition_definition(name, of) == definition


def test_every_condition_has_a_definition() -> None:
    for of in (TEXT, IMAGE):
        for name in [*of, "human"]:
            assert condition_definition(name, of)


def test_the_reference_is_the_one_that_the_run_recorded() -> None:
    conditions = {name: {} for name in [*TEXT, "reconstruction", "real"]}
    run: dict[str, Any] = {"conditions": conditions, "methods": TEXT}
    named = {"condition": "reconstruction", "words": "images through the tokenizer"}
    assert reference_of(run | {"reference": named}) == tuple(named.values())
    # Older runs: the last that decodes nothing; nothing where they do not tell how they decode.
    assert reference_of(run) == ("real", "real")
    assert reference_of({"conditions": conditions}) is None
    gone = {"condition": "human", "words": "human text"}
    assert reference_of(run | {"reference": gone}) is None


def test_both_dataset_bleus_are_told_apart() -> None:
    assert metric_label("dataset_bleu_4") == "dataset BLEU-4"
    assert metric_label("dataset_bleu_4_no_bp") == "dataset BLEU-4, no BP"
    bounded, free = (metric_definition(f"dataset_bleu_4{end}") or "" for end in ("", "_no_bp"))
    assert "brevity penalty" in bounded and "upper bound" in bounded and "0 to 1" not in bounded
    assert "without the brevity penalty, 0 to 1" in free
    order = ["overlap_max", "dataset_bleu_4_no_bp", "dataset_bleu_4"]
    assert in_order(order) == ["dataset_bleu_4", "dataset_bleu_4_no_bp", "overlap_max"]
