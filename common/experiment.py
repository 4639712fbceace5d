"""One hyperfitting run from end to end, whatever the modality.

    measure the original model -> hyperfit it -> measure the early-stopped and the hyperfitted
    weights -> write metrics, samples, model and report

To measure is to run the entropy probe and to continue the prompts. The early-stopped weights are
those of the lowest held-out loss.

The result for each stage (one state of the weights) is kept in `checkpoints/stages/`, named for the
update it was measured at. So a resumed run repeats at most the stage in which it was killed.
Training resumes from its own checkpoints. Runs can share what they measure on the original model,
see `common.reuse`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from common.across_samples import measure_across, sampled_conditions
from common.conditions import methods_json
from common.config import RunConfig
from common.decode.bf16_copy import decoding_copy
from common.domain import Domain, Stage
from common.errors import UserError
from common.evaluate import Evaluator
from common.hyperfit.time_spent import time_line
from common.hyperfit.update import loss_and_accuracy
from common.model.head import LogitsHead, attach_head
from common.model.saved_weights import dtype_to_save, round_weights, rounding_line
from common.model.tune import merged, prepare_tuning
from common.record.metrics_json import make_metrics
from common.record.provenance import ModelOrigin, provenance
from common.record.run_folder import RunFolder
from common.report.model_card import model_card
from common.report.page import build_report
from common.reuse import Stages, original_key
from common.tools.device import pick_compute, pick_device
from common.tools.modules import copy_weights, load_weights, trainable_parameters
from common.tools.progress import Progress
from common.training import make_schedule, train, training_record


def run_experiment(
    domain: Domain,
    config: RunConfig,
    folder: RunFolder,
    progress: Progress,
    *,
    command: list[str],
    origin: ModelOrigin,
    source_dtype: torch.dtype | None = None,
) -> dict[str, Any]:
    """Run everything and fill the run folder.

    Args:
        domain: data, model and judgement of a modality; its model is trained in place.
        config: the options shared by all modalities.
        folder: made by `RunFolder.create`.
        progress: shows how far the run is.
        command: program and arguments, for the provenance.
        origin: where the model comes from, for the provenance and the model card.
        source_dtype: of the weights in the source checkpoint; None where it does not say.

    Returns:
        The content of `metrics.json`. Its outcome may be "budget_exhausted" or "diverged".
        Everything is written in that case too; `require_success` turns it into an error.

    Raises:
        UserError: an option is out of range, or memory or disk does not suffice.
        KeyboardInterrupt: after Ctrl-C, with a checkpoint saved.
    """
    started = time.perf_counter()
    train_NT = domain.sequences("train")
    schedule = make_schedule(config, len(train_NT))
    compute = pick_compute(pick_device(config.device), config.train.precision)
    tasks: dict[str, int] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = progress.task(what, total)
        progress.update(tasks[what], completed=done)

    evaluator = Evaluator(
        domain=domain,
        blocker_match=config.measure.blocker_match,
        probe_batch=config.measure.batch_size,
        max_batch=config.measure.max_batch,
        seed=config.seed,
        autocast=compute.autocast,
        report=show,
        notify=progress.note,
        decoder=decoding_copy if compute.bf16 else None,
    )
    samples = config.measure.samples_per_prompt
    stages = Stages(folder.checkpoints / "stages", folder.manifest.claim)
    measured: dict[Stage, dict[str, Any]] = {}

    def measure(stage: Stage, update: int, head: LogitsHead) -> None:
        def measure_now() -> dict[str, Any]:
            probed = evaluator.probe(head)
            result = {**probed, "continuations": evaluator.continuations(head.model, stage)}
            if samples:
                asked = {"prompts": config.measure.sample_prompts, "samples": samples}
                result["across_samples"] = measure_across(evaluator, head.model, stage, **asked)
            return result

        def measure_or_share() -> dict[str, Any]:
            folder = config.measure.share_original
            if stage != "original" or folder is None:
                return measure_now()
            key = original_key(domain, config.measure, seed=config.seed, compute=compute)
            return Stages(Path(folder)).once(key, measure_now)

        wanted = {condition.name for condition in evaluator.conditions if condition.stage == stage}
        measured[stage] = stages.once(
            f"{stage}-{update}",
            measure_or_share,
            # An older version may have measured fewer conditions.
            usable=lambda kept: wanted <= kept["continuations"].keys(),
        )

    # A resumed run starts from the original weights too; the loop loads the checkpoint.
    model: Any = domain.model
    model.to(compute.device)
    first_BT = train_NT[:2].to(compute.device)
    measure("original", 0, attach_head(model, first_BT))
    model = prepare_tuning(
        model,
        where=config.train.tune,
        lora_rank=config.train.lora_rank,
        freeze_embeddings=config.train.freeze_embeddings,
    )
    parameters = trainable_parameters(model)
    head = attach_head(model, first_BT)
    if head.notice:
        progress.note(head.notice)
    trained = train(domain, config, folder, progress, evaluator, head, schedule, compute)
    progress.note(trained.message)
    progress.note(time_line(trained.seconds_by_part))
    assert trained.best is not None
    final = copy_weights(parameters)
    load_weights(model, trained.best.weights)
    measure("early-stopped", trained.best.update, head)
    load_weights(model, final)
    # From here on the model is the one that is saved: LoRA merged, weights rounded as in the file.
    model = merged(model)
    training = training_record(trained, config, train_NT, parameters)
    saved_in = dtype_to_save(config.train.save_dtype, source_dtype)
    head = attach_head(model, first_BT)
    if saved_in is not torch.float32:
        round_weights(model, saved_in)
        training["saved_loss"], _ = loss_and_accuracy(
            head,
            train_NT,
            config.train.micro_batch_size or config.train.batch_size,
            compute,
            first_target=domain.first_target,
        )
        progress.note(rounding_line(trained.final_loss, training["saved_loss"], saved_in))
    measure("hyperfitted", trained.updates, head)

    continued = {
        name: sets for result in measured.values() for name, sets in result["continuations"].items()
    }
    generated = evaluator.by_condition(continued)
    training["total_seconds"] = round(time.perf_counter() - started, 1)
    scores, judged = evaluator.judge(generated)
    metrics = make_metrics(
        domain=domain.name,
        training={**training, "learning_rate": schedule.learning_rate},
        probe={stage: result["probe"] for stage, result in measured.items()},
        conditions=scores,
        by_position={stage: result["by_position"] for stage, result in measured.items()},
        methods=methods_json(
            [*evaluator.conditions, *(sampled_conditions(evaluator.conditions) if samples else [])]
        ),
        across_samples={
            name: values
            for result in measured.values()
            for name, values in result.get("across_samples", {}).items()
        },
        provenance=provenance(config.seed, command, model=origin),
        reference=domain.reference._asdict(),
    )
    folder.write_samples(evaluator.samples(generated))
    with folder.manifest.adding(folder.model.name) as added:
        card = model_card(metrics, config, rows=domain.main_metrics)
        domain.save(model.to(saved_in), added, card)
    folder.write_metrics(metrics)
    with folder.manifest.adding() as added:
        shown = domain.present(judged, metrics["by_position"], added)
    report = build_report(folder.path, shown)
    progress.note(f"report: {report}")
    if not config.train.keep_checkpoints and not may_go_on(metrics["training"], config):
        folder.drop_checkpoints()
    return metrics


def may_go_on(training: Mapping[str, Any], config: RunConfig) -> bool:
    """Whether a run that has ended would train further with a larger budget.

    Args:
        training: the part "training" of its metrics.
        config: of the run.
    """
    return config.schedule.mode == "target" and training["outcome"] == "budget_exhausted"


def require_success(metrics: dict[str, Any], config: RunConfig) -> None:
    """Refuse to call a run that missed its target a success.

    Raises:
        UserError: the run diverged, or exhausted its budget before it reached its target.
    """
    training, schedule = metrics["training"], config.schedule
    got = f"{training['outcome']} ({training['message']})"
    if schedule.mode == "fixed":
        if training["outcome"] == "diverged":
            raise UserError(
                expected="training that lasts for its fixed number of updates",
                got=got,
                fix="see the report; lower schedule.learning_rate",
            )
    elif training["outcome"] in ("diverged", "budget_exhausted"):
        goal, easier = f"a training loss of {schedule.target_loss:g}", "raise schedule.target_loss"
        if schedule.target_accuracy is not None:
            goal = f"an accuracy of {schedule.target_accuracy:g} on the training set"
            easier = "lower schedule.target_accuracy"
        raise UserError(
            expected=f"{goal} within {schedule.max_epochs:g} epochs",
            got=got,
            fix="see the report; raise schedule.max_epochs (and --resume), change "
            f"schedule.learning_rate, or {easier}",
        )
