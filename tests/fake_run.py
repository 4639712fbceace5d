"""A stand-in for `python -m text.run`: same options, folder and exit codes, no model.

It "trains" for five steps, each a checkpoint with a running sum, and goes on from the last one with
`--resume`. What it does beside that hangs on its options (data.sequences 13: refuses, 14: crashes,
15: misses its target) and, once, on the file named by FAKE_KILL: the word in it says whom to stop
after the second step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

STEPS = 5


def main() -> int:
    words = sys.argv[1:]
    text = Path(words[words.index("--config") + 1]).read_text(encoding="utf-8")
    config = yaml.safe_load(text)
    out, sequences = Path(config["out"]), config["data"]["sequences"]
    with (out.parent / "starts.txt").open("a", encoding="utf-8") as starts:
        starts.write(f"{out.name} {' '.join(words[2:])}\n")
    if sequences == 13:
        print("a line before\nerror: expected other sequences; got 13; change data.sequences")
        return 2
    if sequences == 14:
        return 3
    checkpoints = out / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok="--resume" in words or "--overwrite" in words)
    (out / "config.yaml").write_text(text, encoding="utf-8")
    done, total = 0, 0.0
    if "--resume" in words:
        newest = max(checkpoints.glob("update-*.pt"))
        done, total = json.loads(newest.read_text(encoding="utf-8"))
    for step in range(done + 1, STEPS + 1):
        total += step * sequences + (config["train"]["order_seed"] or config["seed"]) / step
        (checkpoints / f"update-{step:08d}.pt").write_text(json.dumps([step, total]))
        if step == 2:
            stop()
    (out / "model").mkdir(exist_ok=True)
    outcome = "budget_exhausted" if sequences == 15 else "reached"
    (out / "history.jsonl").write_text(
        '{"kind": "epoch", "update": 0, "epoch": 0.0, "validation_loss": 4.0, "ttr_96": 0.2}\n'
        '{"kind": "update", "update": 5, "epoch": 1.0, "train_loss": 0.5}\n'
        '{"kind": "epoch", "update": 5, "epoch": 1.0, "validation_loss": 5.0, "ttr_96": 0.6}\n'
    )
    interval = {"mean": total, "low": total - 1, "high": total + 1, "n": 8}
    probe = {"entropy_nats": 2.0, "loss_nats": 3.0, "gold_rank_median": 1.0, "perplexity": None}
    probe["intervals"] = {"entropy_nats": interval, "loss_nats": interval}
    metrics = {
        "schema": 1,
        "domain": "text",
        "training": {
            "outcome": outcome,
            "message": "as told",
            "final_loss": 0.04,
            "target_loss": None,
            "updates": STEPS,
            "total_seconds": 60.0,
        },
        "probe": {"original": probe},
        "conditions": {
            "hyperfitted-greedy": {"all": {"ttr_96": interval}, "news": {"ttr_96": interval}}
        },
        "provenance": {"seed": config["seed"], "git_commit": "abc"},
    }
    (out / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return 2 if outcome == "budget_exhausted" else 0


def stop() -> None:
    """Do once what the file asks for, and wait for the end."""
    asked = Path(os.environ.get("FAKE_KILL", "/nonexistent"))
    if not asked.is_file():
        return
    whom = asked.read_text(encoding="utf-8")
    asked.unlink()
    if whom == "self":
        os.kill(os.getpid(), signal.SIGKILL)
    os.kill(os.getppid(), signal.SIGTERM if whom == "suite" else signal.SIGKILL)
    if whom == "suite":
        time.sleep(60)  # until the signal is handed on
    time.sleep(0.5)  # the suite is gone, the run goes on


if __name__ == "__main__":
    sys.exit(main())
