"""Continue a prompt, printing the text as it is generated.

    python -m text.generate --model runs/text/default/model --prompt "Once upon a time"

Greedy by default, whatever the checkpoint's own generation config says. The text goes to standard
output, everything else to standard error.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from common.decode import stream
from common.decode_config import greedy_config, sampling_config
from common.device import pick_device
from common.errors import UserError, run_cli
from common.options import parse, require
from common.quiet import quiet_transformers
from common.values import SEED_RANGE, seed_fits
from text.model import check_fits, check_tokenizer_fits, load_model, load_tokenizer, meta_model
from text.pieces import stream_pieces

PROG = "python -m text.generate"


@dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Options of `python -m text.generate`."""

    model: str = "embedded"
    """embedded, smollm2, a checkpoint folder, a .gguf file, or a hub id of a causal LM."""
    prompt: str = ""
    """Text to continue; must hold at least one token."""
    new_tokens: int = 200
    """Most tokens to generate; the text ends earlier where the model ends it."""
    method: Literal["greedy", "top-p"] = "greedy"
    """greedy, or sampling with the three options below."""
    top_p: float = 0.9
    """Sampling: nucleus mass."""
    temperature: float = 0.7
    """Sampling: temperature."""
    top_k: int = 50
    """Sampling: draw from so many tokens at most; 0 is off."""
    seed: int = 0
    """Sampling: seed."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    dry_run: bool = False
    """Print lengths and size, load no weights."""
    json: bool = False
    """Print one JSON object at the end instead of the text as it comes."""


def main(argv: list[str]) -> int:
    config = parse(GenerateConfig, argv, prog=PROG, description=__doc__ or "")
    quiet_transformers()
    if config.new_tokens < 1:
        raise UserError(
            expected="new_tokens of at least 1", got=str(config.new_tokens), fix="ask for more"
        )
    require([("seed", config.seed, seed_fits(config.seed), SEED_RANGE)])
    method = greedy_config()
    if config.method == "top-p":
        method = sampling_config(
            top_p=config.top_p, temperature=config.temperature, top_k=config.top_k
        )
    tokenizer = load_tokenizer(config.model)
    prompt_ids: list[int] = tokenizer(config.prompt)["input_ids"]
    if not prompt_ids:
        raise UserError(
            expected="a prompt of at least one token",
            got="an empty one",
            fix='give some text with --prompt "..."',
        )
    shape = meta_model(config.model)
    check_tokenizer_fits(shape, tokenizer)
    check_fits(shape, len(prompt_ids) + config.new_tokens)
    parameters = sum(p.numel() for p in shape.parameters())
    _say(
        f"{parameters / 1e6:.1f} M parameters ({parameters * 4 / 2**30:.2f} GiB in float32), "
        f"prompt of {len(prompt_ids)} tokens, up to {config.new_tokens} new tokens, {config.method}"
    )
    if config.dry_run:
        return 0
    model = load_model(config.model, device=pick_device(config.device))
    end = tokenizer.eos_token_id
    assert end is None or isinstance(end, int)
    begun = time.perf_counter()
    ids: list[int] = []
    tokens = stream(
        model,
        torch.tensor(prompt_ids),
        new_tokens=config.new_tokens,
        method=method,
        seed=config.seed,
        stop_at=end,
        notify=_say,
    )
    if not config.json:
        print(config.prompt, end="", flush=True)
    # The pieces of prompt and continuation, so that the first word keeps its leading space.
    pieces = stream_pieces(tokenizer, _prompt_then(prompt_ids, tokens, ids))
    text = ""
    for position, piece in enumerate(pieces):
        if position >= len(prompt_ids):
            text += piece
            if not config.json:
                print(piece, end="", flush=True)
    seconds = time.perf_counter() - begun
    if config.json:
        result = {
            "prompt": config.prompt,
            "continuation": text,
            "tokens": ids,
            "method": config.method,
            "seconds": round(seconds, 3),
        }
        print(json.dumps(result, ensure_ascii=False))
    else:
        print()
    _say(f"{len(ids)} tokens, {len(ids) / seconds:.0f} a second")
    return 0


def _prompt_then(prompt: list[int], tokens: Iterable[int], seen: list[int]) -> Iterator[int]:
    """Prompt ids, then new ids, each of which is also put into `seen`."""
    yield from prompt
    for token in tokens:
        seen.append(token)
        yield token


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_cli(main))
