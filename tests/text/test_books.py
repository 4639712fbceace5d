"""Books for pretraining: reading, holding out by title, packing."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from common.errors import UserError
from text.books import Book, pack_books, read_books, split_books

ROWS = [
    {"author": "Ann Ash", "title": "One", "text": "\u201cIt\u2019s late\u2026\u201d\u2014she said"},
    {"author": "Bob Birch", "title": "Two", "text": "Nothing to change."},
    {
        "author": "Ann Ash",
        "title": "Three",
        "text": "\ufeffno\u00a0break \u2018here\u2019 3\u20134",
    },
]


def lines(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def book(title: str, text: str = "text") -> Book:
    return Book(author="A", title=title, text=text)


def test_reads_plain_and_compressed_with_plain_quotes(tmp_path: Path) -> None:
    plain, packed = tmp_path / "books.jsonl", tmp_path / "books.jsonl.xz"
    plain.write_bytes(lines(ROWS))
    packed.write_bytes(lzma.compress(lines(ROWS)))
    books = read_books(plain, authors=None)
    assert books == read_books(packed, authors=None)
    assert [b.text for b in books] == [
        '"It\'s late..."--she said',
        "Nothing to change.",
        "no break 'here' 3-4",
    ]
    assert [b.title for b in read_books(plain, authors=["Ann", "Zoe"])] == ["One", "Three"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lines(ROWS[:2]) + b"{not json\n", "line 3"),
        (lines(ROWS[:1]) + b'{"author": "A", "title": "T"}\n', "line 2"),
        (lines(ROWS[:1]) + b'{"author": "A", "title": "T", "text": 3}\n', "line 2"),
        (b'["a list"]\n', "the strings author, title, text"),
        (b"\xff\xfe\n", "UTF-8"),
        (b"", "at least one book"),
    ],
)
def test_what_is_not_a_file_of_books_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "books.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_books(path, authors=None)


def test_a_truncated_archive_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl.xz"
    with pytest.raises(UserError, match="No such file"):
        read_books(path, authors=None)
    path.write_bytes(lzma.compress(lines(ROWS) * 50)[:-30])
    with pytest.raises(UserError, match="correct the file"):
        read_books(path, authors=None)
    path.write_bytes(b"no archive")
    with pytest.raises(UserError, match="correct the file"):
        read_books(path, authors=None)
    with pytest.raises(UserError, match="Is a directory"):
        read_books(tmp_path, authors=None)


def test_unknown_authors_are_told(tmp_path: Path) -> None:
    path = tmp_path / "books.jsonl"
    path.write_bytes(lines(ROWS))
    with pytest.raises(UserError, match=r"by \['Nobody'\]"):
        read_books(path, authors=["Nobody"])


def test_a_title_never_falls_on_both_sides() -> None:
    books = [book(f"t{n % 7}", text=str(n)) for n in range(21)]
    training, heldout = split_books(books, heldout=3, seed=0)
    assert len({b.title for b in heldout}) == 3 and len(training) + len(heldout) == 21
    assert not {b.title for b in training} & {b.title for b in heldout}
    assert split_books(books, heldout=3, seed=0) == (training, heldout)
    assert any(split_books(books, heldout=3, seed=s)[1] != heldout for s in range(1, 5))
    with pytest.raises(UserError, match="more than 7 titles"):
        split_books(books, heldout=7, seed=0)


def test_packing_cuts_every_book_and_drops_the_rest(
    tiny_tokenizer: PreTrainedTokenizerBase,
) -> None:
    texts = ["a fox and a hen " * 9, "x", "the mill by the river " * 5]
    packed = pack_books([book("t", t) for t in texts], tiny_tokenizer, length=8)
    want: list[list[int]] = []
    for text in texts:
        ids = tiny_tokenizer(text)["input_ids"]
        want += [ids[i : i + 8] for i in range(0, len(ids) - 7, 8)]
    assert packed.dtype == torch.int32 and packed.tolist() == want
    with pytest.raises(UserError, match="a book of at least 8 tokens"):
        pack_books([book("t", "x")], tiny_tokenizer, length=8)
