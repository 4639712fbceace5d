"""What `text.generate` does: continue one prompt and print each token as it is generated."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator

import torch

from common.decode.generate import stream
from common.decode.methods import greedy_config, sampling_config
from common.errors import UserError
from common.tools.device import pick_device
from common.tools.quiet import quiet_transformers
from text.generate_config import GenerateConfig
from text.model import check_fits, check_tokenizer_fits, load_model, load_tokenizer, meta_model
from text.pieces import stream_pieces


def print_continuation(config: GenerateConfig) -> None:
    """Write the continued prompt to standard output and everything else to standard error.

    Raises:
        UserError: a decoding option out of range, a missing model, or a prompt too long for it.
    """
    quiet_transformers()
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
        return
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
    # Decodes prompt and continuation together, so that the first new word keeps its space.
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


def _prompt_then(prompt: list[int], tokens: Iterable[int], seen: list[int]) -> Iterator[int]:
    """Yield the prompt ids, then the new ids; append each new id to `seen`."""
    yield from prompt
    for token in tokens:
        seen.append(token)
        yield token


def _say(line: str) -> None:
    print(line, file=sys.stderr)
