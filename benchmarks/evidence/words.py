"""Numbers as words: one way to write a value, its interval and its relation to another."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmarks.domains import TRUTHS
from benchmarks.evidence.over_seeds import Group, Value
from common.report.names import condition_label, metric_label

_SAMPLED = re.compile(r"([\w-]+?)-(top-p|sampled)(-t1)?")
_OF_NETWORK = re.compile(r"(\w+)(\[.+\])")


def decimals(values: Sequence[float]) -> int:
    """How many decimals a column of these values has: none for counts, three for shares."""
    largest = max((abs(value) for value in values), default=0.0)
    if largest >= 1 and all(float(value).is_integer() for value in values):
        return 0
    return 3 if largest < 1.05 else 2 if largest < 10 else 1 if largest < 1000 else 0


def number(value: float, places: int | None = None) -> str:
    """Three significant digits or so, without an exponent: 0.612, 4.23, 99.9, 1,801.

    Args:
        value: what is written.
        places: decimals; by the value's own size when None.
    """
    return f"{value:z,.{decimals([value]) if places is None else places}f}"


def shown(value: Value) -> str:
    """ "0.612 [0.598, 0.625]": the mean with the shown interval, or alone where there is none."""
    if value.low is None or value.high is None:
        return number(value.mean)
    places = decimals([value.mean, value.low, value.high])
    low, high = number(value.low, places), number(value.high, places)
    return f"{number(value.mean, places)} [{low},\u00a0{high}]"


def share(value: Value) -> str:
    """ "13.8 % [8.8, 18.8]" of a share between 0 and 1."""
    percent = f"{100 * value.mean:.1f}\u00a0%"
    if value.low is None or value.high is None:
        return percent
    return f"{percent} [{100 * value.low:.1f},\u00a0{100 * value.high:.1f}]"


def relation(above: bool | None, *, subject: str, other: str) -> str:
    """ "hyperfitted is above original", "... below ...", "... cannot be told apart from ..."."""
    if above is None:
        return f"{subject} cannot be told apart from {other}"
    return f"{subject} is {'above' if above else 'below'} {other}"


def sampling_words(*, top_p: float, temperature: float, top_k: int) -> str:
    """ "top-p 0.9, T 0.7, top-k 50"; "sampled, T 1" where nothing is cut off."""
    parts = [f"T {temperature:g}"]
    parts = [f"top-p {top_p:g}", *parts] if top_p < 1 else parts
    parts = [*parts, f"top-k {top_k}"] if top_k else parts
    return ", ".join(parts if len(parts) > 1 else ["sampled", *parts])


def settings_words(recorded: str) -> str:
    """What `common.decode.methods.settings` recorded, as short as `sampling_words`.

    "temperature 1" is "sampled, T 1", nothing is "greedy".
    """
    parts = [part.replace("temperature ", "T ") for part in recorded.split(", ") if part]
    if not parts:
        return "greedy"
    if len(parts) == 1 and parts[0].startswith("T "):
        return f"sampled, {parts[0]}"
    words = ", ".join(parts).replace("repetition-penalty", "repetition penalty")
    return re.sub(r"no-repeat-ngram-size (\d+)", r"no repeated \1-grams", words)


def condition_words(group: Group, name: str) -> str:
    """A condition of a run for the reader; one that samples says how, by the run's configuration.

    "original-top-p" is "original top-p 0.9, T 0.7, top-k 50". The conditions at temperature 1 are
    without top-k: "original-top-p-t1" keeps the run's top-p, "original-sampled-t1" has none.
    """
    match = _SAMPLED.fullmatch(name)
    if match is None:
        return TRUTHS.get(name, condition_label(name))
    stage, kind, at_one = match.groups()
    top_p, temperature, top_k = (
        group.cells[0].config[f"measure.{option}"] for option in ("top_p", "temperature", "top_k")
    )
    if at_one:
        top_p, temperature, top_k = (top_p if kind == "top-p" else 1.0), 1.0, 0
    return f"{stage} {sampling_words(top_p=top_p, temperature=temperature, top_k=top_k)}"


def metric_head(metric: str) -> str:
    """ "FID [cifar-net]" of "fid[cifar-net]"; other metrics as everywhere."""
    if match := _OF_NETWORK.fullmatch(metric):
        name = match[1].upper() if len(match[1]) == 3 else match[1]
        return f"{name} {match[2]}"
    return metric_label(metric)
