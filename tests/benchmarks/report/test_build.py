"""The report's command on real files: what it shows, what it refuses, and that it is repeatable."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_cells import fake_cells, write_all

from benchmarks.evidence.over_seeds import over_seeds
from benchmarks.evidence.section import (
    TableRow,
    make_table,
)
from benchmarks.report import build as report
from benchmarks.report.page import commit_of, device_of, table_cells
from benchmarks.suite.declarations import load_experiments
from benchmarks.suite.experiment import Experiment, pick_experiments
from common.errors import run_cli
from common.measure.intervals import Interval

SHOWN = ("sharpness", "copying", "geometry")
ALL = load_experiments()
Spoil = Callable[[Path], None]
FILES = {"REPORT.md", "report.html"}


@pytest.fixture
def experiments(monkeypatch: pytest.MonkeyPatch) -> list[Experiment]:
    """Three of the experiments, so that a test takes no time."""
    chosen = [experiment for experiment in ALL if experiment.name in SHOWN]
    monkeypatch.setattr(report, "load_experiments", lambda: chosen)
    return chosen


@pytest.fixture
def results(tmp_path: Path, experiments: list[Experiment]) -> Path:
    """All quick cells of the three."""
    write_all(tmp_path / "results", fake_cells(experiments, "quick"))
    return tmp_path / "results"


def call(results: Path, *options: str) -> int:
    out = results.parent / "out"
    arguments = ["--results", str(results), "--out-dir", str(out), *options]
    return run_cli(report.main, arguments)


def made(results: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in (results.parent / "out").iterdir()}


def cell_file(results: Path, name: str, profile: str = "quick") -> Path:
    return results / profile / f"{name}.json"


class Reader(HTMLParser):
    """Text, links and outside addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.targets: set[str] = set()
        self.links: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        for name, content in attrs:
            if name == "id" and content:
                self.targets.add(content)
            if name == "href" and content and content.startswith("#"):
                self.links.add(content[1:])
            elif name in ("href", "src") and content:
                self.outside.append(content)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read_page(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def test_both_files_are_written_and_say_the_same(results: Path) -> None:
    assert call(results) == 0
    files = made(results)
    assert files.keys() == FILES
    words = " ".join(" ".join(read_page(files["report.html"]).text).split())
    markdown = " ".join(files["REPORT.md"].replace("\\*", "*").split())
    rule = "Only values with a sampling interval of their own decide"
    for sentence in ("hold more than 10 tokens in a row", "the effective dimension changes", rule):
        start = markdown.index(sentence)
        assert markdown[start : start + 60] in words


def test_contradictions_come_first_then_what_is_open(results: Path) -> None:
    call(results)
    lines = made(results)["REPORT.md"].splitlines()
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[:3] == ["## What contradicts the papers", "## Undecided", "## All experiments"]
    first = lines[lines.index(headings[0]) : lines.index(headings[1])]
    named = [line for line in first if line.startswith("- ")]
    assert len(named) == 1 and "Copying" in named[0]


def test_the_page_is_whole_by_itself(results: Path) -> None:
    call(results)
    page = read_page(made(results)["report.html"])
    assert page.outside == []
    assert page.links <= page.targets and len(page.links) == 3


def test_every_experiment_names_its_command_seeds_n_device_commit_and_profile(
    results: Path,
) -> None:
    call(results)
    for text in made(results).values():
        for name in SHOWN:
            assert f"python -m benchmarks.suite {name} --profile quick" in text
        assert text.count("one seed (0)") == len(SHOWN)
        assert text.count("2 cores of Imaginary 2") == len(SHOWN)
        assert text.count("0123456789") == len(SHOWN)
        assert text.count("160 prompts or sequences") == len(SHOWN)


def test_numbers_can_be_copied_with_all_their_digits(results: Path) -> None:
    call(results)
    cell = json.loads(cell_file(results, "copying/text-seed0").read_text())
    value = cell["metrics"]["hyperfitted-greedy/all/overlap_tokens"]
    row = "\t".join(f"{value[key]:.6g}" for key in ("mean", "low", "high", "n"))
    assert row in made(results)["report.html"]


def test_the_same_results_give_the_same_bytes_and_check_agrees(results: Path) -> None:
    call(results)
    before = made(results)
    assert call(results, "--check") == 0
    assert call(results) == 0
    assert made(results) == before


@pytest.mark.parametrize("name", sorted(FILES))
def test_check_tells_a_stale_file_and_leaves_it(
    results: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call(results)
    path = results.parent / "out" / name
    path.write_text("old")
    assert call(results, "--check") == 2
    assert path.read_text() == "old"
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and name in error and "run: python -m benchmarks.report" in error
    path.unlink()
    assert call(results, "--check") == 2
    assert "no such file" in capsys.readouterr().err


def test_the_largest_complete_profile_is_shown(
    results: Path, experiments: list[Experiment]
) -> None:
    full = fake_cells(experiments, "full")
    write_all(results, [cell for cell in full if cell.experiment == "copying"])
    write_all(results, [cell for cell in full if cell.experiment == "geometry"][:2])
    assert call(results) == 0
    text = made(results)["REPORT.md"]
    assert "python -m benchmarks.suite copying --profile full" in text
    assert "3 seeds (0, 1, 2)" in text and "range from the lowest to the highest seed" in text
    assert "python -m benchmarks.suite geometry --profile quick" in text
    assert "of full 2 of 9 cells are done" in text


def test_an_experiment_without_cells_is_not_run_yet(
    tmp_path: Path, experiments: list[Experiment]
) -> None:
    cells = fake_cells(experiments, "quick")
    write_all(tmp_path / "results", [cell for cell in cells if cell.experiment != "geometry"])
    assert call(tmp_path / "results") == 0
    for text in made(tmp_path / "results").values():
        assert "Not run yet" in text
        assert "python -m benchmarks.suite geometry --profile quick" in text


def test_data_that_the_user_brings_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [e for e in ALL if e.name == "data_source"]
    monkeypatch.setattr(report, "load_experiments", lambda: chosen)
    needed = {cell.cell for cell in chosen[0].cells("quick") if cell.needs}
    cells = [cell for cell in fake_cells(chosen, "quick") if cell.cell not in needed]
    write_all(tmp_path / "results", cells)
    assert needed and call(tmp_path / "results") == 0
    assert f"Missing or failed: {', '.join(needed)}" in made(tmp_path / "results")["REPORT.md"]


def test_the_shipped_report_is_what_the_shipped_results_give() -> None:
    folder = Path(report.__file__).parent.parent
    shipped = folder / "results" / "suite"
    for name, text in report.build(shipped, partial=False).items():
        assert (folder / name).read_text(encoding="utf-8") == text, (
            "run python -m benchmarks.report"
        )


def test_a_command_asks_for_the_data_that_it_needs() -> None:
    (source,) = pick_experiments(ALL, ["data_source"])
    assert report.command(source, "small").endswith("data_source --profile small --cifar FOLDER")


# Bad input


def remove(path: Path) -> None:
    path.unlink()


def fail(path: Path) -> None:
    cell = json.loads(path.read_text())
    cell |= {"status": "failed", "error": "the disk was full", "metrics": {}, "series": {}}
    path.write_text(json.dumps(cell))


def other_schema(path: Path) -> None:
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))


