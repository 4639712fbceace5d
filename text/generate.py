"""Continue a prompt, printing the text as it is generated.

    python -m text.generate --model runs/text/default/model --prompt "Once upon a time"

Decoding is greedy by default, whatever the checkpoint's own generation config says. The text goes
to standard output, everything else to standard error.
"""

from __future__ import annotations

import sys

from common.errors import run_cli
from common.tools.options import parse
from text.generate_config import GenerateConfig
from text.inputs import check_model

PROG = "python -m text.generate"


def main(argv: list[str]) -> int:
    config = parse(GenerateConfig, argv, prog=PROG, description=__doc__ or "")
    check_model("--model", config.model)
    # Imported after the checks, because it is slow: a mistyped option is reported at once.
    from text.continuation import print_continuation

    print_continuation(config)
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
