"""Pages of comparisons, made from run folders that the test writes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from benchmarks.preference.__main__ import main
from benchmarks.preference.make import ITEMS
from common.errors import run_cli
from image.tokenizer.load import load_tokenizer

CONDITIONS = ("original-greedy", "hyperfitted-greedy")
SETS = {"fiction": 12, "news": 6}


def write_run(
    folder: Path,
    samples: list[dict[str, Any]],
    *,
    domain: str = "text",
    seed: int = 0,
    **config: Any,
) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"schema": 1, "domain": domain}))
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "model": "m"} | config))
    (folder / "samples.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))
    return folder


def text_samples(
    conditions: tuple[str, ...] = CONDITIONS, *, reference: str = "human", tokens: int = 4
) -> list[dict[str, Any]]:
    return [
        {
            "prompt_set": prompt_set,
            "prompt_index": index,
            "condition": condition,
            "prompt": f"</script> beginning {prompt_set} {index} of the sto",
            "continuation": f"ry {place} <b>& so on {prompt_set} {index}",
            "tokens": list(range(tokens)),
        }
        for place, condition in enumerate((*conditions, reference))
        for prompt_set, count in SETS.items()
        for index in range(count)
    ]


@pytest.fixture
def text_run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs" / "seed0", text_samples())


def make(out: Path, *words: object) -> int:
    return run_cli(main, ["make", *map(str, words), "--out", str(out)])


def shown(page: Path) -> dict[str, Any]:
    """What a browser would parse from the page's data element."""
    html = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found.group(1))


def key_of(page: Path) -> dict[str, Any]:
    return json.loads(page.with_suffix(".key.json").read_text(encoding="utf-8"))


