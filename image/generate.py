"""Complete images, or generate them without a prompt, and write one picture of all of them.

    python -m image.generate --model runs/image/default/model --out completions.png
    python -m image.generate --model runs/image/default/model --images photos/ --count 8
    python -m image.generate --prompt_share 0 --method sampled

The model receives the first part of each image and completes it, greedily by default, whatever the
checkpoint's own generation config says. With --prompt_share 0 the prompt is empty. The picture has
a column of prompts, one of completions and one of originals; without prompts only completions.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from common.errors import UserError, run_cli
from common.tools.options import parse
from image.generate_config import GenerateConfig
from image.inputs import check_inputs

PROG = "python -m image.generate"


def main(argv: list[str]) -> int:
    config = parse(GenerateConfig, argv, prog=PROG, description=__doc__ or "")
    check(config)
    # Imported after the checks, because it is slow: a mistyped option is reported at once.
    from image.completion import write_completions

    write_completions(config)
    return 0


def check(config: GenerateConfig) -> None:
    """Check the options that need no file, and that no file would be overwritten.

    Raises:
        UserError: one of them cannot be used.
    """
    if Path(config.out).suffix.lower() != ".png":
        raise UserError(
            expected="--out to be a .png file", got=repr(config.out), fix="change --out"
        )
    check_inputs(
        config.out,
        sources={"--images": config.images},
        root=("--root", config.root),
        models={"--model": config.model, "--tokenizer": config.tokenizer},
    )
    if os.path.lexists(config.out) and not config.overwrite:
        raise UserError(
            expected="a new file",
            got=f"{config.out!r}, which exists",
            fix="choose another --out, or pass --overwrite",
        )


if __name__ == "__main__":
    sys.exit(run_cli(main))
