"""JSON-lines files whose last line may be incomplete because its writer was killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; a last line that is incomplete is dropped.

    Raises:
        UserError: another line is not JSON.
    """
    if not os.path.exists(path):
        return []
    *lines, last = path.read_text(encoding="utf-8", errors="replace").split("\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise UserError(
                expected=f"one JSON object a line in {str(path)!r}",
                got=f"something else in line {number}",
                fix="correct or delete that line",
            ) from error
    try:
        return [*records, json.loads(last)] if last else records
    except ValueError:
        return records


def to_jsonl(records: Iterable[Mapping[str, Any]]) -> str:
    """One line per record.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not know.
    """
    return "".join(
        json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n" for record in records
    )
