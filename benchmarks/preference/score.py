"""Score the votes on a page: shares with intervals, agreement of annotators, strengths.

Votes count as independent in the Wilson intervals; where several annotators judged the same items
these are too narrow. The bootstrap intervals resample whole items.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.domains import DOMAINS
from benchmarks.preference.bradley_terry import bradley_terry, remarks
from benchmarks.preference.key import SCHEMA, Key, read_key
from benchmarks.preference.krippendorff import krippendorff_alpha
from benchmarks.preference.shares import shares, wilson
from benchmarks.preference.votes import CHOICES, Vote, find_key, read_votes
from common.errors import UserError
from common.measure.intervals import in_words
from common.tools.files import atomic_write_text, writing
from common.tools.values import path_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `score`."""
    parser.add_argument(
        "files", nargs="+", type=path_argument, metavar="FILE", help="exported votes"
    )
    parser.add_argument(
        "--key",
        type=path_argument,
        metavar="PAGE.key.json",
        help="default: the one beside the first FILE",
    )
    parser.add_argument(
        "--out", type=path_argument, metavar="FILE.json", help="also write the scores"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(options: argparse.Namespace) -> int:
    """Print the scores, and write them where asked.

    Raises:
        UserError: votes or a key that cannot be used.
    """
    key_path: Path = options.key or find_key(options.files[0])
    out: Path | None = options.out
    read = {os.path.realpath(path) for path in (key_path, *options.files)}
    if out and os.path.realpath(out) in read:
        raise UserError(
            expected="--out to be a file of its own",
            got=f"{str(out)!r}, which is read",
            fix="choose another --out",
        )
    key = read_key(key_path)
    scores = score(read_votes(options.files, key), key)
    text = json.dumps(scores, indent=1, allow_nan=False, ensure_ascii=False)
    if out:
        with writing(out.parent):
            out.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(out, text + "\n")
    print(text if options.json else tables(scores))
    return 0


def score(votes: Sequence[Vote], key: Key) -> dict[str, Any]:
    """All scores of some votes, as JSON."""
    rows = shares(votes)
    decided = [vote.choice for vote in votes if vote.choice != "equal"]
    domains = list(dict.fromkeys(vote.item.domain for vote in votes))
    return {
        "schema": SCHEMA,
        "page": key.page,
        "runs": dict(key.runs),
        "votes": len(votes),
        "items": len({vote.name for vote in votes}),
        "items_on_page": len(key.items),
        "annotators": dict(Counter(vote.annotator for vote in votes)),
        "median_seconds": median(vote.seconds for vote in votes),
        # Sides are random, so this is one half but for chance, or a habit of the hand.
        "left_when_decided": wilson(decided.count("left"), len(decided)).to_json()
        if decided
        else None,
        "shares": [row.to_json() for row in rows],
        "domains": {
            domain: _domain([v for v in votes if v.item.domain == domain], domain)
            for domain in domains
        },
    }


def _domain(votes: Sequence[Vote], domain: str) -> dict[str, Any]:
    """Agreement and strengths within a domain: only its own contenders are compared."""
    names = {name: row for row, name in enumerate(dict.fromkeys(v.name for v in votes))}
    # Annotators see sides, not conditions, so what they may agree on by chance is the side.
    counts_UC = np.zeros((len(names), len(CHOICES)))
    for vote in votes:
        counts_UC[names[vote.name], CHOICES.index(vote.choice)] += 1
    alpha = krippendorff_alpha(counts_UC)

    games = Counter(label for v in votes for label in (v.item.subject, v.item.against))
    labels = list(games)
    wins_IKK = np.zeros((len(names), len(labels), len(labels)))
    for vote in votes:
        i, j = labels.index(vote.item.subject), labels.index(vote.item.against)
        wins_IKK[names[vote.name], i, j] += vote.preferred
        wins_IKK[names[vote.name], j, i] += 1 - vote.preferred
    reference = DOMAINS[domain].reference
    anchor = reference if reference in games else max(labels, key=lambda label: games[label])
    strengths = bradley_terry(wins_IKK, labels, anchor=labels.index(anchor))
    return {
        "krippendorff_alpha": alpha.to_json() if alpha else None,
        "anchor": anchor,
        "strengths": [s.to_json() | {"votes": games[s.contender]} for s in strengths],
        "remarks": remarks(strengths, anchor),
    }


def tables(scores: dict[str, Any]) -> str:
    """The scores as Markdown."""
    annotators = ", ".join(f"{name} {count}" for name, count in scores["annotators"].items())
    lines = [
        f"{scores['votes']} votes on {scores['items']} of {scores['items_on_page']} items "
        f"({annotators}); median {scores['median_seconds']:.1f} s a vote."
    ]
    if scores["left_when_decided"]:
        lines.append(f"Left, of the votes for a side: {in_words(scores['left_when_decided'])}.")
    for domain, found in scores["domains"].items():
        lines += ["", f"## {domain}", ""]
        lines += [
            "| condition | against | prompts | items | votes | preferred | equal "
            "| preferred or equal, % [Wilson 95 %] |",
            "|---|---|---|--:|--:|--:|--:|--:|",
        ]
        for row in scores["shares"]:
            if row["domain"] == domain:
                share = row["preferred_or_equal"]
                percent = [f"{100 * share[end]:.1f}" for end in ("mean", "low", "high")]
                lines.append(
                    f"| {row['condition']} | {row['against']} | {row['prompt_set']} "
                    f"| {row['items']} | {share['n']} | {row['preferred']} | {row['equal']} "
                    f"| {percent[0]} [{percent[1]}, {percent[2]}] |"
                )
        lines += ["", _agreement(found["krippendorff_alpha"]), ""]
        lines += [
            "| contender | votes | Bradley-Terry log strength [bootstrap 95 %] "
            f"| preferred to {found['anchor']}, % |",
            "|---|--:|--:|--:|",
        ]
        lines += [_strength(row, found["anchor"]) for row in found["strengths"]]
        if found["remarks"]:
            lines += ["", *found["remarks"]]
    return "\n".join(lines)


def _agreement(alpha: dict[str, Any] | None) -> str:
    if alpha is None:
        return (
            "Krippendorff's alpha: none; it needs items that two annotators judged, and votes that "
            "are not all alike."
        )
    return f"Krippendorff's alpha: {in_words(alpha)} over {alpha['n']} items judged twice or more."


def _strength(row: dict[str, Any], anchor: str) -> str:
    words = {"above": "no upper limit", "below": "no lower limit", "unconnected": "unconnected"}
    if row["place"] != "finite":
        return f"| {row['contender']} | {row['votes']} | {words[row['place']]} | |"
    if row["contender"] == anchor:
        return f"| {anchor} | {row['votes']} | 0 | |"
    low = "−∞" if row["low"] is None else f"{row['low']:z.2f}"
    high = "∞" if row["high"] is None else f"{row['high']:z.2f}"
    return (
        f"| {row['contender']} | {row['votes']} | {row['log_strength']:z.2f} [{low}, {high}] "
        f"| {100 * row['preferred_to_anchor']:.1f} |"
    )
