"""Pretrain the small base model that ships with the package, or one like it.

    python -m text.pretrain --data books.jsonl.xz --out runs/text/base

Makes a byte-level BPE tokenizer and a small Llama, trains them with the core's loop, warm-up and
linear decay, and writes `model/` (bf16 safetensors), `history.jsonl` (the curve) and
`pretrain.json` (held-out loss before and after, settings, versions). `--init DIR` continues from a
checkpoint and its tokenizer instead. `--resume` continues after an interruption; the weights become
bit-identical to those of an uninterrupted run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from common.errors import UserError, run_cli
from common.tools.inputs import keep_apart, named_paths
from common.tools.options import parse
from text.inputs import check_books, check_model, model_path
from text.pretrain_config import PretrainConfig

PROG = "python -m text.pretrain"


def main(argv: list[str]) -> int:
    config = parse(PretrainConfig, argv, prog=PROG, description=__doc__ or "")
    data = config.data
    if data is None:
        raise UserError(expected="--data FILE", got="nothing", fix="name a .jsonl(.xz) of books")
    check_books(data)
    check_model("--init", config.init)
    read = named_paths("--data", data) + model_path("--init", config.init)
    keep_apart(Path(config.out), read)
    # Imported after the checks, because it is slow: a mistyped option is reported at once.
    from common.pretrain import run_pretraining
    from text.pretraining import prepare

    return run_pretraining(config, [PROG, *argv], lambda: prepare(config, Path(data)))


if __name__ == "__main__":
    sys.exit(run_cli(main))
