"""A `diffusers.VQModel` as an image tokenizer.

`VQModel.encode(x).latents` are not yet quantised, and `VQModel.decode` would quantise again. So ids
are taken from `model.quantize`, and decoding starts from the rows of the codebook. All arithmetic
is fp32, because small differences of distances decide the codes.

Files hold weights in fp16 where that loses nothing. `rounded` rounds all weights but the codebook,
which halves the file; `from_pretrained` returns fp32 again.

Shapes: N images, C channels, H W pixels, L codes per image = G * G, D codebook width.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import VQModel
from diffusers.utils import logging
from einops import rearrange
from safetensors import SafetensorError
from torch import Tensor, nn

from common.errors import UserError, first_line
from common.tools.files import writing
from image.tokenizer.pixels import check_images, to_signed, to_uint8

CODEBOOK = "quantize."  # prefix of the quantiser's parameters


class VQTokenizer:
    """Codes of a VQModel.

    Args:
        model: fp32; it computes on the device of its weights.

    Raises:
        UserError: the image size is not a multiple of the model's reduction.
    """

    def __init__(self, model: VQModel) -> None:
        self.model = model
        config: Any = model.config
        size, shrink = config.sample_size, 2 ** (len(config.block_out_channels) - 1)
        if not isinstance(size, int) or size % shrink:
            raise UserError(
                expected=f"a VQModel whose sample_size is a multiple of {shrink}, its shrinking",
                got=f"{size}",
                fix="use a model for square images of such a size",
            )
        self.image_size, self.grid = size, size // shrink
        self.vocab_size = int(config.num_vq_embeddings)

    @property
    def fingerprint(self) -> str:
        """sha256 over configuration and weights, computed at every call."""
        config: Any = self.model.config
        settings = {key: config[key] for key in sorted(config) if not key.startswith("_")}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for name, weight in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            digest.update(weight.float().contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def encode(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        check_images(images_NCHW, size=self.image_size, of="the tokenizer")
        ids = [torch.empty(0, self.grid**2, dtype=torch.int64)]
        for start in range(0, len(images_NCHW), batch_size):
            part_NCHW = images_NCHW[start : start + batch_size]
            signed_NCHW = to_signed(part_NCHW.to(self.model.device))
            latents_NDGG = self.model.encode(signed_NCHW).latents
            flat = self.model.quantize(latents_NDGG)[2][2]
            ids.append(flat.view(len(part_NCHW), -1).cpu())
        return torch.cat(ids)

    @torch.no_grad()
    def decode(self, ids_NL: Tensor, *, batch_size: int = 256) -> Tensor:
        assert ids_NL.shape[1] == self.grid**2, ids_NL.shape
        images = [torch.empty(0, 3, self.image_size, self.image_size, dtype=torch.uint8)]
        for start in range(0, len(ids_NL), batch_size):
            part_NL = ids_NL[start : start + batch_size]
            entries_NLD = self.model.quantize.embedding(part_NL.to(self.model.device))
            entries_NDGG = rearrange(entries_NLD, "n (g h) d -> n d g h", g=self.grid)
            decoded: Any = self.model.decode(entries_NDGG.contiguous(), force_not_quantize=True)
            images.append(to_uint8(decoded.sample).cpu())
        return torch.cat(images)

    def save(self, folder: Path) -> None:
        """Write config.json and safetensors for `VQModel.from_pretrained`.

        Raises:
            UserError: the folder cannot be written.
        """
        small = copy.deepcopy(self.model).cpu()
        for name, weight in small.named_parameters():
            half = weight.data.half()
            if not name.startswith(CODEBOOK) and torch.equal(half.float(), weight.data):
                weight.data = half
        with writing(folder):
            small.save_pretrained(folder)


def new_vq_model(
    *,
    image_size: int,
    codes: int,
    embed_dim: int,
    channels: tuple[int, ...],
    layers_per_block: int,
    groups: int,
) -> VQModel:
    """A VQModel with random weights, without attention.

    Convolutions are initialised to preserve variance in a linear network, and residual branches to
    zero. PyTorch's own initialisation makes features so small that it costs 2.5 dB after 400
    updates.

    Args:
        image_size: H and W.
        codes: rows of the codebook.
        embed_dim: width of a row; with few dimensions the codes are used more evenly (Yu et al.
            2022, "Vector-quantized image modeling with improved VQGAN", section 3.2).
        channels: per resolution; each step from one to the next halves the image.
        layers_per_block: residual blocks per resolution (the decoder has one more).
        groups: of the group norms.

    Raises:
        UserError: `channels` or `image_size` is not a multiple of what it must be.
    """
    if not channels or any(width < 1 or width % groups for width in channels):
        raise UserError(
            expected=f"channels that are multiples of groups, {groups}",
            got=f"{list(channels)}",
            fix="change --channels or --groups",
        )
    shrink = 2 ** (len(channels) - 1)
    if image_size % shrink:
        raise UserError(
            expected=f"a size that is a multiple of {shrink}, which {len(channels)} channels give",
            got=f"{image_size}",
            fix="change --size or --channels",
        )
    model = VQModel(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=layers_per_block,
        latent_channels=embed_dim,
        vq_embed_dim=embed_dim,
        sample_size=image_size,
        num_vq_embeddings=codes,
        norm_num_groups=groups,
        mid_block_add_attention=False,
    )
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        if name.endswith("conv2"):  # the last convolution of a residual branch
            nn.init.zeros_(module.weight)
    return model


def rounded(model: VQModel) -> VQModel:
    """A copy in fp32 whose weights, except the codebook, fp16 represents exactly."""
    copied = copy.deepcopy(model)
    for name, weight in copied.named_parameters():
        if not name.startswith(CODEBOOK):
            weight.data = weight.data.half().float()
    return copied


def load_vq(where: str, *, device: torch.device | str = "cpu") -> VQTokenizer:
    """The VQModel in a folder or at a hub id, in fp32 and eval mode.

    Raises:
        UserError: it cannot be read, or weights are missing or of another shape.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # missing weights are reported below, as an error
    try:
        loaded: Any = VQModel.from_pretrained(
            where, torch_dtype=torch.float32, output_loading_info=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            expected="a checkpoint of a VQModel in safetensors",
            got=f"{where!r}, which cannot be read: {first_line(error)}",
            fix="save or download it again",
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    model, info = loaded
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise UserError(
            expected="a complete checkpoint of a VQModel",
            got=f"{where!r}, where {len(missing)} weights are missing, such as {missing[0]}",
            fix="use a complete checkpoint",
        )
    return VQTokenizer(model.to(device).eval())