def test_page_and_key_tell_what_stands_where(text_run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert make(page, text_run, "--items", 20) == 0
    data, key = shown(page), key_of(page)
    assert data["page"] == key["page"] and key["runs"] == {"seed0": str(text_run)}
    assert [item["id"] for item in data["items"]] == list(key["items"])
    for item in data["items"]:
        about = key["items"][item["id"]]
        sides = {"left": item["left"], "right": item["right"]}
        place = f"{about['prompt_set']} {about['prompt_index']}"
        assert item["prompt"] == f"</script> beginning {place} of the sto"
        assert item["lead"] == "sto"
        subject = CONDITIONS.index(about["subject"])
        assert sides.pop(about["subject_side"]) == f"ry {subject} <b>& so on {place}"
        assert sides.popitem()[1] == f"ry 2 <b>& so on {place}"
        assert (about["against"], about["new_tokens"]) == ("human", 4)


def test_the_page_is_blind_and_loads_nothing(text_run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert make(page, text_run) == 0
    html = page.read_text(encoding="utf-8")
    for word in (*CONDITIONS, "human", "hyperfit", "original", "seed0", "subject", "prompt_set"):
        assert word not in html
    assert not re.search(r"https?://|src=|href=|@import|url\(", html)
    assert "default-src 'none'" in html
    assert html.count("</script>") == 2  # the one in the prompts is escaped


def test_the_page_runs_its_own_script_alone(text_run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert make(page, text_run) == 0
    html = page.read_text(encoding="utf-8")
    (own,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    assert f"; script-src 'sha256-{digest}';" in policy
    assert not re.search(r"\son\w+=", html.replace(own, ""))  # an attribute would not run


def test_a_sampled_contender_is_told_by_its_settings(tmp_path: Path) -> None:
    conditions = ("original-greedy", "original-top-p", "original-top-p-t1")
    runs = [
        write_run(tmp_path / f"run{seed}", text_samples(conditions), seed=seed) for seed in (0, 1)
    ]
    baseline, plain = {"top_p": 0.9, "temperature": 0.7, "top_k": 50}, {"temperature": 1.0}
    methods = {
        name: {"stage": "original", "blocked": False, "settings": settings}
        for name, settings in zip(conditions, ({}, baseline, plain), strict=True)
    }
    # The other repeat is older: it has the same contenders and does not say how they decode.
    metrics = {"schema": 1, "domain": "text", "methods": methods}
    (runs[1] / "metrics.json").write_text(json.dumps(metrics))
    page = tmp_path / "page.html"
    assert make(page, *runs) == 0
    labels = {item["subject_condition"]: item["subject"] for item in key_of(page)["items"].values()}
    assert labels == {
        "original-greedy": "original-greedy",
        "original-top-p": "original, top-p 0.9, T 0.7, top-k 50",
        "original-top-p-t1": "original, sampled, T 1",
    }
    assert len({item["subject"] for item in key_of(page)["items"].values()}) == 3


def test_line_breaks_do_not_tell_the_sides_apart(tmp_path: Path) -> None:
    samples = text_samples(("hyperfitted-greedy",))
    breaks = {"hyperfitted-greedy": "one\ntwo", "human": "one \n\n    two\n"}
    run = write_run(
        tmp_path / "run", [s | {"continuation": breaks[s["condition"]]} for s in samples]
    )
    assert make(tmp_path / "page.html", run) == 0
    for item in shown(tmp_path / "page.html")["items"]:
        assert item["left"] == item["right"] == "one\ntwo"


def test_items_are_dealt_evenly(text_run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert make(page, text_run, "--items", 18) == 0
    items = key_of(page)["items"].values()
    assert Counter(i["subject"] for i in items) == dict.fromkeys(CONDITIONS, 9)
    cells = Counter((i["subject"], i["prompt_set"]) for i in items)
    assert len(cells) == 4 and set(cells.values()) == {4, 5}
    sides = Counter((i["subject"], i["subject_side"]) for i in items)
    assert len(sides) == 4 and set(sides.values()) == {4, 5}
    # 18 comparisons and 18 prompts, but the even share of news has only 6 of them.
    prompts = Counter((i["prompt_set"], i["prompt_index"]) for i in items)
    assert all(count == 1 for (name, _), count in prompts.items() if name == "fiction")


def test_a_prompt_that_comes_again_is_reported(
    text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make(tmp_path / "few.html", text_run, "--items", 8) == 0
    assert "note" not in capsys.readouterr().out
    assert make(tmp_path / "all.html", text_run) == 0
    printed = capsys.readouterr().out
    assert "36  comparisons" in printed and "one prompt comes up to 2 times" in printed


def test_the_seed_decides(text_run: Path, tmp_path: Path) -> None:
    pages = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert make(tmp_path / f"{name}.html", text_run, "--items", 9, "--seed", seed) == 0
        pages[name] = shown(tmp_path / f"{name}.html")
    assert pages["a"] == pages["b"]
    assert pages["a"]["page"] != pages["c"]["page"]
    assert {i["id"] for i in pages["a"]["items"]}.isdisjoint(i["id"] for i in pages["c"]["items"])


def test_no_more_than_the_default_is_drawn(tmp_path: Path) -> None:
    conditions = tuple(f"condition-{n}" for n in range(9))
    run = write_run(tmp_path / "run", text_samples(conditions))
    assert make(tmp_path / "page.html", run) == 0
    assert len(key_of(tmp_path / "page.html")["items"]) == ITEMS < 9 * 18


def test_pairs_choose_who_meets_whom(text_run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    pairs = "hyperfitted-greedy:original-greedy,human:original-greedy"
    assert make(page, text_run, "--pairs", pairs) == 0
    items = key_of(page)["items"].values()
    assert Counter((i["subject"], i["against"]) for i in items) == {
        ("hyperfitted-greedy", "original-greedy"): 18,
        ("original-greedy", "human"): 18,  # the reference is what others are held against
    }


def test_repeats_are_pooled_and_other_configurations_kept_apart(
    text_run: Path, tmp_path: Path
) -> None:
    repeat = write_run(tmp_path / "runs" / "seed1", text_samples(), seed=1)
    other = write_run(tmp_path / "other" / "seed1", text_samples(), model="another")
    assert make(tmp_path / "a.html", text_run, repeat) == 0
    labels = {i["subject"] for i in key_of(tmp_path / "a.html")["items"].values()}
    assert labels == set(CONDITIONS)
    assert make(tmp_path / "b.html", text_run, repeat, other) == 0
    items = key_of(tmp_path / "b.html")["items"].values()
    assert len({i["subject"] for i in items}) == 6
    assert {i["against"] for i in items} == {"human"}
    assert {i["subject_run"] for i in items} == {"runs/seed0", "runs/seed1", "other/seed1"}


def test_pairs_may_cross_runs_with_the_same_prompts(text_run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "lora", text_samples(), train="lora")
    page = tmp_path / "page.html"
    pairs = "hyperfitted-greedy@lora:hyperfitted-greedy@seed0"
    assert make(page, text_run, other, "--pairs", pairs) == 0
    item = next(iter(key_of(page)["items"].values()))
    assert (item["subject_run"], item["against_run"]) == ("lora", "seed0")
    assert item["subject"] == "hyperfitted-greedy@lora"


def image_samples(grid: int, codes: int) -> list[dict[str, Any]]:
    rng = torch.Generator().manual_seed(0)
    given = grid
    prompts = [torch.randint(codes, (given,), generator=rng).tolist() for _ in range(6)]
    return [
        {
            "prompt_set": "heldout",
            "prompt_index": index,
            "condition": condition,
            "prompt": "".join(f"{code} " for code in [codes, *prompt]),
            "continuation": "",
            "tokens": torch.randint(codes, (grid**2 - given,), generator=rng).tolist(),
        }
        for condition in ("hyperfitted-greedy", "reconstruction", "real")
        for index, prompt in enumerate(prompts)
    ]


@pytest.fixture
def image_run(tmp_path: Path, tiny_image_checkpoint: Path) -> Path:
    tokenizer = load_tokenizer(str(tiny_image_checkpoint / "image_tokenizer"))
    samples = image_samples(tokenizer.grid, tokenizer.vocab_size)
    run = write_run(tmp_path / "pictures", samples, domain="image")
    (run / "model").symlink_to(tiny_image_checkpoint)
    return run


def test_pictures_are_those_of_the_codes(image_run: Path, text_run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert make(page, image_run, text_run, "--items", 12) == 0
    data, key = shown(page), key_of(page)
    assert Counter(i["subject"] for i in key["items"].values())["real"] == 0
    assert [i["kind"] for i in data["items"]] == ["text"] * 8 + ["image"] * 4
    tokenizer = load_tokenizer(str(image_run / "model" / "image_tokenizer"))
    samples = image_samples(tokenizer.grid, tokenizer.vocab_size)
    for item in data["items"][8:]:
        about = key["items"][item["id"]]
        assert item["given"] == pytest.approx(1 / tokenizer.grid)
        subject = samples[about["prompt_index"]]
        codes = [int(code) for code in subject["prompt"].split()[1:]] + subject["tokens"]
        wanted_CHW = tokenizer.decode(torch.tensor([codes]))[0]
        head, _, body = item[about["subject_side"]].partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(body))) as png:
            got = torch.tensor(list(png.tobytes()), dtype=torch.uint8)
        assert torch.equal(got, wanted_CHW.permute(1, 2, 0).flatten())


def test_codes_of_another_tokenizer_are_refused(
    image_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "wrong", image_samples(grid=3, codes=9), domain="image")
    (tmp_path / "wrong" / "model").symlink_to(image_run / "model")
    assert make(tmp_path / "page.html", tmp_path / "wrong") == 2
    assert "expected images of 16 codes" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


BAD = {
    "--items 0": "--items between 1 and 36",
    "--items 37": "lower --items",
    "--pairs human": "--pairs condition:condition",
    "--pairs human:guess": "a condition among original-greedy, hyperfitted-greedy, human",
    "--pairs human:original-greedy@x": "a run among seed0",
    "--pairs human:guess@seed0": "got 'guess'",
    "--pairs human:human": "two different conditions",
    "--pairs human:original-greedy,original-greedy:human": "each pair once",
    "--out page.txt": "--out PAGE.html",
}


@pytest.mark.parametrize(("words", "expected"), BAD.items())
def test_options_that_will_not_do(
    text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, expected: str
) -> None:
    argv = ["make", str(text_run), "--out", str(tmp_path / "page.html"), *words.split()]
    assert run_cli(main, argv) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert make(tmp_path / "page.html", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_runs_that_will_not_do(
    text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = write_run(tmp_path / "bare", [])
    assert "a run without any" in refused(tmp_path, capsys, bare)
    strange = write_run(tmp_path / "strange", [{"condition": "human"}])
    assert "with other records" in refused(tmp_path, capsys, strange)
    sound = write_run(tmp_path / "sound", text_samples(), domain="sound")
    assert "of domain 'sound'" in refused(tmp_path, capsys, sound)
    assert "no metrics.json" in refused(tmp_path, capsys, tmp_path / "nowhere")
    assert "every run once" in refused(tmp_path, capsys, text_run, text_run)
    alone = write_run(tmp_path / "alone", text_samples(()))
    assert "the reference alone" in refused(tmp_path, capsys, alone)
    headless = write_run(tmp_path / "headless", text_samples(reference="other"))
    assert "got 'human'" in refused(tmp_path, capsys, headless)


def test_runs_with_other_prompts_are_not_paired(
    text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = write_run(tmp_path / "short", text_samples(tokens=3))
    pairs = ("--pairs", "hyperfitted-greedy@short:hyperfitted-greedy@seed0")
    assert "the same prompts" in refused(tmp_path, capsys, text_run, short, *pairs)
    split = write_run(tmp_path / "split", text_samples(("original-top-p",)))
    pairs = ("--pairs", "original-top-p:hyperfitted-greedy")
    assert "name the runs" in refused(tmp_path, capsys, text_run, split, *pairs)


def test_a_page_or_key_that_exists_is_kept(
    text_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    page.with_suffix(".key.json").write_text("old")
    assert "which exists" in refused(tmp_path, capsys, text_run)
    assert page.with_suffix(".key.json").read_text() == "old" and not page.exists()
    assert make(page, text_run, "--overwrite") == 0
    assert key_of(page)["page"] == shown(page)["page"]
