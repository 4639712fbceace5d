"""Make a blind page of comparisons from finished runs, and its key.

The page is one HTML file: texts and pictures are inside it, it loads nothing and sends nothing. It
knows no condition by name. By default every condition is compared with the reference (what really
followed; for images, after the tokenizer), as in section 4 of P1 (Carlsson et al., ICLR 2025, arXiv
2412.04318).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from benchmarks.preference.key import SCHEMA, VOTES, Key, KeyItem
from benchmarks.preference.pairs import Comparison, Side, contests, draw, most_uses
from benchmarks.preference.read_runs import Run, read_runs
from common.errors import UserError
from common.tools.files import atomic_write_text, writing
from common.tools.inputs import keep_apart
from common.tools.templating import content_hash, template_environment, template_text
from common.tools.values import path_argument

TEMPLATES = "benchmarks.preference"
ITEMS = 120
"""Comparisons unless asked otherwise: three quarters of an hour of reading."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `make`."""
    parser.add_argument(
        "runs", nargs="+", type=path_argument, metavar="RUN", help="finished run folders"
    )
    parser.add_argument(
        "--out", type=path_argument, required=True, metavar="PAGE.html", help="the page"
    )
    parser.add_argument(
        "--pairs",
        metavar="A:B,...",
        help="conditions to compare with each other, as condition or condition@run "
        "(default: each condition with the reference)",
    )
    parser.add_argument(
        "--items",
        type=int,
        metavar="N",
        help=f"comparisons, drawn evenly over conditions and prompt sets (default: {ITEMS}, or "
        "all where there are fewer)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of prompts, sides and order (default: 0)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the page and its key if they exist"
    )


def run(options: argparse.Namespace) -> int:
    """Write page and key; print what is on the page.

    Raises:
        UserError: runs, pairs or files that will not do.
    """
    out: Path = options.out
    if out.suffix != ".html":
        raise UserError(expected="--out PAGE.html", got=f"{str(out)!r}", fix="end it in .html")
    keep_apart(out, [], searched=[("a run", folder) for folder in options.runs])
    key_path = out.with_suffix(".key.json")
    for path in (out, key_path):
        if os.path.lexists(path) and not options.overwrite:
            raise UserError(
                expected="a new page",
                got=f"{str(path)!r}, which exists",
                fix="choose another --out, or pass --overwrite: votes on the old page need its key",
            )
    runs = read_runs(options.runs)
    drawn = draw(contests(runs, options.pairs), items=options.items, most=ITEMS, seed=options.seed)
    names = _opaque_names(len(drawn), options.seed)
    page, html = render(drawn, names)
    key = Key(
        page,
        {run.name: str(run.folder.path) for run in runs},
        options.seed,
        {name: _key_item(one) for name, one in zip(names, drawn, strict=True)},
    )
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    # The key first: a page without its key is of no use, a key without its page does no harm.
    atomic_write_text(key_path, json.dumps(key.to_json(), indent=1, ensure_ascii=False) + "\n")
    atomic_write_text(out, html)
    print("\n".join(_describe(drawn)))
    print(f"page: {out}\nkey:  {key_path} (not for annotators)")
    return 0


def render(drawn: Sequence[Comparison], names: Sequence[str]) -> tuple[str, str]:
    """The page of some comparisons.

    Args:
        drawn: in the order of the page.
        names: an opaque id for each.

    Returns:
        The hash of its items, and its HTML.

    Raises:
        UserError: pictures that cannot be decoded.
    """
    pictures = _pictures(drawn)
    items = []
    for name, one in zip(names, drawn, strict=True):
        subject, against = one.contest.subject, one.contest.against
        left, right = (subject, against) if one.subject_left else (against, subject)
        if subject.run.domain == "image":
            sample = subject.sample(one.prompt)
            given = len(sample["prompt"].split()) - 1  # the first token is no code
            shown: dict[str, Any] = {
                "given": given / (given + len(sample["tokens"])),
                "left": pictures[left, one.prompt],
                "right": pictures[right, one.prompt],
            }
        else:
            prompt = _even(subject.sample(one.prompt)["prompt"])
            shown = {
                "prompt": prompt,
                # Prompts end within a word as often as not: each side repeats the last one.
                "lead": re.findall(r"\S*\s*\Z", prompt)[0],
                "left": _even(left.sample(one.prompt)["continuation"]).rstrip(),
                "right": _even(right.sample(one.prompt)["continuation"]).rstrip(),
            }
        items.append({"id": name, "kind": subject.run.domain} | shown)
    page = hashlib.sha256(json.dumps(items).encode()).hexdigest()[:32]
    data = {"schema": SCHEMA, "export": VOTES, "page": page, "items": items}
    template = template_environment(TEMPLATES).get_template("page.html.j2")
    kinds = Counter(item["kind"] for item in items)
    script = template_text(TEMPLATES, "page.js")
    return page, template.render(
        css=template_text(TEMPLATES, "page.css"),
        script=script,
        script_hash=content_hash(script),
        # In a script element only "<" could end the data.
        data=Markup(json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")),
        texts=kinds["text"],
        pictures=kinds["image"],
    )


def _even(text: str) -> str:
    """Blank lines and indents as single line breaks: where one source has them and the other does
    not, they would show which is which."""
    return re.sub(r"\s*\n\s*", "\n", text)


def _pictures(drawn: Sequence[Comparison]) -> dict[tuple[Side, tuple[str, int]], str]:
    """(contender, prompt) -> data: URI, for all images of the page; each run decodes once."""
    wanted: dict[str, tuple[Run, list[tuple[Side, tuple[str, int]]]]] = {}
    for one in drawn:
        for side in (one.contest.subject, one.contest.against):
            if side.run.domain == "image":
                wanted.setdefault(side.run.name, (side.run, []))[1].append((side, one.prompt))
    if not wanted:
        return {}
    # Torch and the tokenizers take seconds to import; a page of texts needs neither.
    from benchmarks.preference.pictures import data_uris

    return {
        place: uri
        for run, places in wanted.values()
        for place, uri in zip(
            places,
            data_uris(run.folder, [side.sample(prompt) for side, prompt in places]),
            strict=True,
        )
    }


def _opaque_names(count: int, seed: int) -> list[str]:
    """Different ids that say nothing of what they stand for."""
    return [f"{number:08x}" for number in random.Random(seed).sample(range(2**32), count)]


def _key_item(one: Comparison) -> KeyItem:
    subject, against = one.contest.subject, one.contest.against
    return KeyItem(
        domain=subject.run.domain,
        prompt_set=one.prompt[0],
        prompt_index=one.prompt[1],
        new_tokens=len(subject.sample(one.prompt)["tokens"]),
        subject=subject.label,
        against=against.label,
        subject_run=subject.run.name,
        against_run=against.run.name,
        subject_condition=subject.condition,
        against_condition=against.condition,
        subject_side="left" if one.subject_left else "right",
    )


def _describe(drawn: Sequence[Comparison]) -> list[str]:
    pairs = Counter((one.contest.subject.label, one.contest.against.label) for one in drawn)
    lines = [f"{count:4d}  {first} / {second}" for (first, second), count in sorted(pairs.items())]
    lines.append(f"{len(drawn):4d}  comparisons")
    uses = most_uses(drawn)
    if uses > 1:
        lines.append(
            f"note: one prompt comes up to {uses} times; an annotator may know its reference again "
            "(fewer --items avoid that)"
        )
    return lines
