"""Every sampled condition and method of the evidence report is labelled with its settings."""

from __future__ import annotations

import pytest
from fake_cells import SAMPLED
from fake_evidence import Metrics, at, changed, evidence

from benchmarks.evidence.words import condition_words, settings_words
from benchmarks.experiments import show
from benchmarks.suite.cells import Cell
from common.decode.methods import greedy_config, min_p_config, sampling_config, settings

METHODS = [
    "greedy",
    "top-p 0.9, T 0.7, top-k 50",
    "top-p 0.9, T 1",
    "sampled, T 1",
    "min-p 0.05, T 1",
    "repetition penalty 1.2",
    "no repeated 4-grams",
]


def test_every_rival_is_labelled_with_the_settings_that_its_cell_recorded() -> None:
    section = show(evidence("rivals"))
    labels = [row.label for row in section.tables[0].rows]
    assert labels == [f"{s}, {m}" for s in ("original", "hyperfitted") for m in METHODS]

    def colder(cell: Cell, metrics: Metrics) -> None:
        (top_p,) = (r for r in cell.series["methods"] if r["method"] == "top-p")
        top_p["settings"] = "top-p 0.8, temperature 0.5"

    assert "original, top-p 0.8, T 0.5" in [
        r.label for r in changed("rivals", colder).tables[0].rows
    ]

    def unrecorded(cell: Cell, metrics: Metrics) -> None:
        cell.series.pop("methods")

    assert "original, min p" in [r.label for r in changed("rivals", unrecorded).tables[0].rows]


def test_a_rival_that_was_not_measured_is_not_shown() -> None:
    def older(cell: Cell, metrics: Metrics) -> None:
        for name in [name for name in metrics if "-sampled-t1/" in name]:
            del metrics[name]

    section = changed("rivals", older)
    assert all("sampled, T 1" not in row.label for table in section.tables for row in table.rows)
    assert all("sampled, T 1" not in finding.sentence for finding in section.findings)
    assert any("sampled, T 1" in f.sentence for f in show(evidence("rivals")).findings)


@pytest.mark.parametrize("name", ["main", "copying"])
def test_sampled_conditions_are_labelled_with_the_run_s_settings(name: str) -> None:
    for table in (table for table in show(evidence(name)).tables if "all prompts" in table.caption):
        labels = [row.label for row in table.rows]
        assert "original top-p 0.9, T 0.7, top-k 50" in labels
        assert "hyperfitted top-p 0.9, T 0.7, top-k 50" in labels
        assert not {"original sampled", "original top-p"} & set(labels)


def test_sampling_at_temperature_1_is_told_beside_the_papers_where_a_run_has_it() -> None:
    def with_it(cell: Cell, metrics: Metrics) -> None:
        sampled = SAMPLED[cell.domain]
        for name, measured in list(metrics.items()):
            if name.startswith(f"original-{sampled}/"):
                metrics[name.replace(sampled, f"{sampled}-t1", 1)] = measured

    section = changed("main", with_it)
    text, image = (at(section, domain)[0].sentence for domain in ("text", "image"))
    assert "sampling the original (top-p 0.9, T 0.7, top-k 50) gives" in text
    assert "sampling the original (top-p 0.9, T 1) gives" in text
    assert "sampling the original (sampled, T 1) gives" in image
    assert all("T 1)" not in finding.sentence for finding in show(evidence("main")).findings)


def test_entropy_matching_tells_the_temperature_and_that_nothing_is_cut_off() -> None:
    section = show(evidence("entropy_matching"))
    labels = [row.label for row in section.tables[0].rows]
    assert labels[:3] == [
        "original greedy",
        "original sampled, T 1",
        "original sampled, T 0.62 (matched)",
    ]
    image = at(section, "image")[1].sentence
    assert "plain sampling of the original at T 1 has a type-token ratio of" in image
    assert "FID [cifar-net]" in image and "copy rate" in image
    assert "FID [cifar-net]" in section.tables[1].columns


def test_settings_are_told_as_short_in_views_as_they_are_recorded() -> None:
    plain = sampling_config(top_p=1.0, temperature=1.0, top_k=0)
    assert settings_words(settings(plain)) == "sampled, T 1"
    assert settings_words(settings(sampling_config())) == "top-p 0.9, T 0.7, top-k 50"
    assert settings_words(settings(min_p_config(0.05))) == "min-p 0.05, T 1"
    assert settings_words(settings(greedy_config())) == "greedy"


def test_conditions_take_their_words_from_the_configuration() -> None:
    group = evidence("main").groups[0]
    words = {
        name: condition_words(group, name)
        for name in ("original-top-p-t1", "original-sampled-t1", "human", "early-stopped-greedy")
    }
    assert list(words.values()) == [
        "original top-p 0.9, T 1",
        "original sampled, T 1",
        "human text",
        "early-stopped greedy",
    ]
    group.cells[0].config.update(
        {"measure.top_p": 1.0, "measure.temperature": 1.5, "measure.top_k": 0}
    )
    assert condition_words(group, "hyperfitted-sampled") == "hyperfitted sampled, T 1.5"
