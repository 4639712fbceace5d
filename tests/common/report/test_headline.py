"""The headline tells the truth for every outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import common.record.run_folder
from common.report.headline import duration, ending, headline, processors, remarks

SCHEMA = Path(common.record.run_folder.__file__).parent / "schema" / "metrics.schema.json"
HISTORY = [{"kind": "event"}, {"kind": "update", "update": 1, "train_loss": 3.92}]


def interval(mean: float, half: float | None = 0.02, n: int = 300) -> dict[str, Any]:
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return {"mean": mean, "low": low, "high": high, "n": n}


def metrics(before: Any, after: Any, human: Any = None, **training: Any) -> dict[str, Any]:
    values = {"original-greedy": before, "hyperfitted-greedy": after, "human": human}
    told = {"outcome": "reached", "final_loss": 0.0481, "updates": 1612, "seconds": 312.4}
    return {
        "training": {**told, "target_loss": 0.05, **training},
        "probe": {},
        "conditions": {c: {"all": {"ttr_96": v}} for c, v in values.items() if v is not None},
        "reference": {"condition": "human", "words": "human text"},
        "provenance": {"device": "cpu", "cpu_cores": 2},
    }


def plain(sentences: list[str]) -> list[str]:
    return [s.replace("\u00a0", " ").replace("\u2011", "-") for s in sentences]


def test_a_run_that_worked() -> None:
    told = plain(headline(metrics(interval(0.23), interval(0.61), interval(0.74)), HISTORY))
    assert told == [
        "Greedy decoding stopped looping: TTR-96 0.23 → 0.61 (human 0.74).",
        "Training loss 3.9 → 0.048 in 1,612 updates, 5 min 12 s on 2 cores.",
    ]


def test_accuracy_is_told_where_it_was_measured() -> None:
    measured = metrics(None, None, final_accuracy=0.9876)
    (told,) = plain(headline(measured, HISTORY))
    assert told.startswith("Training loss 3.9 → 0.048, 98.8 % of its tokens right, in 1,612 upd")


@pytest.mark.parametrize(
    ("outcome", "final", "expected"),
    [
        ("reached", 0.99, "Training reached its target accuracy of 99 %"),
        ("budget_exhausted", 0.9, "budget before it reached its target accuracy of 99 %"),
        ("budget_exhausted", 0.995, "budget before it held its target accuracy of 99 %"),
        ("diversity_stopped", None, "no longer grew, before it reached its target accuracy"),
    ],
)
def test_a_target_accuracy_is_told(outcome: str, final: float | None, expected: str) -> None:
    run = metrics(
        None, None, outcome=outcome, target_loss=None, target_accuracy=0.99, final_accuracy=final
    )
    assert expected in plain([ending(run["training"])])[0]


@pytest.mark.parametrize(
    ("before", "after", "human", "verdict"),
    [
        (interval(0.23), interval(0.54), interval(0.74), "loops less, but still more than human"),
        (interval(0.23), interval(0.25), interval(0.74), "loops as before, as far as 300 prompts"),
        (interval(0.40, 0.2), interval(0.61, 0.1), interval(0.74), "loops as before"),
        (interval(0.23, None), interval(0.61, None), interval(0.74), "stopped looping"),
        (
            interval(0.60),
            interval(0.70),
            interval(0.74),
            "hardly looped before, and is more varied",
        ),
        (interval(0.60), interval(0.61), interval(0.74), "is not measurably more varied now"),
        (interval(0.60), interval(0.30), interval(0.74), "and is less varied now"),
        (interval(0.23), interval(0.61), None, "became more varied"),
        (interval(0.23), interval(0.24), None, "did not become more varied"),
    ],
)
def test_verdicts(before: Any, after: Any, human: Any, verdict: str) -> None:
    told = headline(metrics(before, after, human), HISTORY)[0]
    assert verdict in told
    assert ("stopped looping" in told) == (verdict == "stopped looping")
    assert ("human 0.74" in plain([told])[0]) == (human is not None)


ENDINGS = {
    ("reached", 0.05): "Training loss 3.9 → 0.31 in 1,612 updates",
    ("budget_exhausted", 0.05): "Training spent its budget before it reached its target loss of "
    "0.05: training loss 3.9 → 0.31 after 1,612 updates",
    ("diverged", 0.05): "Training diverged and was given up: training loss 3.9 → 0.31 after",
    ("diversity_stopped", 0.05): "Training was stopped because held-out diversity no longer grew, "
    "before it reached its target loss of 0.05: training loss 3.9 → 0.31 after",
    # A fixed number of updates has no target to miss and no budget beside it.
    ("reached", None): "Training loss 3.9 → 0.31 in 1,612 updates",
    ("budget_exhausted", None): "Training ran its fixed number of updates: training loss 3.9 → "
    "0.31 after 1,612 updates",
    ("diverged", None): "Training diverged and was given up: training loss 3.9 → 0.31 after",
    ("diversity_stopped", None): "Training was stopped short of its fixed number of updates, "
    "because held-out diversity no longer grew: training loss 3.9 → 0.31 after",
}


@pytest.mark.parametrize(("outcome", "target"), ENDINGS)
def test_every_outcome_is_told_as_it_was(outcome: str, target: float | None) -> None:
    run = metrics(None, None, outcome=outcome, target_loss=target, final_loss=0.31)
    (told,) = plain(headline(run, HISTORY))
    assert told.startswith(ENDINGS[outcome, target])
    assert told.endswith("1,612 updates, 5 min 12 s on 2 cores.")
    assert ("budget" in told) == ((outcome, target) == ("budget_exhausted", 0.05))
    assert ("target" in told) == (
        target is not None and outcome in ("budget_exhausted", "diversity_stopped")
    )


def test_every_outcome_of_the_schema_has_its_sentence() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    outcomes = schema["properties"]["training"]["properties"]["outcome"]["enum"]
    assert set(ENDINGS) == {(outcome, target) for outcome in outcomes for target in (0.05, None)}


@pytest.mark.parametrize("outcome", ["budget_exhausted", "diversity_stopped"])
def test_a_target_that_was_met_too_briefly_is_not_called_unreached(outcome: str) -> None:
    run = metrics(None, None, outcome=outcome, final_loss=0.048)
    (told,) = plain(headline(run, HISTORY))
    assert "before it held its target loss of 0.05: training loss 3.9 → 0.048" in told


@pytest.mark.parametrize(("outcome", "target"), ENDINGS)
def test_an_unknown_final_loss_is_neither_a_number_nor_a_divergence(
    outcome: str, target: float | None
) -> None:
    run = metrics(None, None, outcome=outcome, target_loss=target, final_loss=None)
    with_first, alone = plain([*headline(run, HISTORY), *headline(run, [])])
    assert "raining loss 3.9 at first, not known at the end" in with_first
    assert "raining loss not known at the end" in alone
    assert ("diverged" in alone) == (outcome == "diverged")
    assert "finite" not in alone and "→" not in with_first


def test_an_accelerator_is_named() -> None:
    run = metrics(None, None)
    run["provenance"] = {"device": "Some GPU", "cpu_cores": 1, "cpu_threads": 1}
    assert plain(headline(run, []))[0].endswith("on Some GPU.")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"cpu_cores": 2, "cpu_threads": 1}, "1 thread of 2 cores"),
        ({"cpu_cores": 1, "cpu_threads": 2}, "2 threads of 1 core"),
        ({"cpu_cores": 2}, "2 cores"),  # before threads were recorded
        ({}, "? cores"),
    ],
)
def test_threads_and_cores_as_they_were(record: dict[str, int], words: str) -> None:
    assert plain([processors(record)]) == [words]
    run = metrics(None, None)
    if "cpu_cores" in record:
        run["provenance"] = {"device": "cpu"} | record
        assert plain(headline(run, []))[0].endswith(f"5 min 12 s on {words}.")


def test_remarks_name_rival_sharpness_and_copying() -> None:
    run = metrics(interval(0.23), interval(0.61), interval(0.74))
    run["conditions"]["original-top-p"] = {"all": {"ttr_96": interval(0.54)}}
    run["conditions"]["early-stopped-greedy"] = {"all": {"ttr_96": interval(0.41)}}
    run["conditions"]["hyperfitted-greedy"]["all"]["overlap_over_10"] = interval(0.123)
    run["conditions"]["human"]["all"]["overlap_over_10"] = interval(0.004)
    run["probe"] = {
        "original": {"entropy_nats": 4.171, "top1_mass": 0.249},
        "hyperfitted": {"entropy_nats": 2.551, "top1_mass": 0.531},
    }
    rival, sharpness, copying = plain(remarks(run))
    assert rival == (
        "Of the controls without hyperfitting, the highest TTR-96 is 0.54 (original top-p)."
    )
    assert "entropy 4.17 → 2.55 nats, mass on the likeliest token 0.25 → 0.53" in sharpness
    assert copying.startswith("12 % of the hyperfitted greedy continuations (human: 0.4 %)")
    assert remarks(metrics(None, None)) == []


def test_sampling_at_temperature_1_is_a_rival_too() -> None:
    run = metrics(interval(0.23), interval(0.61), interval(0.74))
    run["conditions"]["original-top-p"] = {"all": {"ttr_96": interval(0.54)}}
    run["conditions"]["original-top-p-t1"] = {"all": {"ttr_96": interval(0.71)}}
    run["methods"] = {
        "original-top-p-t1": {"stage": "original", "settings": {"top_p": 0.9, "temperature": 1.0}}
    }
    assert "is 0.71 (original, top-p 0.9, T 1)." in plain(remarks(run))[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (312.4, "5 min 12 s"), (3900.0, "1 h 05 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == text
