"""Everything that is measured about one state of a model: probe, continuations, scores, samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch

from common.decode.blocker import CitationBlocker
from common.decode.generate import Notify, generate, once, to_stderr
from common.decode.methods import greedy_config
from common.domain import (
    Condition,
    Domain,
    Generations,
    Judgement,
    Metrics,
    PromptSet,
    Stage,
    pool,
    pool_prompts,
)
from common.hyperfit.validation import CurvePoint
from common.measure.diversity import (
    LONG_OVERLAP_TOKENS,
    TrainingStatistics,
    diversity_metrics,
    repetition,
    type_token_ratio,
)
from common.measure.probe import probe_sequences
from common.model.head import LogitsHead
from common.report.samples import COPIED_MIN_RUN, repetition_scores

Report = Callable[[str, int, int], None]


class Evaluator:
    """Measures the states of one run on the same prompts.

    Args:
        domain: prompts, conditions and the modality's own scores.
        blocker_match: tokens that must match before the citation blocker acts.
        probe_batch: sequences per forward pass of the probe.
        max_batch: prompts per batch of generation; None is as many as memory allows.
        seed: of sampling and of the bootstrap.
        autocast: a context manager factory around every forward pass.
        decoder: makes the copy of the model that decodes, e.g. with weights in bf16; None decodes
            with the model itself. Each evaluation makes one copy and then drops it.
        report: receives (what, done, total) while generating, in tokens.
        notify: receives each message about unexpected decoding once, see `common.decode.generate`.
    """

    def __init__(
        self,
        *,
        domain: Domain,
        blocker_match: int,
        probe_batch: int,
        max_batch: int | None,
        seed: int,
        autocast: Callable[..., AbstractContextManager[Any]],
        report: Report,
        notify: Notify = to_stderr,
        decoder: Callable[[Any], Any] | None = None,
    ) -> None:
        self.decoder = decoder or (lambda model: model)
        self.domain, self.seed = domain, seed
        self.prompt_sets = domain.prompts()
        self._pooled = pool_prompts(self.prompt_sets)
        self.conditions = domain.conditions()
        training = [row.numpy() for row in domain.sequences("train").cpu()]
        self.training = TrainingStatistics(training)
        self.blocker = CitationBlocker(
            training,
            blocker_match,
            prompt_length=self.prompt_sets[0].ids_PC.shape[1],
            word_start_V=None if domain.word_start_V is None else domain.word_start_V.cpu().numpy(),
        )
        self.probe_batch, self.max_batch = probe_batch, max_batch
        self.autocast, self.report = autocast, report
        self.notify = once(notify)

    def probe(self, head: LogitsHead) -> dict[str, Any]:
        """Sharpness on the true continuations of the pooled prompts, as JSON: "probe" and, per
        token of the continuation, "by_position"."""
        human = self._pooled
        references_PN = torch.from_numpy(np.stack(human.references))
        with self.autocast():
            probed = probe_sequences(
                head,
                torch.cat([human.ids_PC.cpu(), references_PN], dim=1),
                batch_size=self.probe_batch,
                start=human.ids_PC.shape[1],
            )
        return {
            "probe": probed.to_json(),
            "by_position": {
                name: [round(float(value), 5) for value in probed.mean_by_position(name)]
                for name in ("entropy_nats", "top1_mass")
            },
        }

    def continuations(self, model: Any, stage: Stage) -> dict[str, dict[str, list[np.ndarray]]]:
        """Condition -> prompt set -> P continuations, for the conditions of `stage`."""
        chosen = [condition for condition in self.conditions if condition.stage == stage]
        decoder = self.decoder(model) if chosen else model
        return {condition.name: self._continue(decoder, condition) for condition in chosen}

    def curve_point(self, model: Any, prompts: PromptSet) -> CurvePoint:
        """TTR, rep-4 and copying of greedy continuations, for the curve over training."""
        with self.autocast():
            texts = generate(
                self.decoder(model),
                prompts.ids_PC,
                new_tokens=prompts.new_tokens,
                method=greedy_config(),
                processors=self.domain.processors(),
                max_batch=self.max_batch,
                notify=self.notify,
            )
        ttr = float(np.mean([type_token_ratio(t, self.domain.ttr_window) for t in texts]))
        copied = self.training.overlap.longest_each(texts) > LONG_OVERLAP_TOKENS
        figures = {
            self.domain.ttr_name: ttr,
            "rep_4": float(np.mean([repetition(t, 4) for t in texts])),
            f"overlap_over_{LONG_OVERLAP_TOKENS}": float(np.mean(copied)),
        }
        return CurvePoint(figures=figures, diversity=ttr)

    def curve_prompts(self, count: int) -> PromptSet:
        """`count` prompts spread evenly over the pooled ones."""
        every = self._pooled
        rows = np.linspace(0, len(every.ids_PC) - 1, min(count, len(every.ids_PC))).astype(int)
        return PromptSet(
            name="curve",
            ids_PC=every.ids_PC[rows.tolist()],
            references=[every.references[row] for row in rows],
            new_tokens=every.new_tokens,
        )

    def judge(
        self, generated: dict[str, list[Generations]]
    ) -> tuple[dict[str, dict[str, Metrics]], dict[str, list[Any]]]:
        """Score every condition.

        Returns:
            Condition -> prompt set or "all" -> metric -> interval.
            Condition -> what the domain shows of each prompt set, in their order.
        """
        scores: dict[str, dict[str, Metrics]] = {}
        shown: dict[str, list[Any]] = {}
        for condition, sets in generated.items():
            judged = [self._judge(of_set) for of_set in sets]
            # A single set is the pool itself.
            every = judged[0] if len(sets) == 1 else self._judge(pool(sets))
            scores[condition] = {"all": every.metrics}
            for of_set, judgement in zip(sets, judged, strict=True):
                scores[condition][of_set.prompts.name] = judgement.metrics
            shown[condition] = [judgement.shown for judgement in judged]
        return scores, shown

    def _judge(self, generated: Generations) -> Judgement:
        """The metrics of the core and then those of the domain."""
        continuations = generated.continuations
        measured = token_metrics(self.domain, continuations, self.training, seed=self.seed)
        judgement = self.domain.judge(generated)
        return replace(judgement, metrics=measured | judgement.metrics)

    def samples(self, generated: dict[str, list[Generations]]) -> Iterator[dict[str, Any]]:
        """One record per prompt and condition, for `samples.jsonl`."""
        for sets in generated.values():
            for of_set in sets:
                for index, text in enumerate(of_set.continuations):
                    yield self._sample(of_set, index, text)

    def by_condition(
        self, continued: dict[str, dict[str, list[Any]]]
    ) -> dict[str, list[Generations]]:
        """Continuations of every stage, in the conditions' order, with the references."""
        generated: dict[str, list[Generations]] = {}
        for condition in self.conditions:
            generated[condition.name] = [
                Generations(
                    condition=condition.name,
                    prompts=prompts,
                    continuations=prompts.references
                    if condition.stage == "reference"
                    else [
                        np.asarray(text, dtype=np.int64)
                        for text in continued[condition.name][prompts.name]
                    ],
                )
                for prompts in self.prompt_sets
            ]
        return generated

    def _continue(self, model: Any, condition: Condition) -> dict[str, list[np.ndarray]]:
        """Prompt set -> P continuations.

        Where two sets have the same prompts, only the longer continuations are generated, and the
        shorter set takes their beginnings. Every method generates from left to right, so the result
        is the same.
        """
        assert condition.method is not None
        longest_first = sorted(self.prompt_sets, key=lambda s: s.new_tokens, reverse=True)
        sources: dict[str, PromptSet] = {}
        for prompts in longest_first:
            same = (s for s in sources.values() if torch.equal(s.ids_PC, prompts.ids_PC))
            sources[prompts.name] = next(same, prompts)
        generated = [s for s in longest_first if sources[s.name] is s]
        total = sum(len(s.references) * s.new_tokens for s in generated)
        continued: dict[str, list[np.ndarray]] = {}
        before = 0
        # Sets of one shape form one batch: a step costs little more for twice the prompts.
        for (context, new_tokens), same_shape in groupby(
            sorted(generated, key=_shape, reverse=True), key=_shape
        ):
            sets = list(same_shape)
            processors = self.domain.processors()
            if condition.blocked:
                processors.append(self.blocker.for_prompt_length(context))

            def show(done: int, _sets_total: int, before: int = before) -> None:
                self.report(condition.name, before + done, total)

            with self.autocast():
                texts = generate(
                    model,
                    torch.cat([s.ids_PC for s in sets]),
                    new_tokens=new_tokens,
                    method=condition.method,
                    seed=self.seed,
                    processors=processors,
                    max_batch=self.max_batch,
                    progress=show,
                    notify=self.notify,
                )
            before += len(texts) * new_tokens
            taken = iter(texts)
            continued |= {s.name: list(islice(taken, len(s.references))) for s in sets}
        return {
            prompts.name: [
                text[: prompts.new_tokens] for text in continued[sources[prompts.name].name]
            ]
            for prompts in self.prompt_sets
        }

    def _sample(self, generated: Generations, index: int, text: np.ndarray) -> dict[str, Any]:
        pieces = self.domain.pieces(text)
        return {
            "prompt_set": generated.prompts.name,
            "prompt_index": index,
            "condition": generated.condition,
            "prompt": "".join(self.domain.pieces(generated.prompts.ids_PC[index].cpu().numpy())),
            "continuation": "".join(pieces),
            "tokens": text.tolist(),
            "pieces": pieces,
            "repetition": [round(score, 3) for score in repetition_scores(text.tolist())],
            "copied": self.training.overlap.copied_mask(text, COPIED_MIN_RUN).tolist(),
            self.domain.ttr_name: round(type_token_ratio(text, self.domain.ttr_window), 4),
            "longest_overlap": self.training.overlap.longest(text),
        }


def token_metrics(
    domain: Domain,
    continuations: Sequence[np.ndarray],
    training: TrainingStatistics,
    *,
    seed: int,
) -> Metrics:
    """Diversity and copying of continuations, with the same measures in every domain.

    Args:
        domain: gives the window of the type-token ratio and its name.
        continuations: P arrays of ids.
        training: of the domain's training sequences.
        seed: of the bootstrap.
    """
    return diversity_metrics(
        continuations, training, window=domain.ttr_window, ttr_name=domain.ttr_name, seed=seed
    )


def _shape(prompts: PromptSet) -> tuple[int, int]:
    """(tokens of prompt, new tokens)."""
    return prompts.ids_PC.shape[1], prompts.new_tokens
