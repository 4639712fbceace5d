"""What an analysis returns, and what all of them do to make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from common.domain import Metrics
from common.errors import UserError
from common.tools.options import parse_options

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Options = TypeVar("Options", bound="DataclassInstance")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures of one analysis.

    Attributes:
        metrics: name -> value with interval. Continuations are named as a run names them:
            "CONDITION/all/METRIC".
        series: name -> records for a figure; an interval is three entries, "x", "x_low", "x_high".
    """

    metrics: Metrics
    series: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """For analyses that have nothing to choose."""


def read_options(
    options_class: type[Options], options: Mapping[str, Any], *, analysis: str
) -> Options:
    """The options of an analysis as its dataclass.

    Raises:
        UserError: an option that it does not know, or a value of another type.
    """
    try:
        return parse_options(options_class, options, prog=f"the analysis {analysis}")
    except UserError as error:
        raise UserError(
            expected=error.expected,
            got=error.got,
            fix="change analysis_options of the experiment",
        ) from error


def of_condition(condition: str, metrics: Metrics) -> Metrics:
    """Metrics under the names that a run's own conditions have."""
    return {f"{condition}/all/{name}": value for name, value in metrics.items()}


def flat(metrics: Metrics) -> dict[str, float | None]:
    """Intervals as entries of a record: "x", "x_low", "x_high"."""
    record: dict[str, float | None] = {}
    for name, value in metrics.items():
        record |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
    return record
