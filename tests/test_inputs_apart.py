"""No command writes over what it reads, nor among the files that it would read as data next time.

Each refusal comes before anything is read, so nothing here loads a model.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from PIL import Image

from common.errors import UserError, run_cli
from common.record.manifest import MANIFEST, files_below
from common.record.run_folder import RunFolder
from common.tools.inputs import keep_apart, local_path, named_paths

OUTSIDE, AMONG = "to lie outside of the output", "whose files are data"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A finished run of ours in "out", with everything in it that a command can read."""
    monkeypatch.chdir(tmp_path)
    run = RunFolder.create(Path("out"), config_yaml="seed: 0\n")
    with run.manifest.adding() as added:
        for name in ("model/config.json", "texts/a.txt", "books.jsonl", "pictures/a.txt", "w.pth"):
            (added / name).parent.mkdir(exist_ok=True)
            (added / name).write_text("{}")
        Image.new("RGB", (8, 8)).save(added / "pictures" / "a.png")
    Path("link").symlink_to("out/model")
    Path("photos").mkdir()
    Image.new("RGB", (8, 8)).save("photos/a.png")
    Path("corpus").mkdir()
    Path("corpus/a.txt").write_text("text")
    return run


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("text.run", "--model out/model", f"--model {OUTSIDE}, 'out'; got 'out/model'"),
        ("text.run", "--model link", f"--model {OUTSIDE}"),
        ("text.run", "--model out/../out/model", f"--model {OUTSIDE}"),
        ("text.run", '--data.train ["out/texts"]', f"--data.train {OUTSIDE}"),
        ("text.run", '--data.train ["out/texts/a.txt[:1]"]', f"--data.train {OUTSIDE}"),
        ("text.run", '--data.heldout ["out/texts"]', f"--data.heldout {OUTSIDE}"),
        ("text.run", '--data.prompts {"a":"out/texts"}', f"--data.prompts {OUTSIDE}"),
        ("text.run", "--measure.share_original out/model", "--measure.share_original"),
        (
            "text.run",
            '--data.train ["corpus"] --out corpus/run',
            f"--data.train, 'corpus', {AMONG}",
        ),
        ("text.run", '--data.train ["corpus"] --out corpus', f"--data.train {OUTSIDE}"),
        ("text.run", '--data.train ["corpus"] --out .', f"--data.train {OUTSIDE}"),
        ("text.pretrain", "--data out/books.jsonl", f"--data {OUTSIDE}"),
        ("text.pretrain", "--data corpus/a.txt --init out/model", f"--init {OUTSIDE}"),
        ("image.run", "--model out/model", f"--model {OUTSIDE}"),
        ("image.run", "--tokenizer link", f"--tokenizer {OUTSIDE}"),
        ("image.run", "--data.train out/pictures", f"--data.train {OUTSIDE}"),
        ("image.run", "--data.heldout out/pictures", f"--data.heldout {OUTSIDE}"),
        ("image.run", "--data.train cifar10 --data.root out", f"--data.root {OUTSIDE}"),
        ("image.run", "--data.codes out/model", f"--data.codes {OUTSIDE}"),
        ("image.run", '--score.extractors ["offline:out/model"]', f"--score.extractors {OUTSIDE}"),
        ("image.run", '--score.extractors ["inception:out/w.pth"]', "--score.extractors"),
        ("image.run", '--score.extractors ["timm:resnet18@out/w.pth"]', "--score.extractors"),
        ("image.run", "--data.train photos --out photos/run", f"--data.train, 'photos', {AMONG}"),
        ("image.pretrain", "--tokenizer out/model", f"--tokenizer {OUTSIDE}"),
        ("image.pretrain", "--codes out/model", f"--codes {OUTSIDE}"),
        ("image.pretrain", "--data photos --out photos/run", f"--data, 'photos', {AMONG}"),
        ("image.tokenize", "--data out/pictures", f"--data {OUTSIDE}"),
        ("image.tokenize", "--heldout out/pictures", f"--heldout {OUTSIDE}"),
        ("image.tokenize", "--extractor offline:out/model", f"--extractor {OUTSIDE}"),
        ("image.tokenize", "--data photos --out photos/run", f"--data, 'photos', {AMONG}"),
        ("image.extractor", "--data out/pictures", f"--data {OUTSIDE}"),
        ("image.extractor", "--data photos --heldout out/pictures", f"--heldout {OUTSIDE}"),
        ("image.extractor", "--data photos --out photos/run", f"--data, 'photos', {AMONG}"),
        ("image.generate", "--images photos --out photos/b.png", f"--images, 'photos', {AMONG}"),
        ("benchmarks.seeds", "out --out out/metrics.json", f"a run, 'out', {AMONG}"),
        ("benchmarks.preference", "make out --out out/page.html", f"a run, 'out', {AMONG}"),
    ],
)
def test_inputs_and_outputs_stay_apart(
    command: str, words: str, said: str, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: (run.path / name).read_bytes() for name in files_below(run.path)}
    module = importlib.import_module(
        f"{command}.__main__" if command.endswith("preference") else command
    )
    argv = words.split()
    if not command.startswith("benchmarks"):
        argv = (["--out", "out"] if "--out" not in argv else []) + [*argv, "--overwrite", "true"]
    elif "make" in argv:
        argv.append("--overwrite")
    assert run_cli(module.main, argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line
    assert {name: (run.path / name).read_bytes() for name in files_below(run.path)} == before


def test_what_lies_elsewhere_is_accepted(run: RunFolder) -> None:
    keep_apart(Path("other"), named_paths("--model", "out/model", None, "gpt2"))
    keep_apart(Path("out2"), named_paths("--model", "out"))  # no common folder, one beginning
    # A model is no data: below its folder there may be runs.
    keep_apart(Path("out/model/again"), named_paths("--model", "out/model"))
    keep_apart(Path("corpus/run"), [], searched=named_paths("--data", "corpus/a.txt"))
    with pytest.raises(UserError, match=AMONG):
        keep_apart(Path("corpus/run"), [], searched=named_paths("--data", "corpus"))
    assert MANIFEST in files_below(run.path)


@pytest.mark.parametrize("name", ["", "no/such", "x" * 5000, "~nosuchuser/x", "a\nb"])
def test_what_is_not_there_is_no_path(name: str) -> None:
    assert local_path(name) is None
