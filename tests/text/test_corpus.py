"""Reading corpora, and what is said of broken ones."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from common.errors import UserError
from text import corpus
from text.corpus import EMBEDDED, read_documents


def test_txt_is_one_document_kept_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff\u201cOne\u201d\r\n\r\n  two \u2028 three\r".encode())
    (document,) = read_documents(str(path))
    assert document.text == "\u201cOne\u201d\n\n  two \u2028 three\n"
    assert (document.id, document.source, document.title) == ("a", str(path), "")


def test_jsonl_keeps_id_and_title_and_takes_the_field(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    rows = [{"body": "x\u2028y", "id": 7, "title": "T", "text": "no"}, {"body": "z"}]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text(f"{lines[0]}\n\n{lines[1]}", encoding="utf-8")
    first, second = read_documents(str(path), field="body")
    assert (first.id, first.title, first.text) == ("7", "T", "x\u2028y")
    assert (second.id, second.title, second.text) == ("b:3", "", "z")
    assert second.source == f"{path}:3"


def test_folder_reads_both_kinds_below_it_in_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "z.txt").write_text("last")
    (tmp_path / "a.jsonl").write_text('{"text": "first"}\n{"text": "second"}\n')
    (tmp_path / "sub" / "m.txt").write_text("third")
    (tmp_path / "notes.md").write_text("not read")
    assert [d.text for d in read_documents(str(tmp_path))] == ["first", "second", "third", "last"]


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("e.txt", b" \n", "e.txt, which is empty"),
        ("n.txt", b"one\ntwo\0", "n.txt:2, which is binary"),
        ("u.txt", "first\nsecond".encode("utf-16"), "which is binary"),
        ("l.txt", "a\nb\ncaf\u00e9".encode("latin-1"), "l.txt:3, byte 0xe9 is not UTF-8"),
        ("j.jsonl", b'{"text": "a"}\n{"text" "b"}\n', "j.jsonl:2, which is not JSON"),
        ("f.jsonl", b'{"text": "a"}\n{"body": "b"}\n', "f.jsonl:2 with the fields 'body'"),
        ("s.jsonl", b'{"text": 3}\n', "s.jsonl:1, where it is a int"),
        ("o.jsonl", b'["text"]\n', "o.jsonl:1, a list"),
        ("p.pdf", b"x", "p.pdf"),
    ],
)
def test_bad_files_are_named_with_their_line(
    tmp_path: Path, name: str, raw: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(UserError) as caught:
        read_documents(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_path_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_documents(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="at least one .txt or .jsonl file"):
        read_documents(str(tmp_path))


def test_unreadable_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match="a.txt: Permission denied"):
        read_documents(str(path))


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_prose(name: str) -> None:
    documents = read_documents(f"embedded:{name}")
    assert len(documents) >= 48
    assert len({document.id for document in documents}) == len(documents)
    assert all(document.text.strip() and document.title for document in documents)
    assert documents[0].source == f"embedded:{name}:1"


def test_unknown_embedded_name_lists_the_known() -> None:
    with pytest.raises(UserError, match="tales, stories, news, encyclopedia; got embedded:poems"):
        read_documents("embedded:poems")


@pytest.mark.parametrize(
    ("part", "texts"),
    [("[:2]", "ab"), ("[2:]", "cd"), ("[-1:]", "d"), ("[1:3]", "bc"), ("[:]", "abcd")],
)
def test_a_part_of_a_source(tmp_path: Path, part: str, texts: str) -> None:
    path = tmp_path / "four.jsonl"
    path.write_text("".join(json.dumps({"text": letter}) + "\n" for letter in "abcd"))
    assert [d.text for d in read_documents(f"{path}{part}")] == list(texts)


def test_the_parts_of_an_embedded_source_make_it_whole() -> None:
    first, last = read_documents("embedded:news[:-16]"), read_documents("embedded:news[-16:]")
    assert len(last) == 16
    assert first + last == read_documents("embedded:news")


def test_a_part_without_documents_tells_how_many_there_are() -> None:
    with pytest.raises(UserError, match=r"none; 'embedded:news' has 48"):
        read_documents("embedded:news[48:]")


def test_a_name_that_looks_like_a_part_is_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "texts[1:2]"
    folder.mkdir()
    for letter in "ab":
        (folder / f"{letter}.txt").write_text(letter)
    assert [d.text for d in read_documents(str(folder))] == ["a", "b"]


def fake_datasets(monkeypatch: pytest.MonkeyPatch, load) -> None:
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load))


def test_hub_reads_the_split_and_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, *, split: str) -> list[dict[str, str]]:
        asked.append((name, split))
        return [{"story": "a", "id": "i"}, {"story": "b"}]

    fake_datasets(monkeypatch, load)
    documents = read_documents("hub:owner/name:validation", field="story")
    read_documents("hub:owner/name", field="story")
    read_documents("hub:owner/name:test[:9]", field="story")
    read_documents("hub:owner/name[:1%]", field="story")
    splits = ["validation", "train", "test[:9]", "train[:1%]"]
    assert asked == [("owner/name", split) for split in splits]
    assert [(d.id, d.text) for d in documents] == [("i", "a"), ("owner/name:2", "b")]
    with pytest.raises(UserError, match="a field 'text'"):
        read_documents("hub:owner/name")


def test_hub_without_network_rows_or_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, *, split: str) -> None:
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub\nmore lines")

    fake_datasets(monkeypatch, unreachable)
    with pytest.raises(UserError, match="Couldn't reach .* on the Hub;"):
        read_documents("hub:owner/name")
    fake_datasets(monkeypatch, lambda name, *, split: [])
    with pytest.raises(UserError, match="which is empty"):
        read_documents("hub:owner/name")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="not installed"):
        read_documents("hub:owner/name")


def test_the_suffixes_named_in_messages_are_those_read() -> None:
    assert all(suffix in corpus.KINDS for suffix in corpus.SUFFIXES)
