"""The table and the sample that a run ends with on the terminal."""

from __future__ import annotations

from typing import Any

from common.report.terminal import before_after, conditions_table


def interval(mean: float) -> dict[str, Any]:
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 24}


def scores(ttr: float, rep: float, over: float) -> dict[str, Any]:
    measured = {"ttr_96": interval(ttr), "rep_4": interval(rep), "overlap_over_10": interval(over)}
    return {"all": measured, "fiction": {}}


def test_table_lines_up() -> None:
    metrics = {
        "conditions": {
            "original-greedy": scores(0.25, 0.5, 0.1),
            "hyperfitted-greedy": scores(0.625, 0.125, 0.2),
        }
    }
    metrics["conditions"]["original-greedy"]["all"]["rep_4"]["low"] = None
    assert conditions_table(metrics, ("ttr_96", "rep_4", "overlap_over_10")).splitlines() == [
        "                    TTR-96                rep-4                 overlap > 10",
        "original greedy     0.250 [0.150, 0.350]  0.500                 0.100 [0.000, 0.200]",
        "hyperfitted greedy  0.625 [0.525, 0.725]  0.125 [0.025, 0.225]  0.200 [0.100, 0.300]",
        "24 prompts; [95 % bootstrap interval]",
    ]


def sample(condition: str, prompt_set: str, index: int, text: str) -> dict[str, Any]:
    return {
        "condition": condition,
        "prompt_set": prompt_set,
        "prompt_index": index,
        "prompt": f"prompt {prompt_set} {index}",
        "continuation": text,
    }


def test_samples_are_the_first_prompt_of_each_set() -> None:
    samples = [
        sample(condition, prompt_set, index, f"{condition}\n\n{prompt_set} {index}")
        for condition in ("original-greedy", "original-top-p", "hyperfitted-greedy")
        for prompt_set in ("fiction", "news")
        for index in (0, 1)
    ]
    assert before_after(iter(samples)).splitlines() == [
        "prompt (fiction):",
        "  prompt fiction 0",
        "original greedy:",
        "  original-greedy fiction 0",
        "hyperfitted greedy:",
        "  hyperfitted-greedy fiction 0",
        "",
        "prompt (news):",
        "  prompt news 0",
        "original greedy:",
        "  original-greedy news 0",
        "hyperfitted greedy:",
        "  hyperfitted-greedy news 0",
    ]


def test_a_prompt_that_two_sets_share_is_told_once() -> None:
    samples = [
        sample(condition, "f", 0, f"{condition} {length}") | {"prompt_set": f"f{length}"}
        for length in ("", "-256")
        for condition in ("original-greedy", "hyperfitted-greedy")
    ]
    told = before_after(samples)
    assert told.startswith("prompt (f):") and "256" not in told


def test_long_texts_are_wrapped() -> None:
    words = " ".join(["word"] * 100)
    samples = [sample(c, "f", 0, words) for c in ("original-greedy", "hyperfitted-greedy")]
    lines = before_after(samples).splitlines()
    assert max(map(len, lines)) <= 96 and len(lines) > 10


def test_settings_of_a_sampled_condition_stand_below_its_name() -> None:
    settings = {"top_p": 0.9, "temperature": 0.7, "top_k": 50}
    metrics = {
        "methods": {"original-top-p": {"stage": "original", "settings": settings}},
        "conditions": {
            "original-top-p": scores(0.25, 0.5, 0.1),
            "hyperfitted-greedy-blocked": scores(0.625, 0.125, 0.2),
            "hyperfitted-greedy": scores(0.625, 0.125, 0.2),
        },
    }
    _, name, below, *_ = conditions_table(metrics, ("ttr_96",)).splitlines()
    assert name == "original,                     0.250 [0.150, 0.350]"
    assert below == "  top-p 0.9, T 0.7, top-k 50"
