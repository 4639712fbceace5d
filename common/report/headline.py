"""The result of a run in plain words, made from its numbers by fixed rules.

A headline is what most readers remember, so it says if a run missed its target or if greedy
decoding still loops. The rules:

* A model *loops* when its greedy type-token ratio is below `NEAR_HUMAN` of the human reference's.
* The ratio *rose* when the new 95 % interval lies above the old one (without intervals: when the
  value is higher).
* "Stopped looping" needs all three: it looped before, the ratio rose, it does not loop now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.report.names import (
    Reference,
    condition_label,
    metric_label,
    reference_of,
    ttr_name,
)

NEAR_HUMAN = 0.75
_ORIGINAL, _HYPERFITTED = "original-greedy", "hyperfitted-greedy"
_TO = "\u00a0→\u00a0"
_WITHOUT_HYPERFITTING = ("original-", "early-stopped-")
_NO_REFERENCE = Reference("", "")

IntervalJson = Mapping[str, Any]


def headline(metrics: Mapping[str, Any], history: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence on greedy decoding, if it was measured, and one on the training."""
    decoding = _decoding(metrics)
    training = _training(metrics["training"], metrics["provenance"], history)
    return [decoding, training] if decoding else [training]


def remarks(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences under the headline: the strongest control, sharpness, copying."""
    conditions, said = metrics["conditions"], []
    ttr, reference = ttr_name(conditions), reference_of(metrics) or _NO_REFERENCE
    rivals = {
        name: _value(conditions, name, ttr)
        for name in conditions
        if name.startswith(_WITHOUT_HYPERFITTING) and name != _ORIGINAL
    }
    measured = {name: value["mean"] for name, value in rivals.items() if value}
    if measured and ttr:
        best = max(measured, key=measured.__getitem__)
        label = condition_label(best, metrics.get("methods"))
        said.append(
            f"Of the controls without hyperfitting, the highest {_unbroken(ttr)} is "
            f"{measured[best]:.2f} ({label})."
        )
    probe = metrics["probe"]
    if {"original", "hyperfitted"} <= probe.keys():
        before, after = probe["original"], probe["hyperfitted"]
        changes = [
            f"{words} {before[key]:.2f}{_TO}{after[key]:.2f}{unit}"
            for key, words, unit in (
                ("entropy_nats", "entropy", " nats"),
                ("top1_mass", "mass on the likeliest token", ""),
            )
            if key in before and key in after
        ]
        if changes:
            said.append(f"Predictions on held-out data: {', '.join(changes)}.")
    copied = _value(conditions, _HYPERFITTED, "overlap_over_10")
    if copied:
        true = _value(conditions, reference.condition, "overlap_over_10")
        against = f" ({reference.condition}: {_percent(true['mean'])})" if true else ""
        said.append(
            f"{_percent(copied['mean'])} of the hyperfitted greedy continuations{against} repeat "
            "more than 10 tokens in a row from the training set."
        )
    return said


def ending(training: Mapping[str, Any]) -> str:
    """How the training ended, as the beginning of a sentence.

    Args:
        training: the entry of `metrics.json`; a run without a target had fixed updates.
    """
    outcome, target, final = (training.get(k) for k in ("outcome", "target_loss", "final_loss"))
    if outcome == "diverged":
        return "Training diverged and was given up"
    accuracy = training.get("target_accuracy")
    if target is None and accuracy is None:
        return {
            "reached": "Training ran its fixed number of updates",
            "budget_exhausted": "Training ran its fixed number of updates",
            "diversity_stopped": "Training was stopped short of its fixed number of updates, "
            "because held-out diversity no longer grew",
        }[str(outcome)]
    if accuracy is None:
        goal, at_goal = f"target loss of {target:g}", final is not None and final <= target
    else:
        measured = training.get("final_accuracy")
        goal = f"target accuracy of {_percent(accuracy)}"
        at_goal = measured is not None and measured >= accuracy
    if outcome == "reached":
        return f"Training reached its {goal}"
    # At the target, but for fewer consecutive full passes than the schedule requires.
    missed = f"{'held' if at_goal else 'reached'} its {goal}"
    return {
        "budget_exhausted": f"Training spent its budget before it {missed}",
        "diversity_stopped": "Training was stopped because held-out diversity no longer grew, "
        f"before it {missed}",
    }[str(outcome)]


def processors(provenance: Mapping[str, Any]) -> str:
    """Threads and cores of a run: "1 thread of 2 cores", or "2 cores" in older records."""
    cores, threads = (_count(provenance.get(f"cpu_{what}s"), what) for what in ("core", "thread"))
    return f"{threads} of {cores}" if "cpu_threads" in provenance else cores


def duration(seconds: float) -> str:
    """312.4 -> "5 min 12 s", with spaces that do not break between number and unit."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours}\u00a0h {minutes:02d}\u00a0min"
    return f"{minutes}\u00a0min {whole % 60:02d}\u00a0s" if minutes else f"{whole}\u00a0s"


def _decoding(metrics: Mapping[str, Any]) -> str:
    conditions = metrics["conditions"]
    ttr, reference = ttr_name(conditions), reference_of(metrics) or _NO_REFERENCE
    before, after = _value(conditions, _ORIGINAL, ttr), _value(conditions, _HYPERFITTED, ttr)
    if ttr is None or before is None or after is None:
        return ""
    human = _value(conditions, reference.condition, ttr)
    against = f" ({reference.condition} {human['mean']:.2f})" if human else ""
    numbers = f"{_unbroken(ttr)} {before['mean']:.2f}{_TO}{after['mean']:.2f}{against}"
    return f"{_verdict(before, after, human, reference.words)}: {numbers}."


def _verdict(
    before: IntervalJson, after: IntervalJson, human: IntervalJson | None, reference: str
) -> str:
    rose = _lower_end(after) > _upper_end(before)
    if human is None:
        return f"Greedy decoding {'became' if rose else 'did not become'} more varied"
    bar = NEAR_HUMAN * human["mean"]
    looped, loops = before["mean"] < bar, after["mean"] < bar
    if not looped:
        if _upper_end(after) < _lower_end(before):
            return "Greedy decoding hardly looped before, and is less varied now"
        changed = "is more varied now" if rose else "is not measurably more varied now"
        return f"Greedy decoding hardly looped before, and {changed}"
    if not rose:
        return f"Greedy decoding loops as before, as far as {after['n']} prompts can tell"
    if loops:
        return f"Greedy decoding loops less, but still more than {reference}"
    return "Greedy decoding stopped looping"


def _training(
    training: Mapping[str, Any],
    provenance: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
) -> str:
    first = next((r["train_loss"] for r in history if r.get("train_loss") is not None), None)
    final = training["final_loss"]
    # Null: not finite, or not measured on the weights that were restored.
    end = "not known at the end" if final is None else f"{final:.2g}"
    if first is None:
        losses = f"training loss {end}"
    elif final is None:
        losses = f"training loss {first:.2g} at first, {end}"
    else:
        losses = f"training loss {first:.2g}{_TO}{end}"
    accuracy = training.get("final_accuracy")
    if accuracy is not None:
        losses += f", {100 * accuracy:.1f}\u00a0% of its tokens right,"
    on_cpu = provenance["device"] == "cpu"
    device = processors(provenance) if on_cpu else provenance["device"]
    cost = f"{training['updates']:,} updates, {duration(training['seconds'])} on {device}"
    if training["outcome"] == "reached":
        return f"{losses[0].upper()}{losses[1:]} in {cost}."
    return f"{ending(training)}: {losses} after {cost}."


def _count(number: int | None, what: str) -> str:
    """ "2\u00a0cores"; "?" stands for a number that was not recorded."""
    return f"{'?' if number is None else number}\u00a0{what}{'' if number == 1 else 's'}"


def _unbroken(metric: str) -> str:
    """The metric's label with hyphens at which no line is broken."""
    return metric_label(metric).replace("-", "\u2011")


def _value(
    conditions: Mapping[str, Any], condition: str | None, metric: str | None
) -> IntervalJson | None:
    return conditions.get(condition or "", {}).get("all", {}).get(metric)


def _lower_end(interval: IntervalJson) -> float:
    return interval["mean"] if interval["low"] is None else interval["low"]


def _upper_end(interval: IntervalJson) -> float:
    return interval["mean"] if interval["high"] is None else interval["high"]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%" if 0 < share < 0.1 else f"{100 * share:.0f}\u00a0%"
