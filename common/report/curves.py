"""The curves of a run: loss, accuracy, entropy, type-token ratio and copying over updates.

Each marks two points: the end of the run, and the lowest validation loss, at which ordinary
fine-tuning would have stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.hyperfit.rate_test import FLAT_SHARE, smoothed
from common.report.charts import Level, Marker, Series, from_to, line_chart
from common.report.names import reference_of, ttr_name

Records = Sequence[Mapping[str, Any]]


def curves(metrics: Mapping[str, Any], history: Records) -> list[str]:
    """Loss, accuracy, entropy, type-token ratio and copying over updates, one `<svg>` each.

    Args:
        metrics: the content of `metrics.json`.
        history: the records of `history.jsonl`.

    Returns:
        The charts for which the history has values, then the learning-rate test if there was one.
    """
    updates = [r for r in history if r["kind"] == "update"]
    epochs = [r for r in history if r["kind"] == "epoch"]
    passes = [r for r in history if r["kind"] == "full_pass"]
    validated = [r for r in epochs if r.get("validation_loss") is not None]
    lowest = min(validated, key=lambda r: r["validation_loss"], default=None)
    markers = [Marker(x=metrics["training"]["updates"], label="stopped")]
    if lowest is not None:
        markers.append(Marker(x=lowest["update"], label="lowest validation loss"))
    target = metrics["training"].get("target_loss")
    accuracy = metrics["training"].get("target_accuracy")
    conditions = metrics["conditions"]
    ttr, named = ttr_name(conditions) or "", reference_of(metrics)
    reference = "" if named is None else named.condition
    charts = [
        (
            "Loss (nats per token, log scale)",
            [
                Series(label="batch", points=_points(updates, "train_loss"), style="faint"),
                Series(label="training set", points=_points(passes, "train_loss"), style="dots"),
                Series(label="validation", points=_measured(epochs, "validation_loss"), colour=1),
            ],
            [] if target is None else [Level(y=target, label=f"target {target:g}")],
            True,
        ),
        (
            "Accuracy (share of tokens whose first choice is right)",
            [
                Series(label="batch", points=_points(updates, "train_accuracy"), style="faint"),
                Series(
                    label="training set", points=_measured(passes, "train_accuracy"), style="dots"
                ),
                Series(
                    label="validation", points=_measured(epochs, "validation_accuracy"), colour=1
                ),
            ],
            [] if accuracy is None else [Level(y=accuracy, label=f"target {accuracy:g}")],
            False,
        ),
        (
            "Entropy (nats per token)",
            [
                Series(label="batch", points=_points(updates, "entropy_nats"), style="faint"),
                Series(
                    label="validation",
                    points=_measured(epochs, "validation_entropy_nats"),
                    colour=1,
                ),
            ],
            [],
            False,
        ),
        (
            "Type-token ratio of greedy continuations",
            [Series(label="hyperfitting", points=_measured(epochs, ttr), colour=2)],
            [
                Level(y=conditions[name]["all"][ttr]["mean"], label=label)
                for name, label in (("original-greedy", "original"), (reference, reference))
                if ttr in conditions.get(name, {}).get("all", {})
            ],
            False,
        ),
        (
            "Share of continuations with over 10 copied tokens",
            [Series(label="hyperfitting", points=_measured(epochs, "overlap_over_10"), colour=2)],
            [],
            False,
        ),
    ]
    return [
        line_chart(
            series,
            title=title,
            description=from_to(series),
            x_label="updates",
            y_label=title,
            markers=markers,
            levels=levels,
            log_y=log_y,
        )
        for title, series, levels, log_y in charts
        if any(y is not None for one in series for _, y in one.points)
    ] + [_rate_chart(r, metrics["training"]) for r in history if r["kind"] == "rate_test"]


def _rate_chart(tested: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """The losses of the learning-rate range test, and the rate that it chose."""
    finite = [change for change in tested["changes_nats"] if change is not None]
    averages = smoothed(finite)
    # Losses far above the first are left out, as they would flatten the descent on the chart.
    most = max(-2 * min(averages), FLAT_SHARE * tested["first_loss"])

    def shown(values: Sequence[float]) -> list[tuple[float, float | None]]:
        pairs = zip(tested["learning_rates"], values, strict=False)
        return [(rate, value if value <= most else None) for rate, value in pairs]

    title = "Learning-rate test: change of the batch loss (nats per token)"
    series = [
        Series(label="batch", points=shown(finite), style="faint"),
        Series(label="smoothed", points=shown(averages), colour=1),
    ]
    rate = training["learning_rate"]
    return line_chart(
        series,
        title=title,
        description=from_to(series),
        x_label="learning rate",
        y_label=title,
        markers=[Marker(x=rate, label=f"chosen {rate:.2g}")],
        log_x=True,
    )


def _points(records: Records, key: str) -> list[tuple[float, float | None]]:
    """Values that every update has; a null was not finite and leaves a gap."""
    return [(r["update"], r.get(key)) for r in records]


def _measured(records: Records, key: str) -> list[tuple[float, float | None]]:
    """Values that are measured at some updates; a null means not at this one."""
    return [(r["update"], r[key]) for r in records if r.get(key) is not None]
