"""Hyperfit a causal language model and report what became of its greedy decoding.

    python -m text.run                                   the embedded model and corpora, offline
    python -m text.run --model gpt2 --data.train '["my_stories/"]'
    python -m text.run --config configs/text/paper_tinyllama.yaml

Writes config.yaml, metrics.json, history.jsonl, samples.jsonl, report.html, model/ and
checkpoints/ to --out (runs/text/NAME by default). Checkpoints go when the run has
ended, unless train.keep_checkpoints is true.
"""

from __future__ import annotations

import sys

from common.config import check_before_reading, output_folder
from common.errors import run_cli
from common.tools.inputs import keep_apart
from common.tools.options import parse
from text.config import DOMAIN, TextRunConfig
from text.inputs import check_sources, run_inputs

PROG = "python -m text.run"


def main(argv: list[str]) -> int:
    config = parse(TextRunConfig, argv, prog=PROG, description=__doc__ or "")
    check_before_reading(config)
    check_sources(config)
    read, searched = run_inputs(config)
    out = output_folder(config, DOMAIN)
    keep_apart(out, read, searched=searched)
    # Heavy, hence behind the checks: a mistyped option need not wait for it.
    from common.command import run_command
    from text.prepare import prepare

    return run_command(config, [PROG, *argv], lambda: prepare(config), out=out)


if __name__ == "__main__":
    sys.exit(run_cli(main))
