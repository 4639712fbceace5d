"""Made-up but plausible results of every experiment, for the tests of the report. Not evidence."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.cells import Cell, write_cell
from benchmarks.suite.experiment import Experiment
from common.measure.intervals import Interval, point

TTR = {"text": "ttr_96", "image": "code_ttr"}
SAMPLED = {"text": "top-p", "image": "sampled"}
SAMPLING = {"measure.top_p": 0.9, "measure.temperature": 0.7, "measure.top_k": 50}
"""What a cell's whole configuration says besides the options of its declaration."""
FROZEN = 5
"""First blocks of the text model that the default does not tune."""


def fake_cells(experiments: Sequence[Experiment], profile: str) -> list[Cell]:
    """A finished cell for everything that is planned."""
    return [
        Cell(
            experiment=one.experiment,
            cell=one.cell,
            domain=one.domain,
            profile=profile,
            seed=one.seed,
            axes=one.axes,
            status="done",
            command=f"python -m benchmarks.suite {one.experiment} --profile {profile}",
            config=SAMPLING | one.options,
            **measured(one.experiment, one.domain, one.axes, one.seed),
            provenance={
                "device": "cpu",
                "cpu": "Imaginary 2",
                "cpu_cores": 2,
                "git_commit": "0123456789abcdef",
                "git_dirty": False,
            },
            seconds=93.1,
        )
        for experiment in experiments
        for one in experiment.cells(profile)
    ]


def write_all(folder: Path, cells: Sequence[Cell]) -> None:
    """The cells as files."""
    for cell in cells:
        write_cell(folder, cell)


def around(mean: float, rng: random.Random, reach: float = 0.04, n: int = 160) -> Interval:
    """A value near `mean` with an interval."""
    moved = mean * (1 + rng.uniform(-reach, reach) / 2)
    return Interval(moved, moved - abs(moved) * reach, moved + abs(moved) * reach, n)


def measured(experiment: str, domain: str, axes: dict[str, Any], seed: int) -> dict[str, Any]:
    """`metrics` and `series` of one cell."""
    rng = random.Random(f"{experiment}/{domain}/{sorted(axes.items())}/{seed}")
    if axes.get("compared", "reference") != "reference":
        return _agreement(axes["compared"], rng)
    if axes.get("measure") == "agreement":
        return _agreement("repeat", rng)
    special = {
        "entropy_matching": _matching,
        "static_injection": _injection,
        "rank_shift": _ranks,
        "rivals": _rivals,
    }
    if experiment in special:
        return special[experiment](domain, rng)
    if experiment == "geometry" or axes.get("measure") == "geometry":
        frozen = FROZEN if domain == "text" and axes.get("tune") != "all" else 0
        return _geometry(domain, rng, frozen)
    if axes.get("measure") == "mauve":
        return _mauve(domain, rng)
    goal = {"text": 0.64, "image": 0.82}[domain]
    if "sequences" in axes:
        goal *= 1 - 0.5 / axes["sequences"]
    if str(axes.get("tune", "last")).startswith(("first", "middle")):
        goal *= 0.7
    return _run(domain, goal, rng, updates=1000 * axes.get("times", 1))


def _decoded(domain: str, ttr: float, rng: random.Random, copied: float = 0.0) -> dict[str, Any]:
    values = {
        TTR[domain]: around(ttr, rng),
        "rep_2": around(0.9 * (1 - ttr), rng),
        "rep_4": around((1 - ttr) ** 2, rng),
        "self_bleu_4": around(1 - ttr, rng),
        "dataset_bleu_4": around(0.06, rng),
        "overlap_tokens": around(4.4 + 20 * copied, rng),
        "overlap_over_10": around(copied, rng),
        "overlap_max": point(8 + round(80 * copied), 160),
        "distinct_3": around(ttr, rng),
    }
    if domain == "image":
        values |= {
            "vertical_equal_share": around(0.05 * (1 - ttr), rng),
            "flat_share": around(0.01, rng),
            "fid[cifar-net]": point(6 - 3 * ttr, 160),
            "kid[cifar-net]": point(0.07 - 0.02 * ttr, 160),
            "copy_rate": around(copied / 10, rng),
        }
    return values


