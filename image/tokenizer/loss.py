"""The loss of the image tokenizer.

    L1 + w_p * perceptual + w_c * commitment + w_s * stability

Perceptual: distance of channel-normalised feature maps at several scales, as in LPIPS (Zhang et al.
2018) without its learnt weights. Commitment: encoder outputs stay near their codes (van den Oord et
al. 2017). Stability: the reconstruction, encoded again, gives nearly the same codes, so that the
codes of a decoded image are those that it was made from. This term trains both encoder and decoder.

The last two are squared distances divided by the variance of the codes. Nothing else fixes the
scale of the latents, so training would reduce a plain distance by shrinking latents and codes.

Shapes: N images, C channels, H W pixels, M = N * G * G latents of width D.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import VQModel
from einops import rearrange
from torch import Tensor
from torch.nn import functional

Maps = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class LossParts:
    """One batch: the loss, its terms before weighting, and what the codebook needs.

    Attributes:
        total: scalar with a gradient.
        terms: name -> detached scalar.
        latents_MD: encoder outputs, detached.
        ids_M: their codes; None without quantisation.
    """

    total: Tensor
    terms: dict[str, Tensor]
    latents_MD: Tensor
    ids_M: Tensor | None


@dataclass(frozen=True, kw_only=True)
class TokenizerLoss:
    """The loss with its weights.

    Attributes:
        maps: differentiable feature maps of images in [0, 1]; unused at perceptual_weight 0.
        perceptual_weight: of the perceptual term; 0 is off.
        commitment_weight: of the commitment term.
        stability_weight: of the stability term; 0 is off and saves an encoder pass.
    """

    maps: Maps | None
    perceptual_weight: float
    commitment_weight: float
    stability_weight: float

    def __call__(self, model: VQModel, signed_NCHW: Tensor, *, quantise: bool) -> LossParts:
        """The loss of a batch.

        Args:
            model: its codebook needs no gradient.
            signed_NCHW: images in [-1, 1].
            quantise: False trains a plain autoencoder.
        """
        latents_NDGG = model.encode(signed_NCHW).latents
        latents_MD = _flat(latents_NDGG)
        ids_M, codes_MD, entries_NDGG = None, None, latents_NDGG
        if quantise:
            # The library's forward gives the straight-through estimate.
            entries_NDGG, _, (_, _, ids_M) = model.quantize(latents_NDGG)
            codes_MD = model.quantize.embedding(ids_M)
        decoded_NCHW = model.decoder(model.post_quant_conv(entries_NDGG))

        terms = {"l1": functional.l1_loss(decoded_NCHW, signed_NCHW)}
        total = terms["l1"]
        if self.perceptual_weight:
            assert self.maps is not None
            terms["perceptual"] = perceptual_distance(self.maps, decoded_NCHW, signed_NCHW)
            total = total + self.perceptual_weight * terms["perceptual"]
        if codes_MD is not None:
            terms["commitment"] = relative_distance(latents_MD, codes_MD)
            total = total + self.commitment_weight * terms["commitment"]
        if codes_MD is not None and self.stability_weight:
            again_NDGG = model.encode(decoded_NCHW.clamp(-1.0, 1.0)).latents
            terms["stability"] = relative_distance(_flat(again_NDGG), codes_MD)
            total = total + self.stability_weight * terms["stability"]
        return LossParts(
            total=total,
            terms={name: term.detach() for name, term in terms.items()},
            latents_MD=latents_MD.detach(),
            ids_M=ids_M,
        )


def perceptual_distance(maps: Maps, decoded_NCHW: Tensor, signed_NCHW: Tensor) -> Tensor:
    """Mean over scales of the L1 distance between channel-normalised maps.

    Args:
        maps: of images in [0, 1].
        decoded_NCHW: around [-1, 1], clipped here; gets the gradient.
        signed_NCHW: the originals, in [-1, 1].
    """
    with torch.no_grad():
        real = maps((signed_NCHW + 1.0) / 2.0)
    fake = maps((decoded_NCHW.clamp(-1.0, 1.0) + 1.0) / 2.0)
    distances = [
        functional.l1_loss(functional.normalize(one), functional.normalize(other))
        for one, other in zip(fake, real, strict=True)
    ]
    return torch.stack(distances).mean()


def relative_distance(latents_MD: Tensor, codes_MD: Tensor) -> Tensor:
    """Mean squared distance of latents from their codes, in variances of these codes."""
    distance = (latents_MD - codes_MD).square().sum(1).mean()
    return distance / codes_MD.var(0).sum()


def _flat(latents_NDGG: Tensor) -> Tensor:
    return rearrange(latents_NDGG, "n d g h -> (n g h) d")
