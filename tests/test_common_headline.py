"""The headline tells the truth for every outcome."""

from __future__ import annotations

from typing import Any

import pytest

from common.headline import duration, headline, remarks

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


def test_a_missed_target_is_said() -> None:
    run = metrics(None, None, outcome="budget_exhausted", final_loss=0.31)
    (told,) = plain(headline(run, HISTORY))
    assert told == (
        "The run did not reach its target loss of 0.05: training loss 3.9 → 0.31 when its budget "
        "was spent, 1,612 updates, 5 min 12 s on 2 cores."
    )


def test_divergence_is_said() -> None:
    run = metrics(None, None, outcome="diverged", final_loss=None)
    run["provenance"] = {"device": "Some GPU", "cpu_cores": 1}
    (told,) = plain(headline(run, []))
    assert told.startswith("Training diverged and was given up: training loss not finite after")
    assert told.endswith("on Some GPU.")


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
    assert "original top-p has the highest TTR-96: 0.54" in rival
    assert "entropy 4.17 → 2.55 nats, mass on the likeliest token 0.25 → 0.53" in sharpness
    assert copying.startswith("12 % of the hyperfitted greedy continuations (human: 0.4 %)")
    assert remarks(metrics(None, None)) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (312.4, "5 min 12 s"), (3900.0, "1 h 05 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == text
