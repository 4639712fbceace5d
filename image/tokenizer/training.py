"""The loop that trains a tokenizer: a plain autoencoder first, then with the codebook.

The codebook starts from encoder outputs, which mean something only after the autoencoder has seen
some batches; so the first updates do not quantise. Batches, flips and codebook draws are functions
of (seed, update), so a checkpoint of weights, optimizer, codebook and schedule resumes exactly.

Shapes: N images, C channels, H W pixels, M latents of width D.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import VQModel
from einops import rearrange
from torch import Tensor, nn

from common.errors import UserError
from common.hyperfit.checkpoint import Checkpoints
from common.hyperfit.data_order import DataOrder
from common.hyperfit.linear_decay import LinearDecay
from common.tools.interrupt import deferred_interrupt
from image.tokenizer.codebook import Codebook
from image.tokenizer.loss import LossParts, TokenizerLoss
from image.tokenizer.pixels import to_signed
from image.tokenizer.quality import measure_tokenizer
from image.tokenizer.vq import VQTokenizer

History = Callable[[dict[str, Any]], None]

START_LATENTS_PER_CODE = 32  # for the k-means start
USAGE_WINDOW = 20  # updates over which the live usage is counted


class TokenizerTraining:
    """Trains a VQModel to the end of its schedule.

    Args:
        model: fp32, on its device; the codebook's embedding takes no gradient.
        loss: of a batch.
        images_NCHW: (N, 3, H, W) uint8 to train on, on the CPU.
        heldout_NCHW: for the curve.
        schedule: rates and the length of the run.
        optimizer: over the parameters that take gradients.
        codebook: of the model.
        checkpoints: where to save.
        history: takes one record per log line.
        forget_after: drops the history after an update that a resumed run goes back to.
        seed: of the data order and the flips.
        batch_size: images per update.
        quantise_from: updates of the plain autoencoder.
        flip: mirror half of the images.
        max_gradient_norm: clipping.
        log_every: updates between two meetings with the device.
        checkpoint_every: updates between checkpoints, rounded up to a log line.
        validate_every: updates between held-out figures, rounded up to a log line.
        on_update: called after each log line with the update and figures to show.
    """

    def __init__(
        self,
        *,
        model: VQModel,
        loss: TokenizerLoss,
        images_NCHW: Tensor,
        heldout_NCHW: Tensor,
        schedule: LinearDecay,
        optimizer: torch.optim.Optimizer,
        codebook: Codebook,
        checkpoints: Checkpoints,
        history: History,
        forget_after: Callable[[int], None],
        seed: int,
        batch_size: int,
        quantise_from: int,
        flip: bool,
        max_gradient_norm: float,
        log_every: int,
        checkpoint_every: int,
        validate_every: int,
        on_update: Callable[[int, dict[str, Any]], None],
    ) -> None:
        self.model, self.loss = model, loss
        self.images_NCHW, self.heldout_NCHW = images_NCHW, heldout_NCHW
        self.order = DataOrder(len(images_NCHW), batch_size=batch_size, seed=seed)
        self.schedule, self.optimizer, self.codebook = schedule, optimizer, codebook
        self.checkpoints, self.history, self.forget_after = checkpoints, history, forget_after
        self.seed, self.quantise_from, self.flip = seed, quantise_from, flip
        self.max_gradient_norm, self.log_every = max_gradient_norm, log_every
        self.checkpoint_every, self.validate_every = checkpoint_every, validate_every
        self.on_update = on_update

        self.update = 0
        self._shown: dict[str, Any] = {}
        self._seconds_before, self._started = 0.0, time.perf_counter()

    def run(self, *, resume: bool = False) -> float:
        """Train to the end; the model holds the weights afterwards.

        Args:
            resume: go on from the newest whole checkpoint.

        Returns:
            Seconds spent, earlier parts of a resumed run included.

        Raises:
            UserError: the loss became NaN, or there is nothing to resume.
            KeyboardInterrupt: after Ctrl-C or SIGTERM, once a checkpoint is saved.
        """
        self._started = time.perf_counter()
        if resume:
            self._resume()
        else:
            self.forget_after(-1)
            self._save()
        window: list[LossParts] = []
        norm, window_started = torch.zeros(()), time.perf_counter()
        with deferred_interrupt() as interrupt:
            while self.schedule.outcome is None:
                parts, norm = self._train_one_update(pending=len(window))
                window.append(parts)
                if self.update % self.log_every and len(window) < self.schedule.updates_left:
                    continue
                self._log(window, norm.item(), time.perf_counter() - window_started)
                stop = interrupt.requested
                if self._due(self.validate_every, len(window)):
                    self._validate()
                if stop or self._due(self.checkpoint_every, len(window)):
                    self._save()
                self.on_update(self.update, self._shown)
                if stop:
                    raise KeyboardInterrupt
                window, window_started = [], time.perf_counter()
        return self._seconds()

    def _train_one_update(self, *, pending: int) -> tuple[LossParts, Tensor]:
        """The update: batch, forward, backward, clip, step, codebook. No device sync in here,
        but where a dead code is looked for."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_in(pending)
        if self.update == self.quantise_from:
            self._start_codebook()

        signed_NCHW = self._batch(self.order.rows(self.update))
        parts = self.loss(self.model, signed_NCHW, quantise=self.update >= self.quantise_from)
        parts.total.backward()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        norm = nn.utils.clip_grad_norm_(trained, self.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if parts.ids_M is not None:
            self.codebook.follow(parts.latents_MD, parts.ids_M, update=self.update)
        self.update += 1
        return parts, norm

    def _batch(self, rows: list[int]) -> Tensor:
        """Images in [-1, 1], half of them mirrored where that is asked for."""
        images_NCHW = self.images_NCHW[rows].to(self.model.device)
        if self.flip:
            draw = torch.Generator().manual_seed(self.seed * 1_000_003 + self.update)
            mirrored_N = (torch.rand(len(rows), generator=draw) < 0.5).to(images_NCHW.device)
            images_NCHW = torch.where(
                mirrored_N[:, None, None, None], images_NCHW.flip(3), images_NCHW
            )
        return to_signed(images_NCHW)

    @torch.no_grad()
    def _start_codebook(self) -> None:
        """k-means over the encoder outputs of as many coming batches as its size wants."""
        wanted = START_LATENTS_PER_CODE * self.codebook.embedding_KD.shape[0]
        latents: list[Tensor] = []
        while sum(len(part) for part in latents) < wanted:
            signed_NCHW = self._batch(self.order.rows(self.update + len(latents)))
            latents_NDGG = self.model.encode(signed_NCHW).latents
            latents.append(rearrange(latents_NDGG, "n d g h -> (n g h) d"))
        self.codebook.start(torch.cat(latents), batch_latents=len(latents[0]), update=self.update)

    # Records.

    def _log(self, window: list[LossParts], norm: float, seconds: float) -> None:
        """One line of history; the schedule hears the losses.

        Raises:
            UserError: one of them is NaN, or the gradient is, which ruins the next.
        """
        losses: list[float] = torch.stack([parts.total.detach() for parts in window]).tolist()
        terms = {
            name: torch.stack([parts.terms[name] for parts in window if name in parts.terms])
            for name in window[-1].terms
        }
        means = {name: values.mean().item() for name, values in terms.items()}
        record = {
            "kind": "update",
            "update": self.update,
            "epoch": round(self.order.epochs(self.update), 4),
            "train_loss": sum(losses) / len(losses),
            **means,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "gradient_norm": norm,
            "images_per_second": round(len(window) * self.order.batch_size / seconds, 1),
        }
        self._shown["l1"] = f"{means['l1']:.4f}"
        if self.update > self.quantise_from:
            usage = self.codebook.usage(update=self.update, window=USAGE_WINDOW)
            perplexity = self.codebook.perplexity()
            record |= {"usage": usage, "perplexity": perplexity, "restarts": self.codebook.restarts}
            self._shown |= {"usage": f"{usage:.1%}", "perplexity": f"{perplexity:.0f}"}
        self.history(record)
        self.schedule.observe(losses if math.isfinite(norm) else [*losses[:-1], math.nan])
        if self.schedule.outcome == "diverged":
            raise UserError(
                expected="a finite training loss",
                got=f"NaN at update {self.update}",
                fix="lower --learning_rate and start again with --overwrite",
            )

    def _validate(self) -> None:
        if self.update <= self.quantise_from:
            return
        quality = measure_tokenizer(VQTokenizer(self.model), self.heldout_NCHW)
        self.history(
            {
                "kind": "epoch",
                "update": self.update,
                "psnr_db": quality.psnr_db.mean,
                "usage": quality.usage,
                "perplexity": quality.perplexity,
                "stability": quality.stability.mean,
            }
        )
        self._shown |= {
            "psnr": f"{quality.psnr_db.mean:.2f} dB",
            "stable": f"{quality.stability.mean:.1%}",
        }

    def _due(self, every: int, updates: int) -> bool:
        """Whether a multiple of `every` lies within the last `updates` updates, or all are done."""
        crossed = self.update // every > (self.update - updates) // every
        return crossed or self.schedule.outcome is not None

    # States.

    def _save(self) -> None:
        self.checkpoints.save(
            self.update,
            {
                "update": self.update,
                "seconds": self._seconds(),
                "weights": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "codebook": self.codebook.state_dict(),
                "schedule": self.schedule.state_dict(),
            },
        )

    def _resume(self) -> None:
        state, notices = self.checkpoints.load_newest()
        self.model.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.codebook.load_state_dict(state["codebook"])
        self.schedule.load_state_dict(state["schedule"])
        self.update, self._seconds_before = state["update"], state["seconds"]
        self.forget_after(self.update)
        self.checkpoints.drop_after(self.update)
        for notice in [*notices, f"resumed after update {self.update}"]:
            self.history(
                {"kind": "event", "update": self.update, "event": "resume", "message": notice}
            )

    def _seconds(self) -> float:
        return self._seconds_before + time.perf_counter() - self._started
