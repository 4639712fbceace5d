"""The loop that trains a tokenizer: a plain autoencoder first, then with the codebook.

The codebook starts from encoder outputs. These carry no information before the autoencoder has been
trained for a while, so the first updates do not quantise. The images of a batch, their mirroring
and the random draws of the codebook are functions of (seed, update). So a run resumes exactly from
a checkpoint of weights, optimizer, codebook and schedule.

Shapes: N images, C channels, H W pixels, M latents of width D, K codes, G x G latents per image.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from diffusers import VQModel
from einops import rearrange
from torch import Tensor, nn

from common.errors import UserError
from common.hyperfit.data_order import DataOrder
from common.hyperfit.linear_decay import LinearDecay
from common.hyperfit.session import Session
from common.hyperfit.spacing import Regular
from image.tokenizer.codebook import Codebook
from image.tokenizer.loss import LossParts, TokenizerLoss
from image.tokenizer.pixels import to_signed
from image.tokenizer.quality import measure_tokenizer
from image.tokenizer.vq import VQTokenizer

START_LATENTS_PER_CODE = 32  # of the k-means that the codebook starts with
USAGE_WINDOW = 20  # updates over which the usage in log lines is counted


class ImageBatches:
    """The images of each update, some of them mirrored: a function of the seed and the update's
    number alone.

    Args:
        images_NCHW: (N, 3, H, W) uint8 to train on, on the CPU.
        seed: of the order and the mirroring.
        batch_size: images per update.
        flip: whether to mirror each image with probability 1/2.
    """

    def __init__(self, images_NCHW: Tensor, *, seed: int, batch_size: int, flip: bool) -> None:
        self.images_NCHW, self.seed, self.flip = images_NCHW, seed, flip
        self.order = DataOrder(len(images_NCHW), batch_size=batch_size, seed=seed)

    def batch(self, update: int, device: torch.device, *, ahead: int = 0) -> Tensor:
        """(batch, 3, H, W) images in [-1, 1] of update number `update`, from 0.

        Args:
            update: selects the images and decides which are mirrored.
            device: where they go.
            ahead: selects the images of an update that is later by this number.
        """
        rows = self.order.rows(update + ahead)
        images_NCHW = self.images_NCHW[rows].to(device)
        if self.flip:
            draw = torch.Generator().manual_seed(self.seed * 1_000_003 + update)
            mirrored_N = (torch.rand(len(rows), generator=draw) < 0.5).to(device)
            images_NCHW = torch.where(
                mirrored_N[:, None, None, None], images_NCHW.flip(3), images_NCHW
            )
        return to_signed(images_NCHW)


class TokenizerTraining:
    """Trains a VQModel to the end of its schedule.

    Args:
        model: fp32, on its device; the codebook's embedding takes no gradient.
        loss: of a batch.
        batches: the training images and how they are divided into batches.
        heldout_NCHW: uint8 images to measure the tokenizer on while it trains.
        schedule: gives the learning rates and the length of the run.
        optimizer: over the parameters that require gradients.
        codebook: of the model.
        session: checkpoints, history and their cadence, which must set `validate_every` and
            `checkpoint_every`.
        quantise_from: number of first updates that train a plain autoencoder.
        max_gradient_norm: gradients of a larger norm are clipped to it.

    Attributes:
        shown: figures of the last log line and the last validation, for a progress bar.
    """

    def __init__(
        self,
        *,
        model: VQModel,
        loss: TokenizerLoss,
        batches: ImageBatches,
        heldout_NCHW: Tensor,
        schedule: LinearDecay,
        optimizer: torch.optim.Optimizer,
        codebook: Codebook,
        session: Session,
        quantise_from: int,
        max_gradient_norm: float,
    ) -> None:
        self.model, self.loss, self.batches = model, loss, batches
        self.heldout_NCHW, self.schedule = heldout_NCHW, schedule
        self.optimizer, self.codebook, self.session = optimizer, codebook, session
        self.quantise_from, self.max_gradient_norm = quantise_from, max_gradient_norm
        cadence = session.cadence
        assert cadence.validate_every is not None and cadence.checkpoint_every is not None
        self._validations = Regular(every=cadence.validate_every)
        self._checkpoints = Regular(every=cadence.checkpoint_every)
        self.shown: dict[str, Any] = {}
        self._start_window()

    @property
    def update(self) -> int:
        """Updates made so far."""
        return self.session.update

    def run(self, *, resume: bool = False) -> float:
        """Train to the end of the schedule. The model then has the trained weights.

        Args:
            resume: continue from the newest whole checkpoint.

        Returns:
            Seconds spent, earlier processes of a resumed run included.

        Raises:
            UserError: the loss became NaN, or there is nothing to resume.
            KeyboardInterrupt: after Ctrl-C or SIGTERM, once a checkpoint is saved.
        """
        state = self.session.start(resume=resume)
        if state is not None:
            self._load(state)
        else:
            self._save()
        self._start_window()
        self.session.run(self.schedule, self._train_one_update, self._end_window)
        return self.session.seconds

    def _start_window(self) -> None:
        self._window: list[LossParts] = []
        self._norm, self._window_started = torch.zeros(()), time.perf_counter()

    def _end_window(self, interrupted: bool) -> None:
        """Log, measure and save what is due."""
        self._log(self._window, self._norm.item(), time.perf_counter() - self._window_started)
        ended = self.schedule.outcome is not None
        if ended or self.session.due(self._validations):
            self._validate()
        if interrupted or ended or self.session.due(self._checkpoints):
            self._save()
        self._start_window()

    def _train_one_update(self) -> None:
        """The update: batch, forward, backward, clip, step, codebook. It synchronises with the
        device only where the codebook looks for unused codes."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_in(self.session.pending)
        if self.update == self.quantise_from:
            self._start_codebook()

        signed_NCHW = self.batches.batch(self.update, self.model.device)
        parts = self.loss(self.model, signed_NCHW, quantise=self.update >= self.quantise_from)
        parts.total.backward()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self._norm = nn.utils.clip_grad_norm_(trained, self.max_gradient_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if parts.ids_M is not None:
            self.codebook.follow(parts.latents_MD, parts.ids_M, update=self.update)
        self._window.append(parts)

    @torch.no_grad()
    def _start_codebook(self) -> None:
        """Start the codebook by k-means over the encoder outputs of the next batches, with
        `START_LATENTS_PER_CODE` latents for each code."""
        wanted = START_LATENTS_PER_CODE * self.codebook.embedding_KD.shape[0]
        latents: list[Tensor] = []
        while sum(len(part) for part in latents) < wanted:
            signed_NCHW = self.batches.batch(self.update, self.model.device, ahead=len(latents))
            latents_NDGG = self.model.encode(signed_NCHW).latents
            latents.append(rearrange(latents_NDGG, "n d g h -> (n g h) d"))
        self.codebook.start(torch.cat(latents), batch_latents=len(latents[0]), update=self.update)

    # Records.

    def _log(self, window: list[LossParts], norm: float, seconds: float) -> None:
        """Write one line of history and give the losses to the schedule.

        Raises:
            UserError: a loss is NaN, or the last gradient is, after which the next loss would be.
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
            "epoch": round(self.batches.order.epochs(self.update), 4),
            "train_loss": sum(losses) / len(losses),
            **means,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "gradient_norm": norm,
            "images_per_second": round(len(window) * self.batches.order.batch_size / seconds, 1),
        }
        self.shown["l1"] = f"{means['l1']:.4f}"
        if self.update > self.quantise_from:
            usage = self.codebook.usage(update=self.update, window=USAGE_WINDOW)
            perplexity = self.codebook.perplexity()
            record |= {"usage": usage, "perplexity": perplexity, "restarts": self.codebook.restarts}
            self.shown |= {"usage": f"{usage:.1%}", "perplexity": f"{perplexity:.0f}"}
        self.session.journal.write(record)
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
        self.session.journal.write(
            {
                "kind": "epoch",
                "update": self.update,
                "psnr_db": quality.psnr_db.mean,
                "usage": quality.usage,
                "perplexity": quality.perplexity,
                "stability": quality.stability.mean,
            }
        )
        self.shown |= {
            "psnr": f"{quality.psnr_db.mean:.2f} dB",
            "stable": f"{quality.stability.mean:.1%}",
        }

    # States.

    def _save(self) -> None:
        self.session.save(
            {
                "weights": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "codebook": self.codebook.state_dict(),
                "schedule": self.schedule.state_dict(),
            }
        )

    def _load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.codebook.load_state_dict(state["codebook"])
        self.schedule.load_state_dict(state["schedule"])
