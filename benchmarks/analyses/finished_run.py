"""A finished run, opened again: its data, both models, its samples and figures.

    run = FinishedRun.open(Path("runs/text/demo"))

What an analysis needs beyond the run's own figures: the original model and the hyperfitted one side
by side, float32 and without dropout, on the run's prompts. Continuations that the run has made are
taken from its samples; others are made as the run would have made them (seed, precision, the
domain's processors). Teacher-forced measures are taken in float32.

Shapes: P prompts of C tokens, M new tokens, T = C + M.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel

from benchmarks.analyses.next_scores import next_scores
from benchmarks.domains import DOMAINS
from common.config import RunConfig
from common.decode.generate import generate, once, to_stderr
from common.domain import Domain, Generations, Metrics, PromptSet, pool_prompts
from common.errors import UserError
from common.evaluate import token_metrics
from common.measure.diversity import TrainingStatistics
from common.measure.intervals import Interval
from common.record.run_folder import RunFolder
from common.tools.device import pick_compute, pick_device
from common.tools.modules import disable_dropout
from common.tools.options import read_config
from common.tools.quiet import quiet_transformers


class FinishedRun:
    """A run that ended; made by `open`.

    Args:
        folder: of the run.
        config: its options.
        domain: its data, with the original model.
        hyperfitted: the model it saved.

    Attributes:
        original, hyperfitted: float32, eval mode, dropout off, on the device of the config.
        metrics: content of `metrics.json`.
        prompts: the pooled prompt sets as one, "all", with what really followed.
    """

    def __init__(
        self, *, folder: RunFolder, config: RunConfig, domain: Domain, hyperfitted: PreTrainedModel
    ) -> None:
        self.folder, self.config, self.domain = folder, config, domain
        device = pick_device(config.device)
        models: tuple[Any, Any] = (domain.model, hyperfitted)
        self.original, self.hyperfitted = (model.to(device).eval() for model in models)
        self.metrics = folder.read_metrics()
        sets = domain.prompts()
        self.pooled_sets = tuple(one.name for one in sets if one.pooled)
        self.prompts: PromptSet = pool_prompts(sets)
        self._autocast = pick_compute(device, config.train.precision).autocast
        self._notify = once(to_stderr)
        self._check_prompts()

    @classmethod
    def open(cls, path: Path) -> FinishedRun:
        """Read a run folder and load both models.

        Raises:
            UserError: no finished run, one of another domain, or its data or models cannot be
                read any more.
        """
        quiet_transformers()
        folder = RunFolder(path)
        name = folder.read_metrics()["domain"]
        if name not in DOMAINS:
            raise UserError(
                expected=f"a run of a domain among {', '.join(DOMAINS)}",
                got=f"{name!r} in {str(path)!r}",
                fix="give the folder of another run",
            )
        config = read_config(DOMAINS[name].config_class, folder.config)
        domain = DOMAINS[name].load(config)
        hyperfitted = DOMAINS[name].load_model(str(folder.model))
        disable_dropout(hyperfitted)
        return cls(folder=folder, config=config, domain=domain, hyperfitted=hyperfitted)

    @cached_property
    def samples(self) -> list[dict[str, Any]]:
        """Records of `samples.jsonl`."""
        return self.folder.read_samples()

    @property
    def first(self) -> int:
        """The first token after the prompts: where measures on held-out sequences begin."""
        return max(self.prompts.ids_PC.shape[1], self.domain.first_target)

    @cached_property
    def truth_PT(self) -> Tensor:
        """(P, T) int64 the prompts with what really followed."""
        return self.sequences(self.prompts.references)

    def sequences(self, continuations: Sequence[np.ndarray]) -> Tensor:
        """(P, T) the prompts with some continuations, all of M tokens."""
        new_PM = torch.from_numpy(np.stack(continuations))
        return torch.cat([self.prompts.ids_PC.cpu(), new_PM], dim=1)

    def models(self) -> dict[str, Any]:
        """Both models by name."""
        return {"original": self.original, "hyperfitted": self.hyperfitted}

    def scores(self, model: Any, ids_PT: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Scores of every token after the prompts, teacher-forced, as `next_scores` gives them."""
        return next_scores(model, ids_PT, first=self.first, processors=self.domain.processors())

    def sampled(self, condition: str) -> list[np.ndarray]:
        """P continuations of the pooled prompts from the run's samples.

        Raises:
            UserError: the run has no such condition.
        """
        rows = {
            (row["prompt_set"], row["prompt_index"]): row
            for row in self.samples
            if row["condition"] == condition and row["prompt_set"] in self.pooled_sets
        }
        if len(rows) != len(self.prompts.references):
            raise UserError(
                expected=f"{len(self.prompts.references)} samples of {condition!r}",
                got=f"{len(rows)} in {str(self.folder.samples)!r}",
                fix="run it again with --overwrite",
            )
        ordered = sorted(rows, key=lambda key: (self.pooled_sets.index(key[0]), key[1]))
        return [np.asarray(rows[key]["tokens"], dtype=np.int64) for key in ordered]

    def condition_of(self, stage: str, method: GenerationConfig) -> str | None:
        """The run's condition that decodes a stage's weights in this way, or None.

        A run of an older version may lack a condition that its domain has now.
        """
        for one in self.domain.conditions():
            if one.name not in self.metrics["conditions"]:
                continue
            same_method = one.method is not None and one.method.to_dict() == method.to_dict()
            if same_method and one.stage == stage and not one.blocked:
                return one.name
        return None

    def continuations(self, stage: str, method: GenerationConfig) -> list[np.ndarray]:
        """P continuations by "original" or "hyperfitted": the run's own, or new ones."""
        condition = self.condition_of(stage, method)
        if condition is not None:
            return self.sampled(condition)
        return self.generate(self.models()[stage], method)

    def generate(
        self,
        model: Any,
        method: GenerationConfig,
        *,
        prompts_PC: Tensor | None = None,
        processors: Sequence[LogitsProcessor] = (),
    ) -> list[np.ndarray]:
        """Continuations of M tokens, made as the run makes them.

        Args:
            model: of the same vocabulary.
            method: how to decode.
            prompts_PC: other prompts than the pooled ones.
            processors: further ones, before the domain's.
        """
        with self._autocast():
            return generate(
                model,
                self.prompts.ids_PC if prompts_PC is None else prompts_PC,
                new_tokens=self.prompts.new_tokens,
                method=method,
                seed=self.config.seed,
                processors=[*processors, *self.domain.processors()],
                max_batch=self.config.measure.max_batch,
                notify=self._notify,
            )

    def score(self, name: str, continuations: Sequence[np.ndarray], *, judge: bool) -> Metrics:
        """Diversity and copying of P continuations, as the run scores them.

        Args:
            name: of the condition.
            continuations: of the pooled prompts.
            judge: whether to ask the domain for its own scores too.
        """
        metrics = token_metrics(self.domain, continuations, self._training, seed=self.config.seed)
        if judge:
            given = Generations(
                condition=name, prompts=self.prompts, continuations=list(continuations)
            )
            metrics |= self.domain.judge(given).metrics
        return metrics

    def measured(self, condition: str) -> Metrics:
        """What the run measured of a condition over all pooled prompts."""
        found: Mapping[str, Mapping[str, Any]] = self.metrics["conditions"][condition]["all"]
        return {name: Interval(**value) for name, value in found.items()}

    @cached_property
    def _training(self) -> TrainingStatistics:
        return TrainingStatistics([row.numpy() for row in self.domain.sequences("train").cpu()])

    def _check_prompts(self) -> None:
        """Refuse prompts that are not those of the samples: data that changed since the run."""
        for name in self.pooled_sets:
            ids_PC = next(one.ids_PC for one in self.domain.prompts() if one.name == name)
            now = ["".join(self.domain.pieces(row.numpy())) for row in ids_PC.cpu()]
            then: dict[int, str] = {
                row["prompt_index"]: row["prompt"]
                for row in self.samples
                if row["prompt_set"] == name
            }
            if now != [then[index] for index in sorted(then)]:
                raise UserError(
                    expected=f"the prompts that {str(self.folder.path)!r} has samples of",
                    got=f"others in the set {name!r}",
                    fix="restore the run's data, or run it again with --overwrite",
                )
