"""Complete images, or make them from nothing, and write one picture of all of them.

    python -m image.generate --model runs/image/default/model --out completions.png
    python -m image.generate --model runs/image/default/model --images photos/ --count 8
    python -m image.generate --prompt_share 0 --method sampled

The first part of each image is given and the model completes it, greedily by default, whatever the
checkpoint's own generation config says. With --prompt_share 0 nothing is given. The picture has a
column for the given part (where there is one), one for the completions and one for the originals.
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
    # Heavy, hence behind the checks: a mistyped option need not wait for it.
    from image.completion import write_completions

    write_completions(config)
    return 0


def check(config: GenerateConfig) -> None:
    """Check the options that need no file, and that nothing would be overwritten.

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
            got=f"{config.out!r}, which is there",
            fix="choose another --out, or pass --overwrite",
        )


if __name__ == "__main__":
    sys.exit(run_cli(main))
