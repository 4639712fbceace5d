"""Hyperfit a causal language model and report what became of its greedy decoding.

    python -m text.run                                   the embedded model and corpora, offline
    python -m text.run --model gpt2 --data.train '["my_stories/"]'
    python -m text.run --config configs/text/paper_tinyllama.yaml

Writes config.yaml, metrics.json, history.jsonl, samples.jsonl, report.html, model/ and
checkpoints/ to --out (runs/text/NAME by default).
"""

from __future__ import annotations

import json
import sys

import torch
from accelerate.utils import set_seed

from common.config import RESUME_MAY_DIFFER, output_folder, parse, to_yaml
from common.errors import run_cli
from common.experiment import require_success, run_experiment
from common.preflight import check_finite, preflight
from common.progress import Progress
from common.quiet import quiet_transformers
from common.record import RunFolder
from common.summary import before_after, conditions_table
from text.config import TextRunConfig
from text.data import load_data
from text.domain import TextDomain, text_conditions
from text.model import (
    check_fits,
    check_tokenizer_fits,
    disable_dropout,
    load_model,
    load_tokenizer,
    meta_model,
)

PROG = "python -m text.run"


def main(argv: list[str]) -> int:
    config = parse(TextRunConfig, argv, prog=PROG, description=__doc__ or "")
    quiet_transformers()
    with Progress() as progress:
        tokenizer = load_tokenizer(config.model)
        shape = meta_model(config.model)
        check_tokenizer_fits(shape, tokenizer)
        data = load_data(config.data, tokenizer, seed=config.seed)
        check_fits(shape, data.longest())
        conditions = text_conditions(config.measure)
        for line in [*data.describe(), *preflight(config, shape, data.train.ids_NT)]:
            progress.note(line)
        if config.dry_run:
            return 0

        # Before the folder is made: a broken checkpoint must not cost an earlier run.
        set_seed(config.seed)
        model = load_model(config.model, dtype=torch.float32)
        check_finite(model)
        disable_dropout(model)
        folder = RunFolder.create(
            output_folder(config, "text"),
            config_yaml=to_yaml(config),
            overwrite=config.overwrite,
            resume=config.resume,
            may_differ=RESUME_MAY_DIFFER,
        )
        domain = TextDomain(model=model, tokenizer=tokenizer, data=data, conditions=conditions)
        metrics = run_experiment(domain, config, folder, progress, command=[PROG, *argv])
    print(f"\n{conditions_table(metrics)}\n", file=sys.stderr)
    print(before_after(folder.read_samples()), file=sys.stderr)
    if config.json:
        print(json.dumps(metrics))
    require_success(metrics, config)
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
