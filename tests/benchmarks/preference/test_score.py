"""Scores of votes on a page, from a key and exports that the test writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from benchmarks.preference.__main__ import main
from benchmarks.preference.shares import wilson
from common.errors import run_cli

PAGE = "0123abcd"
ITEMS = {
    # id: (prompt set, tokens, condition, its side)
    "a1": ("fiction", 96, "greedy", "left"),
    "a2": ("fiction", 96, "greedy", "right"),
    "a3": ("news", 96, "greedy", "left"),
    "a4": ("fiction-256", 224, "greedy", "left"),
    "b1": ("fiction", 96, "hyperfitted", "right"),
    "b2": ("news", 96, "hyperfitted", "left"),
}
ANNA = {"a1": "right", "a2": "left", "a3": "equal", "a4": "right", "b1": "right", "b2": "right"}
BEN = {"a1": "right", "a2": "left", "a3": "left", "b1": "right", "b2": "equal"}


def item(prompt_set: str, tokens: int, condition: str, side: str, **other: Any) -> dict[str, Any]:
    return {
        "domain": "text",
        "prompt_set": prompt_set,
        "prompt_index": 0,
        "new_tokens": tokens,
        "subject": condition,
        "against": "human",
        "subject_run": "seed0",
        "against_run": "seed0",
        "subject_condition": condition,
        "against_condition": "human",
        "subject_side": side,
    } | other


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    key = {
        "schema": 1,
        "page": PAGE,
        "runs": {"seed0": "runs/seed0"},
        "seed": 0,
        "items": {name: item(*about) for name, about in ITEMS.items()},
    }
    (tmp_path / "page.key.json").write_text(json.dumps(key))
    return tmp_path


def export(folder: Path, annotator: str, choices: dict[str, str], /, **other: Any) -> Path:
    votes = [
        {"item": name, "choice": choice, "milliseconds": 2000} for name, choice in choices.items()
    ]
    content = {
        "schema": 1,
        "kind": "preference votes",
        "page": PAGE,
        "annotator": annotator,
        "votes": votes,
    }
    path = folder / f"votes-{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(content | other))
    return path


def score(*words: object) -> int:
    return run_cli(main, ["score", *map(str, words)])


def test_wilson_against_scipy() -> None:
    for n in (1, 7, 120):
        for successes in {0, 1, n // 3, n}:
            wanted = binomtest(successes, n).proportion_ci(method="wilson")
            found = wilson(successes, n)
            assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
            assert (found.mean, found.n) == (successes / n, n)


def test_shares_agreement_and_strengths(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = export(folder, "Anna", ANNA), export(folder, "Ben", BEN)
    out = folder / "scores" / "scores.json"
    assert score(*files, "--out", out, "--json") == 0
    scores = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == scores
    assert (scores["votes"], scores["items"], scores["items_on_page"]) == (11, 6, 6)
    assert scores["annotators"] == {"Anna": 6, "Ben": 5}
    assert scores["median_seconds"] == 2
    # Left: a2 twice and Ben's a3. Right: a1, a4, b1, b2 of Anna, a1 and b1 of Ben.
    left = scores["left_when_decided"]
    assert (left["mean"], left["n"]) == (pytest.approx(3 / 9), 9)
    rows = {
        (row["condition"], row["prompt_set"]): (
            row["items"],
            row["preferred"],
            row["equal"],
            row["preferred_or_equal"]["mean"],
            row["preferred_or_equal"]["n"],
        )
        for row in scores["shares"]
    }
    assert rows == {
        ("greedy", "all of 96 tokens"): (3, 1, 1, pytest.approx(2 / 6), 6),
        ("greedy", "fiction"): (2, 0, 0, 0, 4),
        ("greedy", "news"): (1, 1, 1, 1, 2),
        ("greedy", "fiction-256"): (1, 0, 0, 0, 1),
        ("hyperfitted", "all of 96 tokens"): (2, 2, 1, pytest.approx(3 / 4), 4),
        ("hyperfitted", "fiction"): (1, 2, 0, 1, 2),
        ("hyperfitted", "news"): (1, 0, 1, 0.5, 2),
    }
    found = scores["domains"]["text"]
    assert found["krippendorff_alpha"]["n"] == 5
    # Pairable votes: left 3, right 5, equal 2; three of five items with the same vote twice.
    wanted = 1 - (4 / 10) / ((100 - 9 - 25 - 4) / 90)
    assert found["krippendorff_alpha"]["mean"] == pytest.approx(wanted)
    # Each condition met human alone: its odds are those of its wins, ties as halves.
    odds = {s["contender"]: s["preferred_to_anchor"] for s in found["strengths"]}
    assert found["anchor"] == "human"
    assert odds == pytest.approx({"hyperfitted": 2.5 / 4, "human": 0.5, "greedy": 1.5 / 7})


def test_the_tables_tell_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(export(folder, "Anna", ANNA), export(folder, "Ben", BEN)) == 0
    printed = capsys.readouterr().out
    assert "11 votes on 6 of 6 items (Anna 6, Ben 5); median 2.0 s a vote." in printed
    assert "| greedy | human | all of 96 tokens | 3 | 6 | 1 | 1 | 33.3 [9.7, 70.0] |" in printed
    assert "over 5 items judged twice or more" in printed
    assert "| human | 11 | 0 | |" in printed
    assert "| 62.5 |" in printed


def test_who_lost_everything_is_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(export(folder, "Anna", ANNA | {"a3": "right", "b2": "left"})) == 0
    printed = capsys.readouterr().out
    assert "Krippendorff's alpha: none" in printed
    assert "| greedy | 4 | no lower limit | |" in printed
    assert "greedy never won" in printed and "hyperfitted never lost" in printed


def test_equal_votes_alone_are_scored(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(export(folder, "Anna", dict.fromkeys(ITEMS, "equal"))) == 0
    printed = capsys.readouterr().out
    assert "Left" not in printed
    assert "| greedy | 4 | 0.00 [0.00, 0.00] | 50.0 |" in printed


def test_domains_are_scored_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = json.loads((folder / "page.key.json").read_text())
    picture = {"domain": "image", "subject": "sampled", "against": "greedy"}
    key["items"] |= {"p1": item("heldout", 48, "sampled", "left", **picture)}
    (folder / "page.key.json").write_text(json.dumps(key))
    assert score(export(folder, "Anna", ANNA | {"p1": "left"}), "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["domains"]["image"]["anchor"] == "sampled"  # no reference was compared
    places = {s["contender"]: s["place"] for s in scores["domains"]["image"]["strengths"]}
    assert places == {"sampled": "finite", "greedy": "below"}
    assert {s["contender"] for s in scores["domains"]["text"]["strengths"]} == {
        "greedy",
        "hyperfitted",
        "human",
    }


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert score(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


VOTE = {"item": "a1", "choice": "left", "milliseconds": 5}
BAD = {
    "another page": ({"page": "ffff"}, "votes on page ffff"),
    "another schema": ({"schema": 2}, "expected schema 1"),
    "another kind": ({"kind": "metrics"}, "what its download button saved"),
    "no name": ({"annotator": " "}, "the annotator's name"),
    "no list": ({"votes": None}, "a list of votes"),
    "no votes": ({"votes": []}, "exports without any"),
    "unknown item": ({"votes": [VOTE | {"item": "zz"}]}, "an unknown one, 'zz'"),
    "unhashable item": ({"votes": [VOTE | {"item": ["a1"]}]}, "an unknown one"),
    "no vote": ({"votes": ["a1"]}, "an unknown one, None"),
    "unknown choice": ({"votes": [VOTE | {"choice": "both"}]}, "got 'both'"),
    "no time": ({"votes": [VOTE | {"milliseconds": float("nan")}]}, "and nan"),
    "twice": ({"votes": [VOTE, VOTE]}, "twice"),
}


@pytest.mark.parametrize(("other", "expected"), BAD.values(), ids=BAD)
def test_exports_that_will_not_do(
    folder: Path, capsys: pytest.CaptureFixture[str], other: dict[str, Any], expected: str
) -> None:
    path = export(folder, "Anna", ANNA, **other)
    assert expected in refused(capsys, path, "--key", folder / "page.key.json")


def test_one_annotator_in_two_files_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = export(folder, "Anna", {"a1": "left"}), export(folder, "anna ", {"a1": "right"})
    assert "one vote per annotator and item" in refused(capsys, *files)
    assert (
        score(export(folder, "Anna", {"a1": "left"}), export(folder, "Anna", {"a2": "left"})) == 0
    )


def test_files_that_cannot_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = export(folder, "Anna", ANNA)
    path.write_text(path.read_text()[:-20])
    assert "not JSON (cut short?)" in refused(capsys, path)
    path.write_text("[]")
    assert "other JSON" in refused(capsys, path)
    assert "cannot be read" in refused(capsys, folder / "nowhere.json")


def test_the_key_is_found_by_its_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    votes = export(folder, "Anna", ANNA)
    key = folder / "page.key.json"
    other = json.loads(key.read_text()) | {"page": "ffff"}
    (folder / "other.key.json").write_text(json.dumps(other))
    assert score(votes) == 0
    assert "votes on page" in refused(capsys, votes, "--key", folder / "other.key.json")
    (folder / "other.key.json").write_text(key.read_text())
    assert "got 2 of them" in refused(capsys, votes)
    (folder / "other.key.json").write_text('{"schema": 1, "page": "x", "items": {"a": {}}}')
    assert "with other content" in refused(capsys, votes, "--key", folder / "other.key.json")
    assert "expected the key of a page" in refused(capsys, votes, "--key", folder / "none.json")


def test_what_is_read_is_not_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    votes = export(folder, "Anna", ANNA)
    before = votes.read_text()
    assert "a file of its own" in refused(capsys, votes, "--out", votes)
    assert votes.read_text() == before
