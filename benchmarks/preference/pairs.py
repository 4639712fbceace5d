"""Which two continuations are compared, and which prompts are drawn for it.

A contest is a pair of conditions; a comparison is a contest on one prompt. Comparisons are dealt
out evenly: every contest gets the same number (give or take one), within a contest every prompt
set, and half of them with the first condition on the left. A prompt comes again only when all
others have been used as often: two pairs with one text in common would give away which side is the
reference.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.domains import DOMAINS, TRUTHS
from benchmarks.preference.read_runs import Prompt, Run, differ_in_seed_alone
from common.errors import UserError
from common.report.names import Methods, condition_label


@dataclass(frozen=True)
class Side:
    """One contender: a condition of a run.

    Attributes:
        run: where its continuations are.
        condition: their name there.
        label: its name in the scores: the condition, of a sampled one with its settings, and the
            run where the runs differ.
    """

    run: Run
    condition: str
    label: str

    def sample(self, prompt: Prompt) -> dict[str, Any]:
        """Its continuation of a prompt, as `samples.jsonl` has it."""
        return self.run.samples[self.condition][prompt]


@dataclass(frozen=True)
class Contest:
    """Two contenders; `against` is the reference where one of them is.

    Attributes:
        subject: the one whose share of "preferred or equal" is reported.
        against: what it is compared with.
    """

    subject: Side
    against: Side

    def prompts(self) -> dict[str, list[Prompt]]:
        """Prompt set -> prompts that both continued.

        Raises:
            UserError: they did not continue the same prompts to the same length.
        """
        ours, theirs = (s.run.samples[s.condition] for s in (self.subject, self.against))
        if _what_was_asked(ours) != _what_was_asked(theirs):
            raise UserError(
                expected="the same prompts, continued to the same length, on both sides of a pair",
                got=f"other ones for {self.subject.condition} in {self.subject.run.name} than for "
                f"{self.against.condition} in {self.against.run.name}",
                fix="pair runs with one configuration of the prompts",
            )
        sets: dict[str, list[Prompt]] = {}
        for prompt in ours:
            sets.setdefault(prompt[0], []).append(prompt)
        return sets


@dataclass(frozen=True)
class Comparison:
    """One question to a person.

    Attributes:
        contest: who is compared.
        prompt: what they continued.
        subject_left: whether the subject stands on the left.
    """

    contest: Contest
    prompt: Prompt
    subject_left: bool


def contests(runs: Sequence[Run], pairs: str | None) -> list[Contest]:
    """All contests: every condition against its run's reference, or the pairs asked for.

    Args:
        runs: what to take conditions from.
        pairs: "a:b,c:d" with a condition, or condition@run, on either side; without a run, every
            run that has both; None for each condition against the reference.

    Raises:
        UserError: a pair that is not one, twice the same, or without such a condition or run.
    """
    if pairs is None:
        found = [
            ((run, condition), (run, DOMAINS[run.domain].reference))
            for run in runs
            for condition in run.samples
            if condition != DOMAINS[run.domain].reference
        ]
        for run in runs:
            _require_condition([run], DOMAINS[run.domain].reference)
    else:
        found = [contest for pair in pairs.split(",") for contest in _resolve(runs, pair.strip())]
    if not found:
        raise UserError(
            expected="a condition to compare", got="the reference alone", fix="choose other runs"
        )
    doubles = Counter(frozenset((run.name, name) for run, name in both) for both in found)
    for both, count in doubles.items():
        if count > 1 or len(both) == 1:
            raise UserError(
                expected="pairs of two different conditions, each pair once",
                got=" and ".join(f"{name}@{run}" for run, name in sorted(both)),
                fix="correct --pairs",
            )
    apart = {
        domain
        for domain in DOMAINS
        if not differ_in_seed_alone([run for run in runs if run.domain == domain])
    } | {first[0].domain for first, second in found if first[0] is not second[0]}

    def side(run: Run, condition: str) -> Side:
        # What people wrote or photographed is the same contender in every run.
        plain = run.domain not in apart or condition in TRUTHS
        # Repeats of one configuration decode in one way; an older one may not have recorded it.
        repeats = (
            [run] if run.domain in apart else [one for one in runs if one.domain == run.domain]
        )
        name = next((_sampled(condition, one.methods) for one in repeats if one.methods), condition)
        return Side(run, condition, name if plain else f"{name}@{run.name}")

    return [Contest(side(*first), side(*second)) for first, second in found]


def draw(
    between: Sequence[Contest], *, items: int | None, most: int, seed: int
) -> list[Comparison]:
    """Deal out comparisons evenly, in random order, one domain after the other.

    Args:
        between: the contests.
        items: how many comparisons; None for `most`, or all where there are fewer.
        most: see `items`.
        seed: of prompts, sides and order.

    Raises:
        UserError: more asked for than there are, or prompts that differ within a contest.
    """
    rng = random.Random(seed)
    waiting: list[list[list[Prompt]]] = []
    for number, contest in enumerate(between):
        sets = list(contest.prompts().values())
        for prompts in sets:
            rng.shuffle(prompts)
        turn = number % len(sets)  # so that no set is served first by every contest
        waiting.append(sets[turn:] + sets[:turn])
    available = sum(len(prompts) for sets in waiting for prompts in sets)
    if items is not None and not 1 <= items <= available:
        raise UserError(
            expected=f"--items between 1 and {available}, the pairs there are",
            got=f"{items}",
            fix="lower --items, or add runs" if items > available else "raise --items",
        )
    wanted = min(most, available) if items is None else items

    used: Counter[tuple[str, str]] = Counter()
    left = [rng.random() < 0.5 for _ in between]
    drawn: list[Comparison] = []
    while len(drawn) < wanted:
        for number, contest in enumerate(between):
            waiting[number] = [prompts for prompts in waiting[number] if prompts]
            if len(drawn) == wanted or not waiting[number]:
                continue
            prompts = waiting[number].pop(0)
            prompt = min(prompts, key=lambda p: used[_text(contest, p)])
            prompts.remove(prompt)
            waiting[number].append(prompts)
            used[_text(contest, prompt)] += 1
            drawn.append(Comparison(contest, prompt, left[number]))
            left[number] = not left[number]
    rng.shuffle(drawn)
    return sorted(drawn, key=lambda one: one.contest.subject.run.domain, reverse=True)


def most_uses(drawn: Sequence[Comparison]) -> int:
    """How often the most used prompt comes."""
    return max(Counter(_text(one.contest, one.prompt) for one in drawn).values())


def _text(contest: Contest, prompt: Prompt) -> tuple[str, str]:
    return contest.subject.run.domain, contest.subject.sample(prompt)["prompt"]


def _what_was_asked(samples: dict[Prompt, dict[str, Any]]) -> dict[Prompt, tuple[str, int]]:
    return {prompt: (s["prompt"], len(s["tokens"])) for prompt, s in samples.items()}


def _sampled(condition: str, methods: Methods) -> str:
    """The label of a sampled condition, which includes its settings; the name of any other."""
    sampled = "temperature" in methods.get(condition, {}).get("settings", {})
    return condition_label(condition, methods) if sampled else condition


def _resolve(runs: Sequence[Run], pair: str) -> list[tuple[tuple[Run, str], tuple[Run, str]]]:
    """The contests of one pair, a reference second."""
    sides = pair.split(":")
    if len(sides) != 2 or not all(sides):
        raise UserError(
            expected="--pairs condition:condition, several with commas between",
            got=f"{pair!r}",
            fix="name two conditions with a colon between",
        )
    references = {domain.reference for domain in DOMAINS.values()}
    if any(side.split("@")[0] in references for side in sides[:1]):
        sides.reverse()
    names = [side.partition("@")[::2] for side in sides]
    given = [run_name for _, run_name in names if run_name]
    if not given:
        both = [run for run in runs if all(name in run.samples for name, _ in names)]
        if not both:
            for name, _ in names:
                _require_condition(runs, name)
            raise UserError(
                expected=f"a run with both conditions of {pair!r}",
                got="none",
                fix="name the runs: condition@run:condition@run",
            )
        return [((run, names[0][0]), (run, names[1][0])) for run in both]
    known = {run.name: run for run in runs}
    for run_name in given:
        if run_name not in known:
            raise UserError(
                expected=f"a run among {', '.join(known)}",
                got=f"{run_name!r}",
                fix="correct --pairs",
            )
    first, second = ((known[run_name or given[0]], name) for name, run_name in names)
    for run, name in (first, second):
        _require_condition([run], name)
    return [(first, second)]


def _require_condition(runs: Sequence[Run], name: str) -> None:
    known = list(dict.fromkeys(condition for run in runs for condition in run.samples))
    if name not in known:
        raise UserError(
            expected=f"a condition among {', '.join(known)}",
            got=f"{name!r}",
            fix="choose one that the run has samples of",
        )
