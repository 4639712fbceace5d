"""What is wrong with an option is told before anything heavy is loaded, by every command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COMMANDS: dict[str, list[list[str]]] = {
    "text.run": [
        ["--config", "nowhere.yaml"],
        ["--model", "./nowhere"],
        ["--data.train", '["nowhere.txt"]'],
        ["--data.prompts", '{"a": "nowhere.jsonl[:3]"}'],
        ["--name", "a/b"],
    ],
    "text.pretrain": [["--data", "nowhere.jsonl"], ["--data", "a.txt", "--init", "./nowhere"]],
    "text.generate": [["--model", "/nowhere/at/all"], ["--new_tokens", "0"]],
    "image.run": [
        ["--model", "./nowhere"],
        ["--tokenizer", "a/b/c"],
        ["--data.train", "nowhere"],
        ["--data.heldout", "nowhere"],
    ],
    "image.pretrain": [["--data", "nowhere"], ["--tokenizer", "./nowhere"], ["--layers", "0"]],
    "image.tokenize": [["--data", "nowhere"], ["--codes", "1"]],
    "image.extractor": [["--data", "nowhere", "--heldout", "nowhere"], ["--epochs", "0"]],
    "image.generate": [["--images", "nowhere"], ["--model", "./nowhere"], ["--count", "0"]],
    "common.report.__main__": [],
    "common.report.terminal": [],
    "benchmarks.suite.make_cells": [],
    "benchmarks.seeds": [],
    "benchmarks.report.build": [],
    "benchmarks.preference.__main__": [],
}
SCRIPT = '''
"""Calls every command in one process that cannot import what is heavy."""
import contextlib, importlib, importlib.abc, io, json, sys

HEAVY = {"torch", "transformers", "accelerate", "diffusers", "timm", "datasets", "torchvision"}


class Forbid(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HEAVY:
            raise AssertionError(f"{name} was imported")


sys.meta_path.insert(0, Forbid())
from common.errors import run_cli

answers = {}
for command, cases in json.loads(sys.argv[1]).items():
    for words in [["--help"], ["--no_such_option", "3"], *cases]:
        printed, code = io.StringIO(), None
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            try:
                code = run_cli(importlib.import_module(command).main, words)
            except SystemExit as end:
                code = end.code
            except AssertionError as error:
                printed.write(str(error))
        answers[" ".join([command, *words])] = [code, printed.getvalue()]
print(json.dumps(answers))
'''


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    folder = tmp_path_factory.mktemp("startup")
    (folder / "a.txt").write_text("a\n")
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(COMMANDS)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_mistakes_load_nothing_heavy(
    command: str, answers: dict[str, tuple[int, str]]
) -> None:
    code, printed = answers[f"{command} --help"]
    assert code == 0 and printed.startswith("usage: "), printed
    wrong = [["--no_such_option", "3"], *COMMANDS[command]]
    for words in wrong:
        code, printed = answers[" ".join([command, *words])]
        assert code == 2 and "error: " in printed, (words, printed)
