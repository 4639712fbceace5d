"""Pretraining on a toy language, without any modality."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig

import common.hyperfit.loop
import common.pretrain
from common.errors import UserError
from common.measure.probe import probe_sequences
from common.model.causal_lm import save_greedy
from common.model.small_llama import small_llama
from common.pretrain import Pretraining, run_pretraining
from common.pretrain_config import PretrainOptions
from common.tools.jsonl import read_jsonl
from common.tools.values import check_values

VOCABULARY, LENGTH, SEQUENCES = 20, 10, 48


@dataclass(frozen=True, kw_only=True)
class Options(PretrainOptions):
    """With one of a modality."""

    length: int = LENGTH


def options(out: Path, **changed: Any) -> Options:
    sizes: dict[str, Any] = {
        "updates": 30,
        "warmup_updates": 3,
        "learning_rate": 2e-2,
        "batch_size": 8,
        "log_every": 5,
        "checkpoint_every": 10,
        "validate_every": 10,
        "device": "cpu",
        "compile": "off",
    }
    return Options(out=str(out), **(sizes | changed))


def counting(count: int, seed: int) -> Tensor:
    """Sequences that count up from anywhere, a number a step."""
    first_N1 = torch.randint(VOCABULARY, (count, 1), generator=torch.Generator().manual_seed(seed))
    return (first_N1 + torch.arange(LENGTH)) % VOCABULARY


def model() -> Any:
    return small_llama(
        vocab_size=VOCABULARY,
        hidden_size=16,
        layers=1,
        heads=2,
        intermediate_size=24,
        context=LENGTH,
        bos_token_id=0,
        eos_token_id=None,
        attention_dropout=0.1,
    )


def task(**changed: Any) -> Pretraining:
    with torch.device("meta"):
        shape = model()
    whole: dict[str, Any] = {
        "notes": ["numbers that count up"],
        "shape": shape,
        "sequences": SEQUENCES,
        "length": LENGTH,
        "ids": lambda: (counting(SEQUENCES, 0).to(torch.int16), counting(8, 1).to(torch.int16)),
        "model": model,
        "save": lambda trained, folder: save_greedy(trained, folder, bos_token_id=0),
        "record": {"language": "counting"},
    }
    return Pretraining(**(whole | changed))


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretrain") / "run"
    assert run_pretraining(options(out), ["prog", "--option"], task) == 0
    return out


def test_artefacts(finished: Path) -> None:
    result = json.loads((finished / "pretrain.json").read_text(encoding="utf-8"))
    assert result["updates"] == 30 and result["tokens"] == 30 * 8 * LENGTH
    assert result["language"] == "counting" and result["provenance"]["command"][0] == "prog"
    assert result["config"]["learning_rate"] == 2e-2 and result["parameters"] > 1000
    before, after = (result[f"heldout_{when}"]["loss_nats"]["mean"] for when in ("before", "after"))
    assert before == pytest.approx(3.0, abs=0.3) and after < 0.7 * before  # ln 20 = 3.0
    history = read_jsonl(finished / "history.jsonl")
    rows = [row for row in history if row["kind"] == "update"]
    assert [row["update"] for row in rows] == [5, 10, 15, 20, 25, 30]
    assert rows[-1]["learning_rate"] < rows[1]["learning_rate"]


def test_the_recorded_loss_is_that_of_the_saved_bf16_model(finished: Path) -> None:
    tensors = load_file(finished / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    saved = AutoModelForCausalLM.from_pretrained(finished / "model", dtype=torch.float32)
    assert saved.config.attention_dropout == 0.0 and saved.generation_config.bos_token_id == 0
    again = probe_sequences(saved, counting(8, 1), batch_size=8).loss_nats.mean
    result = json.loads((finished / "pretrain.json").read_text(encoding="utf-8"))
    assert again == pytest.approx(result["heldout_after"]["loss_nats"]["mean"], rel=1e-6)


# Saved weights are rounded to bf16; products in bf16 round at every update besides.
@pytest.mark.parametrize(("precision", "atol"), [("fp32", 0.01), ("bf16", 0.05)])
def test_micro_batches_give_the_same_model(precision: str, atol: float, tmp_path: Path) -> None:
    models = []
    for size in (8, 2):
        out = tmp_path / f"{size}"
        run_pretraining(options(out, micro_batch_size=size, precision=precision), [], task)
        models.append(load_file(out / "model" / "model.safetensors"))
    for name, tensor in models[0].items():
        torch.testing.assert_close(models[1][name].float(), tensor.float(), rtol=0.05, atol=atol)


def test_seed_decides(finished: Path, tmp_path: Path) -> None:
    run_pretraining(options(tmp_path / "same"), [], task)
    run_pretraining(options(tmp_path / "other", seed=1), [], task)
    assert weights(tmp_path / "same") == weights(finished) != weights(tmp_path / "other")


def test_resume_gives_the_same_weights(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = common.hyperfit.loop.TrainingLoop._train_one_update

    def interrupted(loop: Any) -> None:
        if loop.update == 17:
            raise KeyboardInterrupt
        train(loop)

    config = options(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(common.hyperfit.loop.TrainingLoop, "_train_one_update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_pretraining(config, [], task)
    with pytest.raises(UserError, match="--overwrite or --resume"):
        run_pretraining(config, [], task)
    with pytest.raises(UserError, match="learning_rate"):
        run_pretraining(replace(config, resume=True, learning_rate=1.0), [], task)
    assert run_pretraining(replace(config, resume=True), [], task) == 0
    assert weights(tmp_path / "run") == weights(finished)


def test_overwrite_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = options(tmp_path / "run", updates=2)
    run_pretraining(config, [], task)
    assert not capsys.readouterr().out
    run_pretraining(replace(config, overwrite=True, json=True), [], task)
    stored = json.loads((tmp_path / "run" / "pretrain.json").read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out) == stored


def test_dry_run_makes_no_ids_and_no_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> Any:
        raise AssertionError("work began")

    config = options(tmp_path / "run", dry_run=True)
    assert run_pretraining(config, [], lambda: task(ids=refuse, model=refuse)) == 0
    told = capsys.readouterr().err
    assert "numbers that count up" in told and "30 updates of 8 x 10 tokens = 5.00 epochs" in told
    assert not (tmp_path / "run").exists()


def test_a_broken_model_does_not_cost_an_earlier_run(tmp_path: Path) -> None:
    def broken() -> Any:
        one = model()
        torch.nn.init.constant_(one.lm_head.weight, torch.nan)
        return one

    config = options(tmp_path / "run", updates=2)
    run_pretraining(config, [], task)
    before = weights(tmp_path / "run")
    with pytest.raises(UserError, match="weights are finite"):
        run_pretraining(replace(config, overwrite=True), [], lambda: task(model=broken))
    assert weights(tmp_path / "run") == before


def test_divergence_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ruin = torch.optim.AdamW.step

    def step(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        optimizer.param_groups[0]["params"][0].data.fill_(torch.nan)
        return ruin(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(UserError, match="expected a finite training loss.*lower --learning_rate"):
        run_pretraining(options(tmp_path / "run"), [], task)
    assert not (tmp_path / "run" / "pretrain.json").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": SEQUENCES + 1}, "batch_size of at most the 48 training sequences; got 49"),
        ({"device": "abacus"}, "a device among"),
        ({"warmup_updates": -1}, "warmup_updates to be at least 0"),
        ({"learning_rate": -1.0}, "learning_rate to be a positive number"),
    ],
)
def test_what_a_run_refuses(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_pretraining(options(tmp_path / "run", **changed), [], task)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"micro_batch_size": 0}, "micro_batch_size to be at least 1, or null; got 0"),
        *(
            ({name: 0}, f"{name} to be at least 1; got 0")
            for name in ("updates", "batch_size", "log_every", "validate_every")
        ),
        ({"layers": 0}, "layers to be from 1 to 1,000; got 0"),
    ],
)
def test_ranges(changed: dict[str, Any], message: str) -> None:
    check_values(options(Path("out")))
    with pytest.raises(UserError, match=message):
        check_values(options(Path("out"), **changed))


def test_saving_is_neutral_and_may_come_with_a_card(tmp_path: Path) -> None:
    one = model()
    one.generation_config.repetition_penalty = 1.5
    save_greedy(one, tmp_path, card="# Counting\n", bos_token_id=3)
    own = GenerationConfig.from_pretrained(tmp_path)
    assert own.repetition_penalty == 1.0 and own.bos_token_id == 3 and not own.do_sample
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "# Counting\n"
