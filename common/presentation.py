"""What a domain tells the report, and the file in which the report keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A part of the page that only a domain can make.

    Attributes:
        heading: plain text.
        html: trusted markup, put in as it is; pictures as data: URIs.
    """

    heading: str
    html: str


@dataclass(frozen=True, kw_only=True)
class Presentation:
    """What only the domain can tell the report.

    Attributes:
        title: heading of the page, or None for the usual one.
        sections: shown first, e.g. grids of images.
        definitions: metric name -> one line, for the domain's own metrics.
        labels: metric name -> what the page calls it, where its name will not do.
        remarks: sentences under the headline, after the usual ones.
        first: metrics that the tables begin with.
        samples: whether the tokens' pieces are for reading, side by side.
    """

    title: str | None = None
    sections: Sequence[ReportSection] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    first: Sequence[str] = ()
    samples: bool = True


def presentation_from(record: Mapping[str, Any]) -> Presentation:
    """From what `dataclasses.asdict` made of one."""
    values = dict(record)
    sections = [ReportSection(**section) for section in values.pop("sections")]
    return Presentation(sections=sections, **values)
