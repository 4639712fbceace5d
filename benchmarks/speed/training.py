"""How fast the training loop is, against `transformers.Trainer` and the authors' plain loop.

    python -m benchmarks.speed.training

A small table, then one JSON line: tokens per second of each arm (see
`benchmarks.speed.training_arms`), the ratios that have a bar, and the cost of the entropy probe.
Arms take short turns in fixed order, and a ratio is taken within one round of turns, so a machine
that is busy for a while disturbs both sides of it. Each arm lives in a fresh process for the whole
run: in one process, the arms would share the allocator, accelerate's settings and the peak of
memory. All models are in memory at once.

"auto" precision decides whether our loop computes in bf16. Where bf16 units are missing it stays
in float32, a Trainer set to bf16 emulates it, and the bars say little; so the Trainer in
float32 is measured as well there. Bars are reported, not enforced.

Each speed and ratio is also given by processor time. On a CPU that other programs keep busy, with
`OMP_NUM_THREADS=1` so that no thread spins while it waits for another, that is the figure to trust;
bars are held against the clock.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.speed.training_arms import ARMS, Setting, Turn, work
from common.errors import UserError, run_cli
from common.record.provenance import provenance, shorten_paths
from common.tools.device import computes_in_bf16, pick_device
from text.corpus import read_documents
from text.model import check_fits, load_tokenizer, meta_model
from text.sequences import Encoder, tokenize

# name -> (numerator, denominator, bar); speeds, so above the bar is good.
RATIOS = {
    "ours_over_trainer_bf16": ("ours", "trainer-bf16", 1.0),
    "ours_over_eager_fp32": ("ours", "eager-fp32", 2.2),
    "ours_over_trainer_fp32": ("ours", "trainer-fp32", None),
}
PROBE_BAR = 0.10  # of the time of a step without the probe


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="embedded", help="embedded, a folder or a hub id")
    parser.add_argument("--corpus", default="embedded:tales", help="what is trained on")
    parser.add_argument("--batch", type=int, default=8, help="sequences per update")
    parser.add_argument("--length", type=int, default=256, help="tokens per sequence")
    parser.add_argument("--updates", type=int, default=8, help="updates per turn")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of turns after warm-up")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--no_compile", action="store_true", help="leave our loop uncompiled")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    args = parser.parse_args(argv)
    for option in ("batch", "length", "updates", "repeats"):
        least = 2 if option == "length" else 1
        if getattr(args, option) < least:
            raise UserError(
                expected=f"--{option} of at least {least}",
                got=str(getattr(args, option)),
                fix=f"change --{option}",
            )

    model = meta_model(args.model)
    check_fits(model, args.length)
    device = pick_device(args.device)
    setting = Setting(
        model=args.model,
        sequences_NT=tokenize(
            read_documents(args.corpus),
            Encoder(load_tokenizer(args.model)),
            length=args.length,
            at_least=args.batch,
        ).ids_NT,
        batch=args.batch,
        updates=args.updates,
        device=device.type,
        compile=not args.no_compile,
    )
    bf16_units = computes_in_bf16(device)
    arms = [arm for arm in ARMS if arm != "trainer-fp32" or not bf16_units]
    turns = take_turns(arms, setting, repeats=args.repeats)
    result = {
        "benchmark": "training_speed",
        "model": shorten_paths(args.model, Path.cwd()),
        "device": device.type,
        "parameters": model.num_parameters(),
        "batch": args.batch,
        "length": args.length,
        "updates_per_turn": args.updates,
        "repeats": args.repeats,
        "bf16_units": bf16_units,
        **summarize(turns, tokens_per_update=args.batch * args.length),
        "provenance": provenance(0, ["python", "-m", "benchmarks.speed.training", *argv]),
    }
    line = json.dumps(result)
    if args.out is not None:
        args.out.write_text(line + "\n", encoding="utf-8")
    if not args.json:
        print(table(result))
    print(line)
    return 0


def take_turns(arms: Sequence[str], setting: Setting, *, repeats: int) -> dict[str, list[Turn]]:
    """`repeats` + 1 turns of each arm; the first holds loading, compilation and warm-up.

    Raises:
        UserError: an arm died, having said why on standard error.
    """
    context = multiprocessing.get_context("spawn")
    turns: dict[str, list[Turn]] = {arm: [] for arm in arms}
    connections: dict[str, Connection] = {}
    with ExitStack() as stack:
        for arm in arms:
            connections[arm], theirs = context.Pipe()
            process = context.Process(target=work, args=(arm, setting, theirs), name=arm)
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(connections[arm].close)  # runs first and ends the arm
        for round_number in range(repeats + 1):
            for arm, connection in connections.items():
                try:
                    connection.send("go")
                    turn = connection.recv()
                except (EOFError, ConnectionError) as error:
                    raise UserError(
                        expected=f"the arm {arm} to train",
                        got="the end of its process",
                        fix="read its message above",
                    ) from error
                turns[arm].append(turn)
                print(
                    f"round {round_number}: {arm} {turn.updates} updates in {turn.seconds:.1f} s",
                    file=sys.stderr,
                )
    return turns


def summarize(turns: dict[str, list[Turn]], *, tokens_per_update: int) -> dict[str, Any]:
    """Medians and ranges over the rounds, without the first; ratios are taken within a round."""
    rates = {
        arm: [turn.updates * tokens_per_update / turn.seconds for turn in of_arm[1:]]
        for arm, of_arm in turns.items()
    }
    cpu_rates = {
        arm: [turn.updates * tokens_per_update / turn.cpu_seconds for turn in of_arm[1:]]
        for arm, of_arm in turns.items()
    }
    arms = {
        arm: {
            "tokens_per_second": _spread(rates[arm], digits=1),
            "tokens_per_cpu_second": _spread(cpu_rates[arm], digits=1),
            "bf16": of_arm[-1].bf16,
            "compiled": of_arm[-1].compiled,
            "first_turn_seconds": round(of_arm[0].seconds, 2),
            "peak_rss_mib": _rounded(of_arm[-1].peak_rss_mib),
            "peak_device_mib": _rounded(of_arm[-1].peak_device_mib),
        }
        for arm, of_arm in turns.items()
    }

    def ratio(over: str, under: str, *, less: float = 0.0) -> dict[str, Any]:
        clock, cpu = (
            _spread([a / b - less for a, b in zip(by[over], by[under], strict=True)])
            for by in (rates, cpu_rates)
        )
        return clock | {"by_cpu_time": cpu}

    ratios: dict[str, Any] = {}
    for name, (over, under, bar) in RATIOS.items():
        if under in rates:
            found = ratio(over, under)
            met = None if bar is None else found["median"] >= bar
            ratios[name] = found | {"bar": bar, "met": met}
    probe = ratio("ours-without-probe", "ours", less=1.0)
    ratios["probe_cost"] = probe | {"bar": PROBE_BAR, "met": probe["median"] <= PROBE_BAR}
    threads = {of_arm[-1].threads for of_arm in turns.values()}
    assert len(threads) == 1, threads
    return {"threads": threads.pop(), "arms": arms, "ratios": ratios}


def table(result: dict[str, Any]) -> str:
    """The same for people, in plain characters."""
    lines = [f"{'tokens/s':20}{'median':>9}{'min':>9}{'max':>9}  {'':15}{'peak RSS':>10}"]
    for arm, of_arm in result["arms"].items():
        rate = of_arm["tokens_per_second"]
        how = ("bf16" if of_arm["bf16"] else "fp32") + (
            " compiled" if of_arm["compiled"] else " eager"
        )
        peak = "" if of_arm["peak_rss_mib"] is None else f"{of_arm['peak_rss_mib']:.0f} MiB"
        lines.append(
            f"{arm:20}{rate['median']:9.0f}{rate['min']:9.0f}{rate['max']:9.0f}  {how:15}{peak:>10}"
        )
    for name, ratio in result["ratios"].items():
        sign = "<=" if name == "probe_cost" else ">="
        bar = "" if ratio["bar"] is None else f"  bar {sign} {ratio['bar']:g}"
        cpu = f"  ({ratio['by_cpu_time']['median']:.2f} by CPU time)"
        spread = f"{ratio['median']:6.2f}{ratio['min']:9.2f}{ratio['max']:9.2f}"
        lines.append(f"{name:23}{spread}{cpu}{bar}")
    units = "with" if result["bf16_units"] else "without"
    machine = result["provenance"]["cpu" if result["device"] == "cpu" else "device"]
    lines.append(
        f"{machine} {units} bf16 units, {result['threads']} threads, "
        f"{result['batch']} x {result['length']} tokens an update"
    )
    return "\n".join(lines)


def _spread(values: list[float], *, digits: int = 4) -> dict[str, float]:
    chosen = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in chosen.items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


if __name__ == "__main__":
    sys.exit(run_cli(main))
