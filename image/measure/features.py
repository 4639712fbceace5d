"""Feature networks, which define similarity for FID, KID, precision, recall and the copy rate.

    load_extractor("offline")                     ships with the package, needs nothing
    load_extractor("offline:runs/image/x/model")  another one from `python -m image.extractor`
    load_extractor("inception")                   the standard; weights from the cache or network
    load_extractor("inception:weights.pth")       the same, from a file
    load_extractor("timm:resnet18")               any timm network, pretrained, through the hub
    load_extractor("timm:resnet18@w.safetensors") the same, from a file

A figure is comparable only with figures from the same network. So every extractor has a `name` that
is part of the names of its metrics: `fid[cifar-net]` is not an Inception FID. For weights from a
file the name includes the first digits of their hash, so two files of one name give two metrics.
Each extractor takes uint8 pixels and does its own resizing and normalisation.

No file of weights can run code: pickles are read here with `weights_only`, and not by a library
whose versions differ in that.

Shapes: N images, C channels, H W pixels, D features.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.config import resolve_data_config
from torch import Tensor, nn
from torch.nn import functional
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from common.errors import UserError, first_line
from common.tools.files import file_sha256
from image.measure.offline_network import WEIGHTS, load_network, normalise

ASSETS = Path(__file__).parent.parent / "assets" / "extractor"
SHIPPED = "cifar-net"
INCEPTION_LAYER = "2048"
INCEPTION_SHA256 = "6726825d"  # first digits, for the file converted from TensorFlow in 2015
# What the libraries raise for files that are absent, truncated, or of another network.
_UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, SafetensorError, UnpicklingError)
_HASH_DIGITS = 8
_INNER = ("state_dict_ema", "model_ema", "state_dict", "model")
_FROM_NETWORK = "get a network connection, pass a file as {file}, or use the offline extractor"


class Extractor(Protocol):
    """Pixels to features.

    Attributes:
        name: label in the names of metrics, of [a-z0-9._-].
        dim: D.
    """

    name: str
    dim: int

    def features(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        """(N, 3, H, W) uint8 to (N, D) float32 on the CPU."""
        ...


class OfflineExtractor:
    """The pooled features of the network in the package, or of another one like it.

    Args:
        folder: holds config.json and extractor.safetensors.
        device: where it computes.

    Raises:
        UserError: the two files are missing or do not fit together.
    """

    def __init__(self, folder: Path, *, device: torch.device) -> None:
        self._network, self._shape = load_network(folder)
        self._network.to(device)
        self._device = device
        self.name, self.dim = self._shape.name, self._network.num_features
        # `image.extractor` names its network like the one in the package unless told otherwise.
        if folder != ASSETS and self.name == SHIPPED:
            digest = file_sha256(folder / WEIGHTS)
            if digest != file_sha256(ASSETS / WEIGHTS):
                self.name += f"-{digest[:_HASH_DIGITS]}"

    def features(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        """(N, 3, H, W) uint8 to (N, D) float32 on the CPU; other sizes are resized to its own."""
        return _batched(self._forward, images_NCHW, batch_size, self._device)

    def maps(self, images_NCHW: Tensor) -> list[Tensor]:
        """Feature maps for a perceptual loss: the stem and every stage, finest first.

        Args:
            images_NCHW: (N, 3, H, W) floats in [0, 1] on the extractor's device. They are not
                resized. They get gradients; the network is frozen and gets none.
        """
        normal_NCHW = normalise(images_NCHW, self._shape.mean, self._shape.std)
        maps = [self._network.stem(normal_NCHW)]
        for stage in self._network.stages:
            maps.append(stage(maps[-1]))
        return maps

    def _forward(self, images_NCHW: Tensor) -> Tensor:
        pixels_NCHW = _resized(images_NCHW, (self._shape.image_size,) * 2, "bilinear")
        normal_NCHW = normalise(pixels_NCHW, self._shape.mean, self._shape.std)
        return self._network.forward_head(
            self._network.forward_features(normal_NCHW), pre_logits=True
        )


class InceptionExtractor:
    """torch-fidelity's InceptionV3, whose FID and KID are the ones that papers report.

    Args:
        weights: a file; None takes the library's cache, else downloads them.
        device: where it computes.

    Raises:
        UserError: the weights cannot be had; names the ways to get them.
    """

    dim = 2048

    def __init__(self, weights: Path | None, *, device: torch.device) -> None:
        self.name = "inception"
        try:
            if weights is not None:
                if os.path.exists(weights) and not os.path.isfile(weights):
                    raise OSError("no file")  # reading from a device may never end
                torch.load(
                    weights, map_location="cpu", weights_only=True
                )  # raises for a file that would run code
                digest = file_sha256(weights)
                if not digest.startswith(INCEPTION_SHA256):
                    self.name = f"inception-{_label(weights.stem)}-{digest[:_HASH_DIGITS]}"
            network = FeatureExtractorInceptionV3(
                "inception-v3-compat",
                [INCEPTION_LAYER],
                feature_extractor_weights_path=None if weights is None else str(weights),
                verbose=False,
            )
        except _UNREADABLE as error:
            raise UserError(
                expected="the weights of torch-fidelity's InceptionV3",
                got=f"{first_line(error)} from {weights or 'the cache and the network'}",
                fix=_FROM_NETWORK.format(file="inception:FILE"),
            ) from error
        self._network: nn.Module = network.to(device)
        self._device = device

    def features(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        """(N, 3, H, W) uint8 to (N, 2048) float32 on the CPU."""
        return _batched(lambda x: self._network(x)[0], images_NCHW, batch_size, self._device)


class TimmExtractor:
    """The features before the classifier of a pretrained timm network.

    Whole images are resized to the network's input. The network's own evaluation crops the middle,
    but generated images are judged up to their edges.

    Args:
        model: its name in timm, e.g. "resnet18" or "vit_small_patch14_dinov2".
        weights: a file of its weights, or None for the hub.
        device: where it computes.

    Raises:
        UserError: timm does not know the model, or the weights cannot be had; names the ways.
    """

    def __init__(self, model: str, weights: Path | None, *, device: torch.device) -> None:
        name, overlay = f"timm-{model}", None
        try:
            if weights is not None:
                if not os.path.isfile(weights):
                    raise FileNotFoundError("no such file")
                # timm prefers weights in memory to every other source that it knows.
                overlay = {"state_dict": _state_dict(weights), "source": ""}
                # Other weights define another metric, so the name differs.
                name += f"-{weights.stem}-{file_sha256(weights)[:_HASH_DIGITS]}"
            network = timm.create_model(
                model, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay
            )
        except _UNREADABLE as error:
            raise UserError(
                expected=f"a timm network {model!r} and weights that fit it",
                got=f"{first_line(error)} from {weights or 'the hub'}",
                fix=_FROM_NETWORK.format(file=f"timm:{model}@FILE"),
            ) from error
        self._network = network.to(device).eval().requires_grad_(False)
        self._device = device
        config = resolve_data_config(model=network)
        self._size, self._mode = tuple(config["input_size"][1:]), config["interpolation"]
        self._mean, self._std = tuple(config["mean"]), tuple(config["std"])
        self.name = _label(name)
        self.dim = _features_of(network)

    def features(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        """(N, 3, H, W) uint8 to (N, D) float32 on the CPU."""
        return _batched(self._forward, images_NCHW, batch_size, self._device)

    def _forward(self, images_NCHW: Tensor) -> Tensor:
        pixels_NCHW = _resized(images_NCHW, self._size, self._mode)
        return self._network(normalise(pixels_NCHW, self._mean, self._std))


def load_extractor(name: str, *, device: torch.device | None = None) -> Extractor:
    """The extractor of a name; the module's docstring lists the forms of names.

    Args:
        device: where it computes; None is the CPU.

    Raises:
        UserError: an unknown kind, or weights that are absent or do not fit.
    """
    place = device if device is not None else torch.device("cpu")
    kind, _, rest = name.partition(":")
    if kind == "offline":
        return OfflineExtractor(Path(rest) if rest else ASSETS, device=place)
    if kind == "inception":
        return InceptionExtractor(Path(rest) if rest else None, device=place)
    if kind == "timm" and rest:
        model, _, file = rest.partition("@")
        return TimmExtractor(model, Path(file) if file else None, device=place)
    raise UserError(
        expected="offline, offline:FOLDER, inception, inception:FILE, timm:MODEL or "
        "timm:MODEL@FILE",
        got=repr(name),
        fix="name one of these extractors",
    )


def _batched(
    forward: Callable[[Tensor], Tensor], images_NCHW: Tensor, batch_size: int, device: torch.device
) -> Tensor:
    assert images_NCHW.dtype == torch.uint8 and images_NCHW.ndim == 4, images_NCHW.dtype
    assert len(images_NCHW) > 0 and images_NCHW.shape[1] == 3, images_NCHW.shape
    with torch.inference_mode():
        parts = [forward(part.to(device)).float().cpu() for part in images_NCHW.split(batch_size)]
    return torch.cat(parts)


def _resized(images_NCHW: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
    """uint8 to floats in [0, 1] of `size`; antialiased, as PIL does it."""
    pixels_NCHW = images_NCHW.float() / 255
    if tuple(images_NCHW.shape[2:]) == size:
        return pixels_NCHW
    return functional.interpolate(pixels_NCHW, size, mode=mode, antialias=True).clamp(0, 1)


def _features_of(network: nn.Module) -> int:
    """D of a timm network: all of them have the attribute, but their base class lacks it."""
    features = network.num_features
    assert isinstance(features, int), type(features)
    return features


def _state_dict(weights: Path) -> dict[str, Any]:
    """The tensors in a file of weights; the averaged (EMA) ones where the file has both.

    Raises:
        UnpicklingError: the file holds more than tensors.
        OSError, RuntimeError, SafetensorError, ValueError: it cannot be read.
    """
    if weights.suffix == ".safetensors":
        found: Any = load_file(weights)
    else:
        found = torch.load(weights, map_location="cpu", weights_only=True)
    if isinstance(found, dict):
        inner = (found.get(key) for key in _INNER)
        found = next((state for state in inner if isinstance(state, dict)), found)
    tensors = found.values() if isinstance(found, dict) else ()
    if not tensors or not all(isinstance(value, Tensor) for value in tensors):
        raise ValueError("other content than named tensors")
    # Data-parallel wrappers and compiled models add prefixes to the names.
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", name): value for name, value in found.items()}


def _label(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower())