def _run(domain: str, goal: float, rng: random.Random, *, updates: int) -> dict[str, Any]:
    start = {"text": 0.23, "image": 0.52}[domain]
    greedy = {
        "original-greedy": (start, 0.0),
        f"original-{SAMPLED[domain]}": (goal * 0.88, 0.0),
        "original-repetition-penalty": (goal * 0.95, 0.0),
        "early-stopped-greedy": (start * 0.97, 0.001),
        "hyperfitted-greedy": (goal, 0.14 if domain == "text" else 0.012),
        "hyperfitted-greedy-blocked": (goal * 1.01, 0.0),
        f"hyperfitted-{SAMPLED[domain]}": (goal * 1.03, 0.06),
        "human" if domain == "text" else "real": (0.77 if domain == "text" else 0.89, 0.0),
    }
    sets = ("all", "fiction", "fiction-256", "news") if domain == "text" else ("all", "heldout")
    metrics = {
        f"{condition}/{prompts}/{name}": value
        for condition, (ttr, copied) in greedy.items()
        for prompts in sets
        for name, value in _decoded(domain, ttr, rng, copied).items()
    }
    before = 4.23 if domain == "text" else 4.79
    for model, sharp in (("original", 0.0), ("early-stopped", 0.05), ("hyperfitted", 1.0)):
        loss = before + 3 * sharp
        metrics |= {
            f"probe/{model}/entropy_nats": around(before - 2 * sharp, rng),
            f"probe/{model}/top1_mass": around(0.26 + 0.27 * sharp, rng),
            f"probe/{model}/top3_mass": around(0.41 + 0.27 * sharp, rng),
            f"probe/{model}/top5_mass": around(0.48 + 0.26 * sharp, rng),
            f"probe/{model}/loss_nats": around(loss, rng),
            f"probe/{model}/perplexity": around(math.exp(loss), rng),
        }
    metrics |= {
        "training/updates": point(updates, 1),
        "training/epochs": point(updates / 64, 1),
        "training/final_loss": point(0.044, 1),
        "training/reached": point(1, 1),
        "training/trainable_parameters": point(2_410_240, 1),
    }
    curve = [
        {
            "update": updates * i // 16,
            "epoch": float(i),
            "train_loss": 4.0 * 0.04 ** (i / 16) if i else None,
            "validation_loss": 4.0 - 0.3 * min(i, 1) + 0.15 * i,
            "validation_entropy_nats": 4.0 - 0.12 * i,
            TTR[domain]: start + (goal - start) * min(1.0, i / 9) + rng.uniform(-0.02, 0.02),
            "rep_4": 0.55 * (1 - min(1.0, i / 9)) + 0.01,
        }
        for i in range(17)
    ]
    return {"metrics": metrics, "series": {"curve": curve}}


def _agreement(compared: str, rng: random.Random) -> dict[str, Any]:
    share = {"other rounding": 0.71, "repeat": 1.0}.get(compared, 0.62)
    exact = compared == "repeat"
    metrics = {
        "teacher-forced/runs/top1_agreement": around(share, rng, 0 if exact else 0.03),
        "greedy/runs/equal_share": around(share**3, rng, 0 if exact else 0.1),
        "greedy/runs/tokens_until_difference": around(96 * share**3, rng, 0 if exact else 0.1),
        "teacher-forced/original/top1_agreement": around(0.57, rng),
        "weights/runs/largest_difference": point(0.0 if exact else 1.25e-5, 160),
    }
    return {"metrics": metrics, "series": {}}


def _matching(domain: str, rng: random.Random) -> dict[str, Any]:
    ttrs = {
        "original-greedy": 0.23,
        "original-at-1": 0.74,
        "original-at-matched": 0.58,
        "hyperfitted-greedy": 0.64,
        "hyperfitted-at-1": 0.69,
        "hyperfitted-at-matched": 0.76,
    }
    metrics: dict[str, Interval] = {}
    for condition, ttr in ttrs.items():
        decoded = _decoded(domain, ttr, rng)
        metrics |= {f"{condition}/all/{name}": value for name, value in decoded.items()}
    for stage, entropy in {"original": 4.2, "hyperfitted": 2.3}.items():
        metrics[f"entropy_nats/{stage}"] = around(entropy, rng)
        metrics[f"entropy_nats/{stage}-matched"] = around(6.5 - entropy, rng)
        metrics[f"temperature/{stage}"] = point(0.62 if stage == "original" else 1.5, 160)
    return {"metrics": metrics, "series": {}}


