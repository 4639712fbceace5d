"""Votes that a page exported, checked against the page's key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.preference.key import (
    VOTES,
    Key,
    KeyItem,
    read_key,
    read_object,
    refuse_other_schema,
)
from common.errors import UserError

CHOICES = ("left", "right", "equal")


@dataclass(frozen=True)
class Vote:
    """One judgement.

    Attributes:
        annotator: who judged.
        name: opaque id of the item.
        item: what it shows.
        choice: "left", "right" or "equal".
        seconds: from showing the item to the vote.
    """

    annotator: str
    name: str
    item: KeyItem
    choice: str
    seconds: float

    @property
    def preferred(self) -> float:
        """1 where the subject won, 0.5 for equal, 0 where it lost."""
        if self.choice == "equal":
            return 0.5
        return float(self.choice == self.item.subject_side)


def read_votes(paths: Sequence[Path], key: Key) -> list[Vote]:
    """All votes of some exports.

    Raises:
        UserError: a file that is not an export of this page and version, an unknown item or choice,
            an annotator without a name, a vote that comes twice, or no votes at all.
    """
    votes: list[Vote] = []
    seen: dict[tuple[str, str], Path] = {}
    for path in paths:
        for vote in _read(path, key):
            # "Anna" and "anna " are one person, as on the page.
            place = vote.annotator.casefold(), vote.name
            if place in seen:
                again = "twice" if seen[place] == path else f"in {str(seen[place])!r} too"
                raise UserError(
                    expected="one vote per annotator and item",
                    got=f"{vote.annotator!r} on item {vote.name!r} in {str(path)!r} {again}",
                    fix="give each annotator's last export only",
                )
            seen[place] = path
            votes.append(vote)
    if not votes:
        raise UserError(expected="votes", got="exports without any", fix="give other exports")
    return votes


def find_key(path: Path) -> Path:
    """The key beside an export, where exactly one there is of its page.

    Raises:
        UserError: there is none, or several.
    """
    page = _header(path).get("page")
    keys = [near for near in sorted(path.parent.glob("*.key.json")) if read_key(near).page == page]
    if len(keys) != 1:
        raise UserError(
            expected=f"the key of its page beside {str(path)!r}",
            got=f"{len(keys)} of them",
            fix="pass --key PAGE.key.json",
        )
    return keys[0]


def _header(path: Path) -> dict[str, Any]:
    content = read_object(path, what="votes exported by a page")
    refuse_other_schema(content, path)
    if content.get("kind") != VOTES:
        raise UserError(
            expected="votes exported by a page",
            got=f"another file, {str(path)!r}",
            fix="give what its download button saved",
        )
    return content


def _read(path: Path, key: Key) -> list[Vote]:
    content = _header(path)
    if content.get("page") != key.page:
        raise UserError(
            expected=f"votes on page {key.page}",
            got=f"votes on page {content.get('page')} in {str(path)!r}",
            fix="score each page with its own key",
        )
    annotator, records = content.get("annotator"), content.get("votes")
    if not isinstance(annotator, str) or not annotator.strip():
        raise UserError(
            expected=f"the annotator's name in {str(path)!r}",
            got=repr(annotator),
            fix='put one in as "annotator"',
        )
    if not isinstance(records, list):
        raise UserError(
            expected=f"a list of votes in {str(path)!r}", got="none", fix="export them again"
        )
    return [_vote(record, annotator.strip(), key, path) for record in records]


def _vote(record: Any, annotator: str, key: Key, path: Path) -> Vote:
    fields = record if isinstance(record, dict) else {}
    name, choice, spent = (fields.get(field) for field in ("item", "choice", "milliseconds"))
    if not isinstance(name, str) or name not in key.items:
        raise UserError(
            expected=f"items of the page in {str(path)!r}",
            got=f"an unknown one, {name!r}",
            fix="check that export and key belong together",
        )
    if choice not in CHOICES or not isinstance(spent, int | float) or not 0 <= spent < 1e12:
        raise UserError(
            expected=f"a choice among {', '.join(CHOICES)} and milliseconds for item {name!r}",
            got=f"{choice!r} and {spent!r} in {str(path)!r}",
            fix="export the votes again",
        )
    return Vote(annotator, name, key.items[name], choice, spent / 1000)
