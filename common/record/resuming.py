"""Check that a run is resumed with the configuration that it began with."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import yaml

from common.errors import UserError


def check_same_configuration(saved_yaml: str, asked_yaml: str, may_differ: Collection[str]) -> None:
    """Refuse to resume a run with options that differ from those it began with.

    Args:
        saved_yaml: configuration of the run, YAML text.
        asked_yaml: configuration of the command that resumes it.
        may_differ: dotted keys that may change; a parent covers its children.

    Raises:
        UserError: names the first key that differs, with both values.
    """
    saved, asked = (_flatten(yaml.safe_load(text)) for text in (saved_yaml, asked_yaml))
    for key in sorted(saved.keys() | asked.keys()):
        parents = key.split(".")
        if any(".".join(parents[:n]) in may_differ for n in range(1, len(parents) + 1)):
            continue
        before, now = saved.get(key, "nothing"), asked.get(key, "nothing")
        if before != now:
            raise UserError(
                expected=f"the configuration of the run being resumed, with {key} = {before}",
                got=f"{key} = {now}",
                fix=f"set {key} back, or start a new run with another --out",
            )


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; an empty mapping stays a value."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