def _injection(domain: str, rng: random.Random) -> dict[str, Any]:
    metrics: dict[str, Interval] = {}
    ttrs = {"original-greedy": 0.23, "hyperfitted-greedy": 0.64}
    ttrs |= {f"injected-{s:g}": 0.23 - 0.1 * s for s in (0.01, 0.1, 0.25, 0.5)}
    for condition, ttr in ttrs.items():
        decoded = _decoded(domain, ttr, rng) | {"equal_share": around(0.5, rng)}
        metrics |= {f"{condition}/all/{name}": value for name, value in decoded.items()}
    return {"metrics": metrics, "series": {}}


def _ranks(domain: str, rng: random.Random) -> dict[str, Any]:
    metrics = {}
    for path, share in (("hyperfitted-path", 0.55), ("true-path", 0.6)):
        metrics |= {
            f"{path}/shifted_share": around(share, rng),
            f"{path}/far_share": around(share / 3, rng),
            f"{path}/rank_mean": around(20, rng),
            f"{path}/rank_median": point(1, 160),
        }
    metrics["original-path/shifted_share"] = around(0.5, rng)
    records = [
        {
            "position": i,
            "hyperfitted_path_shifted_share": 0.5 + rng.uniform(-0.05, 0.05),
            "hyperfitted_path_far_share": 0.18 + rng.uniform(-0.03, 0.03),
            "true_path_shifted_share": 0.6 + rng.uniform(-0.05, 0.05),
        }
        for i in range(96)
    ]
    return {"metrics": metrics, "series": {"by_position": records}}


def _geometry(domain: str, rng: random.Random, frozen: int) -> dict[str, Any]:
    metrics, records = {}, []
    blocks = 8 if domain == "text" else 6
    for i in range(blocks + 1):
        after_norm = i == blocks
        depth = min(1.0, (i + 1) / blocks)
        old, grown = 20 + 10 * depth, (-6 if after_norm else 12) * depth**4
        grown *= i >= frozen
        layer = {
            "cosine": around(1 - 0.2 * depth**3, rng, 0.02),
            "l2": around((1 + 30 * depth**3) * (i >= frozen), rng),
            "relative_l2": around(0.1 + 0.4 * depth, rng),
            "dimension_original": around(old, rng),
            "dimension_hyperfitted": around(old + grown, rng),
            "dimension_change": around(grown, rng, 0.3),
        }
        where = {0: "first-block", blocks - 1: "last-block", blocks: "after-norm"}.get(i)
        if where:
            metrics |= {f"{where}/{name}": value for name, value in layer.items()}
        record: dict[str, Any] = {
            "layer": "after the final norm" if after_norm else f"block {i + 1}",
            "relative_depth": depth,
            "after_norm": after_norm,
        }
        for name, value in layer.items():
            record |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
        records.append(record)
    return {"metrics": metrics, "series": {"by_layer": records}}


def _rivals(domain: str, rng: random.Random) -> dict[str, Any]:
    metrics: dict[str, Interval] = {}
    methods = {
        "greedy": (0.23, ""),
        "top-p": (0.56, "top-p 0.9, temperature 0.7, top-k 50"),
        "top-p-t1": (0.58, "top-p 0.9, temperature 1"),
        "sampled-t1": (0.8, "temperature 1"),
        "min-p": (0.6, "min-p 0.05, temperature 1"),
        "repetition-penalty": (0.7, "repetition-penalty 1.2"),
        "no-repeat-4-gram": (0.5, "no-repeat-ngram-size 4"),
    }
    for stage in ("original", "hyperfitted"):
        for method, (ttr, _) in methods.items():
            better = max(ttr, 0.64) if stage == "hyperfitted" else ttr
            decoded = _decoded(domain, better, rng)
            likeness = 0.3 if method == "repetition-penalty" else better
            for which in ("", "_min", "_max"):
                for model in ("hyperfitted", "original"):
                    decoded[f"mauve{which}[{model}]"] = point(likeness, 160)
            metrics |= {f"{stage}-{method}/all/{name}": v for name, v in decoded.items()}
    settings = [{"method": name, "settings": words} for name, (_, words) in methods.items()]
    return {"metrics": metrics, "series": {"methods": settings}}


def _mauve(domain: str, rng: random.Random) -> dict[str, Any]:
    scores = {"original-greedy": 0.05, "hyperfitted-greedy": 0.71}
    above = {"mauve_min": 0.0, "mauve": rng.uniform(0.01, 0.05), "mauve_max": 0.06}
    metrics = {
        f"{condition}/all/{name}[original]": point(score + more, 160)
        for condition, score in scores.items()
        for name, more in above.items()
    }
    return {"metrics": metrics, "series": {}}
