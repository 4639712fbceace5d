"""The page: made from the folder alone, complete, offline, and safe with hostile text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import common.record.run_folder
from common.errors import UserError, run_cli
from common.measure.intervals import Interval
from common.record.metrics_json import make_metrics
from common.record.provenance import provenance
from common.record.run_folder import RunFolder
from common.report import terminal as summary
from common.report.__main__ import main
from common.report.names import in_order, metric_definition, metric_label
from common.report.page import PROMPTS_SHOWN, build_report
from common.report.presentation import Presentation, ReportSection
from common.report.samples import repetition_scores

SCHEMA = Path(common.record.run_folder.__file__).parent / "schema" / "metrics.schema.json"
HOSTILE = '<script>alert("x")</script> & <b>'


METHODS = {
    "original-top-p": {"top_p": 0.8, "temperature": 0.6, "top_k": 40},
    "original-top-p-t1": {"top_p": 0.8, "temperature": 1.0},
}


def fake_run(path: Path, *, prompts: int = 2, methods: bool = False, **training: Any) -> RunFolder:
    run = RunFolder.create(path, config_yaml=f"seed: 0\nnote: '{HOSTILE}'\n")
    for update in range(1, 41):
        run.append_history(
            {"kind": "update", "update": update, "train_loss": 4 / update, "entropy_nats": 3.0}
        )
        if update % 8 == 0:
            run.append_history(
                {
                    "kind": "epoch",
                    "update": update,
                    "validation_loss": 3 + abs(update - 16) / 10,
                    "validation_entropy_nats": 2.5,
                    "ttr_96": update / 80,
                }
            )
    run.append_history({"kind": "full_pass", "update": 40, "train_loss": 0.0, "held": 1})
    run.append_history({"kind": "event", "update": 20, "event": "spike", "message": HOSTILE})
    ttr = {
        "original-greedy": 0.231,
        "original-top-p": 0.541,
        "early-stopped-greedy": 0.402,
        "hyperfitted-greedy": 0.612,
        "human": 0.743,
    }
    if methods:
        ttr["original-top-p-t1"] = 0.7
    run.write_metrics(
        make_metrics(
            domain="text",
            training={
                "outcome": "reached",
                "final_loss": 0.0,
                "target_loss": 0.05,
                "updates": 40,
                "seconds": 61.0,
                **training,
            },
            probe={
                "original": {
                    "entropy_nats": Interval(4.1, 3.95, 4.25, 64).to_json(),
                    "perplexity": 50.5,
                },
                "hyperfitted": {"entropy_nats": 2.5, "perplexity": float("inf")},
            },
            conditions={
                condition: {
                    "news": {"ttr_96": Interval(value, value - 0.02, value + 0.02, 4)},
                    "all": {
                        "ttr_96": Interval(value, value - 0.01, value + 0.01, 12),
                        "overlap_max": Interval(9.0, None, None, 12),
                        "sparkle": Interval(1.5, 1.4, 1.6, 12),
                    },
                }
                for condition, value in ttr.items()
            },
            provenance=provenance(3, ["text/run.py", HOSTILE]),
            methods={
                name: {"stage": "original", "blocked": False, "settings": settings}
                for name, settings in METHODS.items()
            }
            if methods
            else None,
            reference={"condition": "human", "words": "human text"},
        )
    )
    pieces = [" one", " two", " three", " four", HOSTILE, " one", " two", " three", " four"]
    ids = [1, 2, 3, 4, 5, 1, 2, 3, 4]
    run.write_samples(
        {
            "prompt_set": "news",
            "prompt_index": index,
            "condition": condition,
            "prompt": f"prompt {index} {HOSTILE}",
            "continuation": "".join(pieces),
            "tokens": ids,
            "pieces": pieces,
            "repetition": repetition_scores(ids),
            "copied": [condition == "human" and i < 4 for i in range(len(ids))],
            "ttr_96": 5 / 9,
            "longest_overlap": 4,
        }
        for index in range(prompts)
        for condition in ttr
    )
    return run


class Page(HTMLParser):
    """Collects what a test asks about; checks that tags are closed in order."""

    VOID = frozenset({"meta", "img", "input", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data

    def count(self, tag: str, **attributes: str) -> int:
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}.items()
        return sum(t == tag and wanted <= a.items() for t, a in self.tags)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return fake_run(tmp_path / "x")


def test_the_page_tells_the_run_in_order(run: RunFolder) -> None:
    shown = Presentation(title="A title", remarks=["What only the domain <knows>."])
    page = Page(build_report(run.path, shown).read_text(encoding="utf-8"))
    parts = [
        "A title",
        "Greedy decoding stopped looping",
        "Training loss 4",
        "Samples",
        "In short",
        "What only the domain <knows>.",
        "Training",
        "Conditions",
        "Sharpness",
        "How to repeat this",
        "config.yaml",
        "Definitions",
    ]
    places = [page.text.index(part) for part in ("A title", "Greedy decoding")]
    for part in parts[2:]:
        places.append(page.text.index(part, places[-1]))
    assert places[1] > places[0]
    assert page.count("svg") == 3
    assert page.count("table") == 3  # conditions: all and news; probe


def test_hostile_text_stays_text(run: RunFolder) -> None:
    html = build_report(run.path, Presentation(title=HOSTILE)).read_text(encoding="utf-8")
    page = Page(html)
    assert page.count("script") == 1  # our own
    assert "alert(" not in html.split("<script>", 1)[1].split("</script>", 1)[0]
    assert page.text.count(HOSTILE) > 10
    assert f"update 20 spike {HOSTILE}" in page.text


def test_the_page_loads_nothing(run: RunFolder) -> None:
    html = build_report(run.path).read_text(encoding="utf-8")
    page = Page(html)
    assert not {"link", "iframe", "img", "object"} & {tag for tag, _ in page.tags}
    assert not [a for _, a in page.tags if {"src", "href"} & a.keys()]
    assert not re.search(r"url\(|@import|fetch\(|https?://(?!www\.w3\.org/2000/svg)", html)
    policies = [a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a]
    assert len(policies) == 1 and str(policies[0]).startswith("default-src 'none'")


def inline_scripts(html: str) -> list[str]:
    return re.findall(r"<script>(.*?)</script>", html, re.DOTALL)


def allowed_scripts(html: str) -> list[str]:
    """Sources that the page's content policy allows scripts from."""
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    directives = {name: rest for name, *rest in map(str.split, policy.split(";"))}
    assert directives["default-src"] == directives["form-action"] == ["'none'"]
    assert directives["base-uri"] == ["'none'"] and "script-src-elem" not in directives
    return directives["script-src"]


