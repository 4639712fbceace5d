"""The declarations: every shipped one plans runs that exist, and a wrong one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.suite.declarations import FOLDER, load_experiments, load_profiles
from benchmarks.suite.experiment import pick_experiments
from benchmarks.suite.plan import plan_jobs
from common.errors import UserError

NAMES = [
    "main", "learning_curve", "sharpness", "copying", "data_order", "data_source", "data_quantity",
    "entropy_matching", "static_injection", "rank_shift", "geometry", "where_to_tune", "longer",
    "rivals", "domains",
]  # fmt: skip
PROFILES = {
    "quick": {"label": "q", "seeds": [0], "text": {"data.sequences": 64}},
    "full": {"label": "f", "seeds": [0, 1]},
}
LIKE = {"label": "l", "seeds": [0], "like": "quick"}
PLAIN = {
    "number": 1,
    "title": "t",
    "question": "q",
    "domains": ["text"],
    "paper": [],
    "cells": [{}],
}


def declare(folder: Path, name: str = "one", profiles: Any = PROFILES, **changes: Any) -> Path:
    (folder / "profiles.yaml").write_text(yaml.safe_dump(profiles, sort_keys=False))
    declared = {k: v for k, v in (PLAIN | changes).items() if v != "gone"}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    return folder


def test_the_shipped_experiments_in_their_order() -> None:
    experiments = load_experiments()
    assert [e.name for e in experiments] == NAMES
    assert [e.number for e in experiments] == list(range(1, 16))
    assert list(load_profiles()) == ["quick", "small", "full"]
    for experiment in experiments:
        assert experiment.question.endswith("?") and experiment.title
        assert experiment.paper and all(f["source"] for f in experiment.paper)
    for name in NAMES:
        path = FOLDER / f"{name}.yaml"
        assert path.with_suffix(".py").is_file()
        head = path.read_text(encoding="utf-8")
        assert head.startswith("# ") and "# Against " in head and "would count" in head


def test_shipped_options_are_known_and_runs_are_shared() -> None:
    jobs = plan_jobs(load_experiments(), "quick")
    runs = {job.name: job.run.name for job in jobs}
    for domain, tuned in (("text", "last-3"), ("image", "all")):
        main = runs[f"main/{domain}-seed0"]
        for name in NAMES:
            if name in ("data_source", "data_quantity", "longer"):
                continue
            assert any(run == main for job, run in runs.items() if job.startswith(f"{name}/")), name
        assert runs[f"where_to_tune/{domain}-{tuned}-full-seed0"] == main
        order = {job: run for job, run in runs.items() if job.startswith(f"data_order/{domain}")}
        assert len(set(order.values())) == len(order)  # the identical repeat is another run
        assert (
            runs[f"longer/{domain}-1-seed0"]
            == runs[f"data_quantity/{domain}-64-updates-seed0"]
            == runs[f"data_quantity/{domain}-64-epochs-seed0"]
        )
    assert len(set(runs.values())) < 40 < len(runs)
    full = load_profiles()["full"]
    # The defaults, but for what was the default when the first of its cells were made.
    as_before: dict[str, Any] = {"train.validate_every_epochs": 1, "train.checkpoint_every": 200}
    as_before["train.save_dtype"] = "fp32"
    assert full.seeds == (0, 1, 2) and full.options == {"text": as_before, "image": as_before}


def test_an_order_s_seed_is_no_run_s_seed() -> None:
    (order,) = pick_experiments(load_experiments(), ["data_order"])
    for cell in order.cells("full"):
        assert cell.options.get("train.order_seed") not in load_profiles()["full"].seeds


def test_layers_of_options(tmp_path: Path) -> None:
    base = {"all": {"a": 1, "b": 1, "c": 1, "d": 1}, "quick": {"all": {"c": 2}}}
    cell = {"axes": {"n": 8, "how": "Big one"}, "text": {"d": 3}, "quick": {"text": {"e": 4}}}
    profiles = PROFILES | {"quick": {"label": "q", "seeds": [7], "text": {"a": 0, "z": 0}}}
    folder = declare(tmp_path, profiles=profiles, base=base, cells=[cell])
    (experiment,) = load_experiments(folder)
    (quick,) = experiment.cells("quick")
    assert quick.options == {"a": 1, "b": 1, "c": 2, "d": 3, "e": 4, "z": 0, "seed": 7}
    assert quick.cell == "text-8-big-one-seed7"
    assert quick.key == ("one", "text", (("how", "Big one"), ("n", 8)))
    assert [c.seed for c in experiment.cells("full")] == [0, 1]
    assert experiment.cells("full")[0].options["c"] == 1


def test_a_profile_like_another_differs_in_its_seeds(tmp_path: Path) -> None:
    profiles = {**PROFILES, "small": {"label": "s", "seeds": [3, 4], "like": "quick"}}
    cells = [
        {"axes": {"n": 1}, "quick": {"text": {"a": 1}}, "profiles": ["quick"]},
        {"axes": {"n": 2}, "profiles": ["full"]},
    ]
    (experiment,) = load_experiments(declare(tmp_path, profiles=profiles, cells=cells))
    small, (quick,) = experiment.cells("small"), experiment.cells("quick")
    assert [cell.cell for cell in small] == ["text-1-seed3", "text-1-seed4"]
    assert small[0].options == quick.options | {"seed": 3} and small[0].profile == "small"
    cells.append({"axes": {"n": 3}, "quick": {"text": {"a": 3}}, "profiles": ["small"]})
    (experiment,) = load_experiments(declare(tmp_path, profiles=profiles, cells=cells))
    assert [cell.cell for cell in experiment.cells("quick")] == [quick.cell]
    named = experiment.cells("small")[-1]
    assert (named.cell, named.options["a"]) == ("text-3-seed4", 3)


def test_comparisons_profiles_and_domains(tmp_path: Path) -> None:
    folder = declare(
        tmp_path,
        domains=["text", "image"],
        analysis="agreement",
        analysis_options={"k": 1},
        against={"n": 1},
        cells=[
            {"axes": {"n": 1}},
            {"axes": {"n": 2}, "analysis_options": {"j": 2}},
            {"axes": {"n": 3}, "profiles": ["full"], "domains": ["image"], "analysis": "mauve"},
        ],
    )
    (experiment,) = load_experiments(folder)
    plain, compared = experiment.cells("quick")[:2]
    assert (plain.analysis, plain.compared_with, plain.analysis_options) == (None, None, {})
    assert (compared.analysis, compared.compared_with) == ("agreement", "text-1-seed0")
    assert compared.analysis_options == {"k": 1, "j": 2}
    assert len(experiment.cells("quick")) == 4 and len(experiment.cells("full")) == 2 * (2 + 3)
    assert experiment.cells("full")[-1].analysis == "mauve"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "unknown 'colour'"),
        ({"title": "gone"}, "no 'title'"),
        ({"number": "gone"}, "no 'number'"),
        ({"number": 0}, "whole number from 1"),
        ({"number": True}, "whole number from 1"),
        ({"name": "One"}, "got 'One'; rename the file"),
        ({"cells": [{"axis": {}}]}, "unknown 'axis'"),
        ({"cells": [{"quick": {"texts": {}}}]}, "unknown 'texts'"),
        ({"cells": [3]}, "got 3"),
        ({"base": {"axes": {}}}, "unknown 'axes'"),
        ({"paper": [{"what": "w", "value": 1}]}, "no 'source'"),
        ({"domains": ["sound"]}, "domains among text, image"),
        ({"cells": [{"domains": ["image"]}]}, "domains among text"),
        ({"cells": [{"profiles": ["slow"]}]}, "profiles among quick, full"),
        ({"cells": [{}, {}]}, "text-seed0 twice"),
        ({"against": {"n": 1}, "cells": [{"axes": {"n": 2}}]}, "'n': 1"),
        ({"profiles": {"quick": {"seeds": [0]}}}, "no 'label'"),
        ({"profiles": {"quick": {"label": "", "seeds": [], "sound": {}}}}, "unknown 'sound'"),
        ({"profiles": PROFILES | {"s": LIKE | {"like": "slow"}}}, "like among quick, full, s"),
        ({"profiles": PROFILES | {"s": LIKE | {"text": {"a": 1}}}}, "options beside it"),
        ({"profiles": PROFILES | {"s": LIKE, "t": LIKE | {"like": "s"}}}, "s, which is like quick"),
        ({"profiles": [1]}, "expected a mapping in profiles.yaml"),
    ],
)
def test_a_wrong_declaration_is_refused(tmp_path: Path, changes: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_experiments(declare(tmp_path, **changes))


def test_order_is_by_number_and_a_number_is_given_once(tmp_path: Path) -> None:
    declare(tmp_path, name="first", number=2)
    declare(tmp_path, name="second", number=1)
    assert [e.name for e in load_experiments(tmp_path)] == ["second", "first"]
    with pytest.raises(UserError, match=r"second\.yaml; got number 2, as in first\.yaml"):
        load_experiments(declare(tmp_path, name="second", number=2))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"readable file in profiles\.yaml"):
        load_experiments(tmp_path)
    (declare(tmp_path) / "one.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"expected YAML in one\.yaml"):
        load_experiments(tmp_path)


def test_unknown_names(tmp_path: Path) -> None:
    experiments = load_experiments(declare(tmp_path))
    assert [e.name for e in pick_experiments(experiments, [])] == ["one"]
    with pytest.raises(UserError, match="experiments among one; got 'two'"):
        pick_experiments(experiments, ["one", "two"])
    with pytest.raises(UserError, match="profile among quick, full; got 'slow'"):
        experiments[0].cells("slow")