def not_a_number(path: Path) -> None:
    cell = json.loads(path.read_text())
    next(iter(cell["metrics"].values()))["mean"] = float("nan")
    path.write_text(json.dumps(cell))


def cut_short(path: Path) -> None:
    path.write_text(path.read_text()[:500])


def twice_with_another_config(path: Path) -> None:
    cell = json.loads(path.read_text())
    cell["config"]["train.tune"] = "first:1"
    copy = path.parent / "elsewhere" / path.name
    copy.parent.mkdir()
    copy.write_text(json.dumps(cell))


def unknown_experiment(path: Path) -> None:
    path.write_text(path.read_text().replace('"experiment": "copying"', '"experiment": "gone"'))


def no_longer_planned(path: Path) -> None:
    cell = json.loads(path.read_text())
    cell["cell"] = "text-old-axis-seed0"
    (path.parent / "text-old-axis-seed0.json").write_text(json.dumps(cell))


BAD: dict[Spoil, tuple[str, str]] = {
    remove: ("text-seed0 missing", "python -m benchmarks.suite copying --profile quick"),
    fail: ("text-seed0 failed: the disk was full", "benchmarks.suite copying --profile quick"),
    other_schema: ("schema 1", "text-seed0.json"),
    not_a_number: ("finite", "text-seed0.json"),
    cut_short: ("JSON", "text-seed0.json"),
    twice_with_another_config: ("disagree on train.tune", "text-seed0"),
    unknown_experiment: ("'gone'", "text-seed0"),
    no_longer_planned: ("text-old-axis-seed0", "plans"),
}


@pytest.mark.parametrize("spoil", list(BAD), ids=lambda spoil: spoil.__name__)
def test_bad_results_are_one_line_and_nothing_is_overwritten(
    results: Path, spoil: Spoil, capsys: pytest.CaptureFixture[str]
) -> None:
    call(results)
    before = made(results)
    spoil(cell_file(results, "copying/text-seed0"))
    assert call(results) == 2
    assert made(results) == before
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(words in error for words in BAD[spoil])


