"""Which conditions a run has, and what is kept of how they decode."""

from __future__ import annotations

import pytest
from transformers import GenerationConfig

from common.conditions import methods_json, standard_conditions
from common.config import MeasureConfig
from common.decode.methods import sampling_config
from common.domain import Condition
from common.errors import UserError

PLAIN = sampling_config(top_p=1.0, temperature=1.0, top_k=0)
NUCLEUS = sampling_config(top_p=0.9, temperature=1.0, top_k=0)


def conditions(
    plain: GenerationConfig = PLAIN, measure: MeasureConfig | None = None
) -> list[Condition]:
    return standard_conditions(
        measure or MeasureConfig(), sampled="sampled", at_temperature_1=plain, references=["real"]
    )


@pytest.mark.parametrize(
    "names", [[], ["hyperfitted-greedy-blocked"], ["original-sampled", "real"]]
)
def test_chosen_conditions_and_those_that_are_always_there(names: list[str]) -> None:
    found = [one.name for one in conditions(measure=MeasureConfig(conditions=names))]
    every = [one.name for one in conditions()]
    always = {"original-greedy", "hyperfitted-greedy", "real"}
    assert found == [name for name in every if name in {*names, *always}]  # in the usual order


@pytest.mark.parametrize("name", ["human", "Original-greedy", ""])
def test_a_condition_that_there_is_none_of(name: str) -> None:
    with pytest.raises(UserError, match="among original-greedy, .*hyperfitted-sampled, real; got"):
        conditions(measure=MeasureConfig(conditions=["real", name]))


@pytest.mark.parametrize("plain", [PLAIN, NUCLEUS])
def test_sampling_at_temperature_1_stands_beside_the_papers_baseline(
    plain: GenerationConfig,
) -> None:
    found = {one.name: one for one in conditions(plain)}
    assert list(found)[:4] == [
        "original-greedy",
        "original-sampled",
        "original-sampled-t1",
        "original-repetition-penalty",
    ]
    fair = found["original-sampled-t1"]
    assert fair.method is plain and fair.stage == "original" and not fair.blocked


def test_what_the_options_make_the_same_is_measured_once() -> None:
    measure = MeasureConfig(top_p=0.9, temperature=1.0, top_k=0)
    assert "original-sampled-t1" not in {one.name for one in conditions(NUCLEUS, measure)}
    assert "original-sampled-t1" in {one.name for one in conditions(PLAIN, measure)}


def test_methods_tell_stage_blocker_and_settings() -> None:
    methods = methods_json(conditions())
    assert methods["original-sampled"] == {
        "stage": "original",
        "blocked": False,
        "settings": {"top_p": 0.9, "temperature": 0.7, "top_k": 50},
    }
    assert methods["original-sampled-t1"]["settings"] == {"temperature": 1.0}
    assert methods["original-repetition-penalty"]["settings"] == {"repetition_penalty": 1.2}
    assert methods["early-stopped-greedy"]["stage"] == "early-stopped"
    assert methods["hyperfitted-greedy-blocked"] == {
        "stage": "hyperfitted",
        "blocked": True,
        "settings": {},
    }
    assert "real" not in methods
