"""Write a model as a GGUF file, for llama.cpp, Ollama and other programs that run such files.

    python -m text.export --model runs/text/default/model --out model.gguf
    llama-cli -m model.gguf -p "Once upon a time" --temp 0

It writes models of the Llama family (Llama, SmolLM, Qwen2) with byte-level tokenizers. For other
models use llama.cpp's convert_hf_to_gguf.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from common.errors import UserError, run_cli
from common.tools.inputs import keep_apart
from common.tools.options import parse
from text.export_config import ExportConfig
from text.inputs import model_path

PROG = "python -m text.export"


def main(argv: list[str]) -> int:
    config = parse(ExportConfig, argv, prog=PROG, description=__doc__ or "")
    out = Path(os.path.expanduser(config.out))
    if os.path.lexists(out):
        raise UserError(
            expected="a new file to write", got=f"{config.out!r}, which exists", fix="set --out"
        )
    if not os.path.isdir(out.parent):
        raise UserError(
            expected="a file in a folder that exists", got=repr(config.out), fix="set --out"
        )
    keep_apart(out, model_path("--model", config.model))
    # Imported after the checks, because it is slow.
    from common.tools.quiet import quiet_transformers
    from text.gguf_tokenizer import gguf_tokenizer
    from text.gguf_writing import architecture_of, write_gguf
    from text.model import SOURCE, check_tokenizer_fits, load_model, load_tokenizer, meta_model

    quiet_transformers()
    shape = meta_model(config.model)
    architecture_of(shape)
    tokenizer = load_tokenizer(config.model)
    check_tokenizer_fits(shape, tokenizer)
    gguf_tokenizer(tokenizer, rows=shape.config.vocab_size)
    weights = sum(parameter.numel() for parameter in shape.parameters())
    size = weights * {"f16": 2, "f32": 4}[config.dtype]
    print(f"{weights / 1e6:.1f} M weights, about {size / 1e9:.2f} GB", file=sys.stderr)
    if config.dry_run:
        return 0
    origin = SOURCE.origin(config.model)
    write_gguf(load_model(config.model), tokenizer, out, dtype=config.dtype, origin=origin)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(run_cli(main))
