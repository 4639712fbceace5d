"""What a domain adds to the report, and the file that keeps it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A part of the page that only a domain can make.

    Attributes:
        heading: plain text.
        html: trusted markup, inserted unchanged; pictures as data: URIs.
    """

    heading: str
    html: str


@dataclass(frozen=True, kw_only=True)
class Presentation:
    """What a domain adds to the report.

    Attributes:
        title: heading of the page, or None for the usual one.
        sections: shown first, e.g. grids of images.
        definitions: metric name -> one line, for the domain's own metrics.
        conditions: condition -> one line, for the domain's own conditions.
        labels: metric name -> its label on the page, where the usual label does not suit.
        remarks: sentences under the headline, after the usual ones.
        first: metrics that the tables begin with.
        samples: whether the samples are text to be read, and so shown side by side.
    """

    title: str | None = None
    sections: Sequence[ReportSection] = ()
    definitions: Mapping[str, str] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    first: Sequence[str] = ()
    samples: bool = True


def presentation_file(folder: Path) -> Path:
    """Path of the file that keeps it in a run's folder."""
    return folder / "report.json"


def read_presentation(folder: Path) -> Presentation:
    """What the domain added to the report of a run; the defaults if there is no such file."""
    kept = presentation_file(folder)
    if not os.path.exists(kept):
        return Presentation()
    return presentation_from(json.loads(kept.read_text(encoding="utf-8")))


def presentation_from(record: Mapping[str, Any]) -> Presentation:
    """The inverse of `dataclasses.asdict`."""
    values = dict(record)
    sections = [ReportSection(**section) for section in values.pop("sections")]
    return Presentation(sections=sections, **values)
