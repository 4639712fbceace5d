"""Books for pretraining: whole texts, normalised; whole books are held out.

The hyperfitting corpora have ASCII quotes, books have typographic ones. A base model trained on
typographic quotes would hardly know the ASCII quotes of its later prompts, so quotes are made plain
here. Held-out loss is measured on books that give no training token.
"""

from __future__ import annotations

import json
import lzma
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from common.errors import UserError

_PLAIN = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "--"}
    | {"\u2026": "...", "\u00a0": " ", "\ufeff": None}
)
_FIELDS = ("author", "title", "text")


@dataclass(frozen=True, kw_only=True)
class Book:
    """One text with its author and title, quotes already plain."""

    author: str
    title: str
    text: str


def read_books(path: Path, *, authors: list[str] | None) -> list[Book]:
    """Read a .jsonl or .jsonl.xz file with the fields author, title and text.

    Args:
        path: the file.
        authors: keep the books whose author begins with one of these; None keeps all.

    Raises:
        UserError: the file cannot be read, a line is no such object, or no book is left.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise UserError(
            expected="a .jsonl or .jsonl.xz file of books",
            got=f"{str(path)!r}, a device or the like, which may never end",
            fix="set --data",
        )
    opener = lzma.open if path.suffix == ".xz" else open
    books: list[Book] = []
    read = 0
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                read += 1
                book = _book(json.loads(line))
                if authors is None or book.author.startswith(tuple(authors)):
                    books.append(book)
    except OSError as error:
        raise UserError(
            expected="a .jsonl or .jsonl.xz file of books",
            got=f"{str(path)!r} ({error.strerror or 'unreadable'})",
            fix="set --data",
        ) from error
    except (ValueError, EOFError, lzma.LZMAError) as error:
        raise UserError(
            expected=f"UTF-8 lines of JSON with the strings {', '.join(_FIELDS)}",
            got=f"{str(path)!r}, which is broken at line {read} or right after it ({error})",
            fix="correct the file",
        ) from error
    if not books:
        raise UserError(
            expected="at least one book",
            got=f"none in {str(path)!r}" + ("" if authors is None else f" by {authors}"),
            fix="change --data or --authors",
        )
    return books


def split_books(books: list[Book], *, heldout: int, seed: int) -> tuple[list[Book], list[Book]]:
    """(training, held-out) books; the same title never falls on both sides.

    Args:
        books: all of them.
        heldout: how many titles to hold out.
        seed: of the draw.

    Raises:
        UserError: no training book would be left.
    """
    titles = sorted({book.title for book in books})
    if heldout >= len(titles):
        raise UserError(
            expected=f"more than {heldout} titles",
            got=f"{len(titles)}",
            fix="lower --heldout_books or add books",
        )
    order = np.random.default_rng(seed).permutation(len(titles))
    aside = {titles[int(index)] for index in order[:heldout]}
    return (
        [book for book in books if book.title not in aside],
        [book for book in books if book.title in aside],
    )


def pack_books(books: list[Book], tokenizer: PreTrainedTokenizerBase, *, length: int) -> Tensor:
    """(N, length) int32 ids: every book cut into consecutive sequences, the remainder dropped.

    Raises:
        UserError: no book is long enough for one sequence.
    """
    rows = []
    for book in books:
        # verbose=False: a book is longer than the model's context and is cut here.
        ids = np.asarray(tokenizer(book.text, verbose=False)["input_ids"], dtype=np.int32)
        count = len(ids) // length
        rows.append(ids[: count * length].reshape(count, length))
    ids_NT = torch.from_numpy(np.concatenate(rows))
    if not len(ids_NT):
        raise UserError(
            expected=f"a book of at least {length} tokens",
            got=f"{len(books)} shorter ones",
            fix="lower --length or use longer books",
        )
    return ids_NT


def _book(row: Any) -> Book:
    """The book of one line; raises `ValueError` for a line without the three strings."""
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in _FIELDS):
        raise ValueError("a line without these strings")
    return Book(author=row["author"], title=row["title"], text=row["text"].translate(_PLAIN))
