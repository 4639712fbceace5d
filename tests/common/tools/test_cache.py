"""Folders of the cache: made once, whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from common.errors import UserError
from common.tools.cache import LISTING, cache_root, cached_folder, is_whole


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HYPERFITTING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make(folder: Path) -> None:
    (folder / "part").mkdir()
    (folder / "part" / "a").write_text("abc")
    (folder / "b").write_text("de")


def never(folder: Path) -> None:
    raise AssertionError("made again")


@pytest.mark.parametrize(
    ("own", "shared", "expected"),
    [
        ("/one", "/two", "/one"),
        ("", "/two", "/two/hyperfitting"),
        (None, "not/absolute", "~/.cache/hyperfitting"),
        (None, None, "~/.cache/hyperfitting"),
        ("~/mine", None, "~/mine"),
    ],
)
def test_where_it_lies(
    own: str | None, shared: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HYPERFITTING_CACHE", own), ("XDG_CACHE_HOME", shared)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert cache_root() == Path(os.path.expanduser(expected))


def test_made_once(cache: Path) -> None:
    folder = cached_folder("kind/x", make)
    assert folder == cache / "kind" / "x" and (folder / "part" / "a").read_text() == "abc"
    assert cached_folder("kind/x", never) == folder


@pytest.mark.parametrize("damage", ["lost", "cut", "no listing", "torn listing", "other listing"])
def test_a_damaged_folder_is_made_again(damage: str) -> None:
    folder = cached_folder("x", make)
    listing = folder / LISTING
    if damage == "lost":
        (folder / "part" / "a").unlink()
    elif damage == "cut":
        (folder / "b").write_text("d")
    elif damage == "no listing":
        listing.unlink()
    elif damage == "torn listing":
        listing.write_text('{"b"')
    else:
        listing.write_text("[]")
    (folder / "stray").write_text("of the damaged one")
    assert not is_whole(folder)
    cached_folder("x", make)
    assert is_whole(folder) and (folder / "part" / "a").read_text() == "abc"
    assert not (folder / "stray").exists()


def test_a_failure_leaves_nothing(cache: Path) -> None:
    def fail(folder: Path) -> None:
        make(folder)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        cached_folder("x", fail)
    assert [path.name for path in cache.iterdir()] == ["x.lock"]
    assert is_whole(cached_folder("x", make))


def test_what_a_killed_process_left_is_removed(cache: Path) -> None:
    left = cache / f".x.{'0' * 32}.tmp"
    make_parents = left / "part"
    make_parents.mkdir(parents=True)
    cached_folder("x", make)
    assert sorted(path.name for path in cache.iterdir()) == ["x", "x.lock"]


def test_two_at_once_make_it_once() -> None:
    """Locks belong to open files, so threads stand in for processes."""
    begun, go_on, made = threading.Event(), threading.Event(), []

    def slow(folder: Path) -> None:
        begun.set()
        assert go_on.wait(20)
        make(folder)
        made.append(folder)

    threads = [threading.Thread(target=cached_folder, args=("x", slow)) for _ in range(2)]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert len(made) == 1 and is_whole(cache_root() / "x")


def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HYPERFITTING_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="to write"):
        cached_folder("kind/x", make)
