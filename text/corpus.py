"""Read documents from files, folders, the hub or the embedded prose.

Text is kept as it is on disk (typographic quotes, blank lines); only a byte order mark is dropped
and line endings become a line feed. Users' corpora come in every shape, so an error about a file
names the file and the line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from common.errors import UserError
from common.tools.hub import load_split
from common.tools.inputs import local_path

EMBEDDED = ("tales", "stories", "news", "encyclopedia")
SUFFIXES = (".txt", ".jsonl")
KINDS = (
    "a .txt or .jsonl file, a folder of them, hub:OWNER/NAME[:SPLIT], or embedded:NAME with NAME "
    f"one of {', '.join(EMBEDDED)}"
)
_PART = re.compile(r"(?P<whole>.+)\[(?P<start>-?\d+)?:(?P<stop>-?\d+)?\]")


@dataclass(frozen=True, kw_only=True)
class Document:
    """One text.

    Attributes:
        id: the `id` field, or the file name, with the line number for .jsonl.
        text: the text, never normalised.
        source: where it comes from, for messages: "path:line" or a hub name.
        title: the `title` field, or "".
    """

    id: str
    text: str
    source: str
    title: str = ""


def read_documents(source: str, *, field: str = "text") -> list[Document]:
    """Read every document of `source`.

    Args:
        source: a .txt file (one document), a .jsonl file (one document a line), a folder (all
            .txt and .jsonl below it, in sorted order), `hub:owner/name[:split]` (split "train"
            where none is given; needs the `hub` extra), or `embedded:NAME`. `[FROM:TO]` after any
            of them selects a part of its documents as in Python: `news.jsonl[-16:]` is the last
            16. For the hub it may be any slice that `datasets` understands.
        field: which field of a .jsonl line or hub row holds the text.

    Raises:
        UserError: the source is missing, empty, binary, not UTF-8, not JSON, lacks the field,
            has something else than a string in it, or has no document in the part in brackets.
    """
    kind, _, name = source.partition(":")
    if kind == "hub":
        return _read_hub(name, field)
    part = _part(source)
    if part:
        return _take_part(source, part, read_documents(part["whole"], field=field))
    if kind == "embedded":
        return _read_embedded(name)
    check_source(source)
    path = local_path(source)
    assert path is not None
    if path.is_dir():
        paths = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in SUFFIXES)
    else:
        paths = [path]
    documents = [document for p in paths for document in _read_path(p, field)]
    if not documents:
        raise UserError(
            expected=f"at least one .txt or .jsonl file below {source!r}",
            got="none",
            fix="name a folder that holds some",
        )
    return documents


def check_source(source: str) -> None:
    """Refuse a path that does not exist. No file is opened.

    Raises:
        UserError: names the source.
    """
    part = _part(source)
    whole = part["whole"] if part else source
    if whole.partition(":")[0] in ("hub", "embedded"):
        return
    path = local_path(whole)
    if path is None or not (path.is_dir() or path.is_file()):
        raise UserError(
            expected=KINDS, got=f"{whole!r}, which does not exist", fix="correct the path"
        )


def corpus_path(source: str) -> Path | None:
    """The file or folder of a source; None for the hub and the embedded prose."""
    part = _part(source)
    whole = part["whole"] if part else source
    return None if whole.partition(":")[0] in ("hub", "embedded") else local_path(whole)


def _part(source: str) -> re.Match[str] | None:
    """Match a source that ends in brackets, unless a file has that very name."""
    return None if local_path(source) else _PART.fullmatch(source)


def _take_part(source: str, part: re.Match[str], documents: list[Document]) -> list[Document]:
    start, stop = (int(part[end]) if part[end] else None for end in ("start", "stop"))
    taken = documents[start:stop]
    if not taken:
        raise UserError(
            expected=f"at least one document in {source!r}",
            got=f"none; {part['whole']!r} has {len(documents)}",
            fix="correct the range in brackets",
        )
    return taken


def _read_path(path: Path, field: str) -> Iterator[Document]:
    if path.suffix not in SUFFIXES:
        raise UserError(expected=KINDS, got=f"{str(path)!r}", fix="rename or convert the file")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(
            expected="a readable file", got=f"{path}: {error.strerror}", fix="check its permissions"
        ) from error
    text = _decode(raw, str(path))
    if path.suffix == ".jsonl":
        yield from _parse_jsonl(text, str(path), path.stem, field)
    else:
        yield Document(id=path.stem, text=text, source=str(path))


def _decode(raw: bytes, where: str) -> str:
    if not raw.strip():
        raise UserError(expected="text", got=f"{where}, which is empty", fix="remove or fill it")
    if b"\0" in raw:
        line = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise UserError(
            expected="UTF-8 text",
            got=f"{where}:{line}, which is binary (a NUL byte; UTF-16 looks like this too)",
            fix="leave it out or save it as UTF-8",
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UserError(
            expected="UTF-8 text",
            got=f"{where}:{line}, byte 0x{raw[error.start]:02x} is not UTF-8",
            fix="save the file as UTF-8",
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parse_jsonl(text: str, where: str, stem: str, field: str) -> Iterator[Document]:
    # Not splitlines(): it also breaks at U+2028 and the like, which JSON strings may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        here = f"{where}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                expected="one JSON object a line",
                got=f"{here}, which is not JSON ({error.msg} at column {error.colno})",
                fix="correct that line",
            ) from error
        yield _from_row(row, here, f"{stem}:{number}", field)


def _from_row(row: object, here: str, fallback_id: str, field: str) -> Document:
    if not isinstance(row, dict):
        raise UserError(
            expected="a JSON object", got=f"{here}, a {type(row).__name__}", fix="correct that line"
        )
    if field not in row:
        raise UserError(
            expected=f"a field {field!r}",
            got=f"{here} with the fields {', '.join(map(repr, row)) or 'none'}",
            fix="name the field that holds the text",
        )
    text = row[field]
    if not isinstance(text, str):
        raise UserError(
            expected=f"a string in field {field!r}",
            got=f"{here}, where it is a {type(text).__name__}",
            fix="name the field that holds the text",
        )
    return Document(
        id=str(row.get("id", fallback_id)),
        text=text,
        source=here,
        title=str(row.get("title") or ""),
    )


def _read_embedded(name: str) -> list[Document]:
    if name not in EMBEDDED:
        raise UserError(
            expected=f"embedded:NAME with NAME one of {', '.join(EMBEDDED)}",
            got=f"embedded:{name}",
            fix="choose one of them",
        )
    asset: Traversable = files("text") / "assets" / f"{name}.jsonl"
    where = f"embedded:{name}"
    return list(_parse_jsonl(_decode(asset.read_bytes(), where), where, name, "text"))


def _read_hub(name: str, field: str) -> list[Document]:
    rows, repository, _ = load_split(name, default="train")
    documents = [
        _from_row(row, f"hub:{name}:{number}", f"{repository}:{number}", field)
        for number, row in enumerate(rows, start=1)
    ]
    if not documents:
        raise UserError(
            expected="at least one row",
            got=f"hub:{name}, which is empty",
            fix="choose another split",
        )
    return documents
