"""Hyperfit a causal language model and report how its greedy decoding changes.

    python -m text.run                                   the embedded model and corpora, offline
    python -m text.run --model gpt2 --data.train '["my_stories/"]'
    python -m text.run --config configs/text/paper_tinyllama.yaml

Writes config.yaml, metrics.json, history.jsonl, samples.jsonl, report.html, model/ and
checkpoints/ to --out (runs/text/NAME by default). The checkpoints are removed when the run has
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
    # Imported after the checks, because it is slow: a mistyped option is reported at once.
    from common.command import run_command
    from text.prepare import prepare

    return run_command(config, [PROG, *argv], lambda: prepare(config), out=out)


if __name__ == "__main__":
    sys.exit(run_cli(main))
