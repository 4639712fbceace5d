"""Images as sequences of codes: the protocol of image tokenizers, and how one is loaded.

A path is "embedded" (the tokenizer inside the package), a folder, or a hub id; it holds a
`diffusers.VQModel` or the processor of an ImageGPT with its colour clusters. Codes are row-major.

Shapes: N images, C channels, H W pixels, L codes per image = G * G of a grid.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from transformers.utils import cached_file

from common.errors import UserError, first_line
from common.tools.files import atomic_write_bytes, writing
from image.tokenizer.colours import load_colours
from image.tokenizer.vq import load_vq

EMBEDDED = "embedded"
TOKENIZER_FOLDER = "image_tokenizer"
"""Name of the folder, inside that of a model, with the tokenizer of its codes."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_A_TOKENIZER = "'embedded', or a folder or hub id of a VQModel or of an ImageGPT processor"


class ImageTokenizer(Protocol):
    """Pixels to codes and back."""

    @property
    def vocab_size(self) -> int:
        """K: codes are 0 .. K - 1."""
        ...

    @property
    def grid(self) -> int:
        """G: an image is G rows of G codes."""
        ...

    @property
    def image_size(self) -> int:
        """H and W of an image."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of everything that decides the codes: configuration and weights."""
        ...

    def encode(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        """(N, 3, H, W) uint8 to (N, L) int64, on the CPU.

        Raises:
            UserError: images of another size.
        """
        ...

    def decode(self, ids_NL: Tensor, *, batch_size: int = 256) -> Tensor:
        """(N, L) int64 to (N, 3, H, W) uint8, on the CPU."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `load_tokenizer` reads."""
        ...


def load_tokenizer(name: str, *, device: torch.device | str = "cpu") -> ImageTokenizer:
    """The tokenizer at `name`; its files decide whether it is a VQModel or colour clusters.

    Args:
        name: "embedded", a folder, or a hub id.
        device: where the VQModel computes.

    Raises:
        UserError: the path does not exist, holds neither kind, or cannot be read.
    """
    where = str(files("image") / "assets" / "tokenizer") if name == EMBEDDED else name
    if not os.path.isdir(where) and (os.path.exists(where) or not _HUB_ID.fullmatch(where)):
        what = "which is a file" if os.path.exists(where) else "which does not exist"
        raise UserError(expected=_A_TOKENIZER, got=f"{name!r}, {what}", fix="correct the path")
    if _settings(where, "config.json").get("_class_name") == "VQModel":
        return load_vq(where, device=device)
    if _settings(where, "preprocessor_config.json").get("clusters"):
        return load_colours(where)
    raise UserError(
        expected="config.json of a VQModel, or preprocessor_config.json with colour clusters",
        got=f"{name!r} without either",
        fix="name the folder model/ that python -m image.tokenize wrote, or an ImageGPT",
    )


def tokenizer_of(model: str) -> str:
    """Path of a model's tokenizer: a folder of its own or, for ImageGPT, the model's folder.

    Args:
        model: "embedded", a folder, or a hub id.
    """
    inside = Path(model) / TOKENIZER_FOLDER
    return str(inside) if os.path.isdir(inside) else model


def cached_codes(tokenizer: ImageTokenizer, images_NCHW: Tensor, folder: Path | None) -> Tensor:
    """The codes of some images, cached in a file that is named by a hash of tokenizer and pixels.

    Args:
        tokenizer: encodes the images if there is no such file yet.
        images_NCHW: (N, 3, H, W) uint8.
        folder: of the cache, created if needed; None does not cache.

    Returns:
        (N, L) int64.

    Raises:
        UserError: images of another size, a damaged file, or a folder that cannot be written.
    """
    if folder is None:
        return tokenizer.encode(images_NCHW)
    digest = hashlib.sha256(f"{tokenizer.fingerprint} {tuple(images_NCHW.shape)} ".encode())
    digest.update(images_NCHW.contiguous().numpy().tobytes())
    path = folder / f"codes-{digest.hexdigest()[:32]}.safetensors"
    if os.path.exists(path):
        try:
            return load_file(path)["ids_NL"].long()
        except (SafetensorError, KeyError) as error:
            raise UserError(
                expected="a file of codes", got=f"a damaged {str(path)!r}", fix="delete it"
            ) from error
    ids_NL = tokenizer.encode(images_NCHW)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, save({"ids_NL": ids_NL.int()}))
    return ids_NL


def _settings(where: str, filename: str) -> dict[str, Any]:
    """Content of a JSON file in a folder or hub repository; empty if there is no such file."""
    try:
        path = cached_file(where, filename, _raise_exceptions_for_missing_entries=False)
        settings = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError) as error:
        raise UserError(
            expected=_A_TOKENIZER,
            got=f"{where!r}, where {filename} cannot be read: {first_line(error)}",
            fix="check the path, or for a hub id its spelling and the network",
        ) from error
    return settings if isinstance(settings, dict) else {}
