"""The key of a page: what stood on either side of each item. Annotators never see it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from common.errors import UserError

SCHEMA = 1
"""Version of keys and of exported votes."""
VOTES = "preference votes"
"""What an export says it is."""


@dataclass(frozen=True, kw_only=True)
class KeyItem:
    """What one item of a page shows.

    Attributes:
        domain: "text" or "image".
        prompt_set: of the prompt.
        prompt_index: within the set.
        new_tokens: length of both continuations.
        subject: label of the contender that is reported on.
        against: label of the other.
        subject_run: name of the run it is from.
        against_run: the same for the other.
        subject_condition: its condition in that run.
        against_condition: the same for the other.
        subject_side: where it stands.
    """

    domain: str
    prompt_set: str
    prompt_index: int
    new_tokens: int
    subject: str
    against: str
    subject_run: str
    against_run: str
    subject_condition: str
    against_condition: str
    subject_side: Literal["left", "right"]


@dataclass(frozen=True)
class Key:
    """The key of one page.

    Attributes:
        page: hash of the page's items.
        runs: name of a run -> its folder.
        seed: that items, sides and order were drawn with.
        items: opaque id -> what it shows, in the order of the page.
    """

    page: str
    runs: Mapping[str, str]
    seed: int
    items: Mapping[str, KeyItem]

    def to_json(self) -> dict[str, Any]:
        """The content of the key's file."""
        items = {name: asdict(item) for name, item in self.items.items()}
        return {
            "schema": SCHEMA,
            "page": self.page,
            "runs": dict(self.runs),
            "seed": self.seed,
            "items": items,
        }


def read_key(path: Path) -> Key:
    """Read what `Key.to_json` gave.

    Raises:
        UserError: no such file, not JSON, or not a key of this version.
    """
    content = read_object(path, what="the key of a page")
    refuse_other_schema(content, path)
    try:
        items = {name: KeyItem(**item) for name, item in content["items"].items()}
        return Key(content["page"], content["runs"], content["seed"], items)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            expected="the key of a page",
            got=f"{str(path)!r} with other content",
            fix="give the .key.json written beside the page",
        ) from error


def read_object(path: Path, *, what: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: of the file.
        what: it should be, for the message.

    Raises:
        UserError: no such file, or not a JSON object.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError("no file")  # reading a device may never end
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            expected=what, got=f"{str(path)!r}, which cannot be read", fix="check the path"
        ) from error
    except ValueError as error:
        raise UserError(
            expected=what,
            got=f"{str(path)!r}, which is not JSON (cut short?)",
            fix="get the file again",
        ) from error
    if not isinstance(content, dict):
        raise UserError(expected=what, got=f"other JSON in {str(path)!r}", fix="check the path")
    return content


def refuse_other_schema(content: Mapping[str, Any], path: Path) -> None:
    """Refuse files of another version.

    Raises:
        UserError: it is one.
    """
    if content.get("schema") != SCHEMA:
        raise UserError(
            expected=f"schema {SCHEMA} in {str(path)!r}",
            got=f"{content.get('schema')!r}",
            fix="use the version of this program that made the page",
        )