def source_of(script: str) -> str:
    """How a policy names a script, by the hash of its text (CSP level 3, section 2.3.1)."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def test_a_foreign_report_json_runs_no_script(run: RunFolder) -> None:
    markup = (
        "<script>document.title = 'mine'</script><script>1</script>"
        "<img src='x' onerror='document.title = 1'><p onclick='alert()'>"
    )
    section = ReportSection(heading="Pictures", html=markup)
    (run.path / "report.json").write_text(json.dumps(asdict(Presentation(sections=[section]))))
    html = build_report(run.path).read_text(encoding="utf-8")
    assert markup in html  # the policy is what stops it
    *foreign, own = inline_scripts(html)
    assert len(foreign) == 2 and "querySelectorAll" in own
    # One hash and nothing else: no 'unsafe-inline', no 'unsafe-hashes' (handlers), no address.
    assert allowed_scripts(html) == [source_of(own)]
    assert not {source_of(script) for script in foreign} & set(allowed_scripts(html))
    assert not re.search(r"\son\w+=", html.replace(markup, ""))  # we need no handlers


def test_labels_and_definitions_tell_the_settings_of_the_run(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "x", methods=True)
    build_report(run.path, Presentation())
    assert main([str(run.path)]) == 0  # from the folder alone
    html = run.report.read_text(encoding="utf-8")
    page = Page(html)
    assert (
        "original, <small>top-p 0.8, T 0.6, top-k 40</small></th>" in html
        and "original, <small>top-p 0.8, T 1</small></th>" in html
    )
    assert '<h4>original, top-p 0.8, T 1<span class="facts">' in html
    assert "the pretrained model, sampled with top-p 0.8, temperature 0.6, top-k 40" in page.text
    assert "(original, top-p 0.8, T 1)" in page.text  # the strongest control
    jsonschema.validate(run.read_metrics(), json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_an_older_run_is_told_by_its_names(run: RunFolder) -> None:
    metrics = run.read_metrics()
    del metrics["methods"], metrics["provenance"]["cpu_threads"]
    run.metrics.write_text(json.dumps(metrics))
    jsonschema.validate(metrics, json.loads(SCHEMA.read_text(encoding="utf-8")))
    text = Page(build_report(run.path).read_text(encoding="utf-8")).text
    assert "original top-p" in text and "top-p 0.9" not in text and "top-k" not in text


def test_both_colour_schemes_define_the_same_variables(run: RunFolder) -> None:
    html = build_report(run.path).read_text(encoding="utf-8")
    light, dark = (
        set(re.findall(r"(--[\w-]+):", block))
        for block in re.findall(r":root \{(.*?)\n *\}", html, re.DOTALL)[:2]
    )
    assert light == dark
    assert set(re.findall(r"var\((--[\w-]+)", html)) <= light
    assert "@media print" in html


def test_it_is_made_again_from_the_folder_alone(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section = ReportSection(heading="Own & part", html="<p id='own'>kept</p>")
    shown = Presentation(title="T", sections=[section], definitions={"sparkle": "how it glitters"})
    first = build_report(run.path, shown).read_text(encoding="utf-8")
    moved = tmp_path / "moved"
    shutil.copytree(run.path, moved)
    (moved / "report.html").unlink()
    assert main([str(moved)]) == 0
    assert (moved / "report.html").read_text(encoding="utf-8") == first
    assert capsys.readouterr().out.strip() == str(moved / "report.html")
    page = Page(first)
    assert page.count("p", id="own") == 1
    assert "Own & part" in page.text and "how it glitters" in page.text


def test_cells_hold_value_interval_and_n_and_mark_the_best_control(run: RunFolder) -> None:
    html = build_report(run.path).read_text(encoding="utf-8")
    table = html.split("<table>")[1].split("</table>")[0]
    rows = {
        re.sub(r"<.*?>", "", row.split("</th>")[0].split('scope="row">')[1]): row
        for row in table.split("<tr")[2:]
    }
    assert list(rows) == [
        "original greedy",
        "original top-p",
        "early-stopped greedy",
        "hyperfitted greedy",
        "human",
    ]
    assert ">0.612</span><small>0.602–0.622</small>" in rows["hyperfitted greedy"]
    assert '<td class="n">12</td>' in rows["human"]
    # In its first column only: the other metrics tie.
    assert {name: row.count('class="best"') for name, row in rows.items()} == {
        **dict.fromkeys(rows, 0),
        "original top-p": 1,
    }
    assert '<span class="best">0.541</span>' in rows["original top-p"]
    assert ">9</span></td>" in rows["human"]  # without an interval, and a count without decimals


def test_repeats_are_shaded_and_copies_underlined(run: RunFolder) -> None:
    html = build_report(run.path).read_text(encoding="utf-8")
    assert '<span class="r1"> one two three four</span>' in html
    assert '<span class=" copied">one two three four</span>' in html


def test_stopping_point_and_lowest_validation_loss_are_marked(run: RunFolder) -> None:
    html = build_report(run.path).read_text(encoding="utf-8")
    chart = html.split("<svg")[1]
    found = re.findall(r'<line x1="([\d.]+)"[^>]*stroke-dasharray:1.5 2.5', chart)
    tick_0, tick_40 = (
        float(re.findall(rf'x="([\d.]+)"[^>]*middle[^>]*>{tick}<', chart)[0]) for tick in (0, 40)
    )
    lowest_at = tick_0 + (tick_40 - tick_0) * 16 / 40
    assert sorted(float(x) for x in found) == pytest.approx([lowest_at, tick_40], abs=0.1)
    assert ">stopped<" in chart and ">lowest validation loss<" in chart


def test_many_prompts_are_cut_and_it_says_so(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "x", prompts=PROMPTS_SHOWN + 3)
    page = Page(build_report(run.path).read_text(encoding="utf-8"))
    assert page.count("div", class_="prompt") == PROMPTS_SHOWN
    assert f"{PROMPTS_SHOWN} of {PROMPTS_SHOWN + 3} prompts" in page.text


def test_without_history_and_samples_the_rest_stands(run: RunFolder) -> None:
    run.history.unlink()
    run.samples.unlink()
    page = Page(build_report(run.path).read_text(encoding="utf-8"))
    assert page.count("svg") == 0 and page.count("article") == 0
    assert "Training loss 0 in 40 updates" in page.text.replace("\u00a0", " ")


def test_a_diverged_run_has_a_page_that_says_so(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "x", outcome="diverged", final_loss=float("nan"))
    run.append_history({"kind": "update", "update": 41, "train_loss": float("nan")})
    page = Page(build_report(run.path).read_text(encoding="utf-8"))
    assert "Training diverged and was given up" in page.text


def test_a_perplexity_that_overflowed_is_a_dash(run: RunFolder) -> None:
    html = build_report(run.path).read_text(encoding="utf-8")
    probe = html.split("<h2>Sharpness</h2>")[1].split("</table>")[0]
    assert "<td>2.50</td><td>—</td>" in probe
    assert "<td>4.10<small>3.95–4.25</small></td><td>50.5</td>" in probe


def test_a_folder_without_a_finished_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no metrics"):
        build_report(tmp_path)


def test_metrics_have_names_order_and_definitions() -> None:
    assert metric_label("rep_4") == "rep-4" and metric_label("top5_mass") == "top-5 mass"
    assert metric_definition("rep_4") == "1 - distinct 4-grams / 4-grams of one continuation"
    assert metric_label("my_own") == "my own" and metric_definition("my_own") is None
    assert in_order(["my_own", "overlap_max", "rep_4", "ttr_96", "rep_4"]) == [
        "ttr_96",
        "rep_4",
        "overlap_max",
        "my_own",
    ]


def test_accuracy_has_a_chart_with_its_target(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "x", target_loss=None, target_accuracy=0.99, final_accuracy=0.995)
    run.append_history({"kind": "update", "update": 41, "train_loss": 0.1, "train_accuracy": 0.9})
    run.append_history({"kind": "epoch", "update": 41, "validation_accuracy": 0.31})
    run.append_history(
        {"kind": "full_pass", "update": 41, "train_loss": 0.1, "train_accuracy": 0.995}
    )
    html = build_report(run.path).read_text(encoding="utf-8")
    (chart,) = (svg for svg in html.split("<svg")[1:] if "first choice is right" in svg)
    for told in ("batch from 0.9", "training set from 0.995", "validation from 0.31"):
        assert told in chart
    assert ">target 0.99<" in chart
    jsonschema.validate(run.read_metrics(), json.loads(SCHEMA.read_text()))


def test_where_training_time_went(tmp_path: Path) -> None:
    parts = {"updates": 85.0, "curve": 10.0, "validation": 5.0}
    page = build_report(fake_run(tmp_path / "new", seconds_by_part=parts).path)
    line = "Training time: 85 % updates, 10 % curve, 5 % validation."
    assert line in page.read_text(encoding="utf-8")
    older = build_report(fake_run(tmp_path / "old").path)
    assert "Training time" not in older.read_text(encoding="utf-8")


def test_a_finished_run_is_told_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fake_run(tmp_path / "x")
    build_report(run.path, Presentation())
    assert summary.main([str(run.path)]) == 0
    told = capsys.readouterr().out
    assert "Greedy decoding stopped looping" in told and "prompt (" in told
    assert told.endswith(f"report: {run.report}\n")
    build_report(run.path, Presentation(samples=False))
    assert summary.main([str(run.path), str(run.path)]) == 0
    told = capsys.readouterr().out
    assert "prompt (" not in told and told.count("report: ") == 2


def test_a_folder_without_a_run_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(summary.main, [str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
