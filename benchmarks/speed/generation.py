"""How fast `common.decode.generate.generate` is, against the way the authors' code generates.

The other side is `model.generate`, greedy, float32, in batches of 8, as in the released code of P1
(Carlsson et al., ICLR 2025, arXiv 2412.04318). Both continue the same prompts in the same process
with the same threads, in alternation, so that a machine that is busy for a while disturbs both. One
JSON line on stdout:

    python -m benchmarks.speed.generation --model embedded

`tokens_equal_argmax` says whether every token is the argmax of one uncached float32 forward pass
over prompt and continuation, which by induction is the output of an uncached argmax loop.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel

from common.decode.generate import generate
from common.decode.methods import greedy_config
from common.errors import run_cli
from text.corpus import read_documents
from text.model import check_fits, load_model, load_tokenizer
from text.sequences import Encoder, make_prompts

PEER_BATCH = 8


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="embedded", help="embedded, a folder or a hub id")
    parser.add_argument("--corpus", default="embedded:tales", help="where the prompts come from")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--prompt_tokens", type=int, default=32)
    parser.add_argument("--new_tokens", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)

    model = load_model(args.model, device=args.device)
    check_fits(model, args.prompt_tokens + args.new_tokens)
    documents = read_documents(args.corpus)
    found = make_prompts(
        documents,
        Encoder(load_tokenizer(args.model)),
        name="speed",
        prompt_tokens=args.prompt_tokens,
        new_tokens=args.new_tokens,
    ).ids_PC
    # Repeating prompts is fair: greedy decoding costs the same whatever it writes.
    ids_PC = found.repeat(-(-args.prompts // len(found)), 1)[: args.prompts]

    def ours(ids: Tensor) -> Tensor:
        rows = generate(model, ids, new_tokens=args.new_tokens, method=greedy_config())
        return torch.stack([torch.from_numpy(row) for row in rows])

    def peer(ids: Tensor) -> Tensor:
        return authors_way(model, ids, args.new_tokens)

    new_tokens = {name: run(ids_PC[:PEER_BATCH]) for name, run in (("o", ours), ("p", peer))}
    assert new_tokens["o"].shape == new_tokens["p"].shape  # and both are warm now
    rates: dict[str, list[float]] = {"ours": [], "peer": []}
    for repeat in range(args.repeats):
        for name, run in (("ours", ours), ("peer", peer)):
            rates[name].append(tokens_per_second(run, ids_PC, args.new_tokens))
            print(f"repeat {repeat}: {name} {rates[name][-1]:.0f} tokens/s", file=sys.stderr)
    ratios = [mine / other for mine, other in zip(rates["ours"], rates["peer"], strict=True)]
    result = {
        "benchmark": "generation_speed",
        "model": args.model,
        "prompts": args.prompts,
        "prompt_tokens": args.prompt_tokens,
        "new_tokens": args.new_tokens,
        "repeats": args.repeats,
        "tokens_per_second": round(statistics.median(rates["ours"])),
        "peer": f"model.generate, float32, batch {PEER_BATCH}",
        "peer_tokens_per_second": round(statistics.median(rates["peer"])),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_low": round(min(ratios), 2),
        "ratio_high": round(max(ratios), 2),
        "tokens_equal_argmax": equal_argmax(model, ids_PC, ours(ids_PC)),
        "device": torch.cuda.get_device_name() if args.device != "cpu" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(json.dumps(result))
    return 0


def authors_way(model: PreTrainedModel, ids_PC: Tensor, new_tokens: int) -> Tensor:
    """(P, N) greedy continuations by `model.generate` in batches of 8."""
    config = greedy_config()
    config.max_new_tokens = new_tokens
    config.min_new_tokens = new_tokens  # no early end, so that both do equal work
    config.pad_token_id = 0
    rows = []
    for ids_BC in ids_PC.to(model.device).split(PEER_BATCH):
        full_BT = model.generate(  # pyright: ignore[reportCallIssue]
            ids_BC,
            generation_config=config,
            attention_mask=torch.ones_like(ids_BC),
        )
        rows.append(full_BT[:, ids_PC.shape[1] :].cpu())
    return torch.cat(rows)


def tokens_per_second(run: Callable[[Tensor], Tensor], ids_PC: Tensor, new_tokens: int) -> float:
    """Both sides end with a copy to the CPU, so the device is done when the clock stops."""
    begun = time.perf_counter()
    run(ids_PC)
    return len(ids_PC) * new_tokens / (time.perf_counter() - begun)


def equal_argmax(model: PreTrainedModel, ids_PC: Tensor, new_PN: Tensor) -> bool:
    """Whether each new token is the argmax given all before it, recomputed without a cache."""
    context = ids_PC.shape[1]
    for ids_BT in torch.cat([ids_PC, new_PN], dim=1).to(model.device).split(PEER_BATCH):
        with torch.inference_mode():
            logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
        if not torch.equal(logits_BTV[:, context - 1 : -1].argmax(dim=-1), ids_BT[:, context:]):
            return False
    return True


if __name__ == "__main__":
    sys.exit(run_cli(main))