def test_seeds_of_different_configurations_are_refused(
    results: Path, experiments: list[Experiment], capsys: pytest.CaptureFixture[str]
) -> None:
    write_all(results, fake_cells(experiments, "full"))
    path = cell_file(results, "copying/text-seed1", "full")
    cell = json.loads(path.read_text())
    cell["config"]["train.batch_size"] = 99
    path.write_text(json.dumps(cell))
    assert call(results) == 2
    error = capsys.readouterr().err
    assert "text-seed0 and text-seed1 differing in train.batch_size" in error


@pytest.mark.parametrize("spoil", [remove, fail])
def test_partial_shows_what_is_there_and_lists_what_is_not(results: Path, spoil: Spoil) -> None:
    spoil(cell_file(results, "copying/text-seed0"))
    assert call(results, "--partial") == 0
    text = made(results)["REPORT.md"]
    assert "Missing or failed: text-seed0." in text and "1 of 2 cells" in text
    assert "| Images, all prompts |" in text and "hold more than 10 tokens" in text


def test_partial_with_failures_alone_shows_no_numbers(results: Path) -> None:
    for domain in ("text", "image"):
        fail(cell_file(results, f"copying/{domain}-seed0"))
    assert call(results, "--partial") == 0
    assert "python -m benchmarks.suite copying --profile quick" in made(results)["REPORT.md"]
    assert call(results) == 2


def test_a_missing_folder_is_one_line(
    tmp_path: Path, experiments: list[Experiment], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path / "nowhere") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_titles_and_sentences_cannot_break_the_page(
    results: Path, experiments: list[Experiment]
) -> None:
    path = cell_file(results, "copying/text-seed0")
    path.write_text(path.read_text().replace("Imaginary 2", "<script>|*"))
    call(results)
    files = made(results)
    assert "default-src 'none'" in files["report.html"] and "script-src" not in files["report.html"]
    assert "<script>" not in files["report.html"] and "&lt;script&gt;|*" in files["report.html"]
    assert "<script>" not in files["REPORT.md"] and "\\|\\*" in files["REPORT.md"]


def test_a_measure_has_one_number_of_decimals_by_column_or_by_row() -> None:
    small, large = (
        over_seeds([Interval(mean, low, high, 9)])
        for mean, low, high in ((0.25, 0.2, 0.3), (1234.5, -10.0, 2000.0))
    )
    rows = [
        TableRow(label="a", cells=[small, large]),
        TableRow(label="b", cells=["any", None]),
    ]
    by_column = table_cells(make_table("t", ["x", "y"], rows))
    assert by_column == [
        [("0.250", "0.200–0.300"), ("1,234", "-10 to 2,000")],
        [("any", ""), ("—", "")],
    ]
    by_row = table_cells(make_table("t", ["x", "y"], rows, by_row=True))
    assert by_row[0] == [("0", "0–0"), ("1,234", "-10 to 2,000")]
    assert table_cells(make_table("t", ["x"], [TableRow(label="a", cells=[None])])) == [[]]


def test_what_made_the_cells_is_told_without_hiding_doubt() -> None:
    assert commit_of({"git_commit": "a" * 40, "git_dirty": True}) == (
        "aaaaaaaaaa with uncommitted changes"
    )
    assert commit_of({}) == "unknown"
    assert device_of({"device": "NVIDIA X"}) == "NVIDIA X"
    cpu = {"device": "cpu", "cpu": "Some CPU", "cpu_cores": 2}
    assert device_of(cpu) == "2 cores of Some CPU"  # before threads were recorded
    assert device_of(cpu | {"cpu_threads": 1}) == "1 thread of 2 cores of Some CPU"
    assert device_of({"device": "cpu"}) == "? cores of a CPU"


def test_an_experiment_has_all_its_verdicts_in_the_overview(results: Path) -> None:
    call(results)
    (row,) = (line for line in made(results)["REPORT.md"].splitlines() if "| [4. Copying]" in line)
    assert "| contradicts the paper; new here | new here | quick | 1 |" in row


def test_cells_made_before_a_rival_was_added_are_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [experiment for experiment in ALL if experiment.name == "rivals"]
    monkeypatch.setattr(report, "load_experiments", lambda: chosen)
    older = [
        replace(
            cell,
            metrics={n: v for n, v in cell.metrics.items() if "-sampled-t1/" not in n},
            config=cell.config | {"suite.analysis.methods": ["greedy", "top-p", "min-p"]},
        )
        for cell in fake_cells(chosen, "full")
    ]
    write_all(tmp_path / "results", older)
    assert call(tmp_path / "results") == 0
    text = made(tmp_path / "results")["REPORT.md"]
    assert "6 of 6 cells" in text and "Missing" not in text and "sampled, T 1" not in text
