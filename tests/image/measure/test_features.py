"""Extractors: what they compute, what they are called, and what is said when weights are absent."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

import image.measure.features
from common.errors import UserError
from image.measure.features import OfflineExtractor, load_extractor
from image.measure.offline_network import (
    WEIGHTS,
    NetworkShape,
    load_network,
    new_network,
    save_network,
)

SHAPE = NetworkShape(
    name="tiny-net",
    classes=("a", "b", "c"),
    stem_width=8,
    widths=(8, 16),
    image_size=16,
    mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.25, 0.3),
)


def pictures(count: int = 5, size: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network whose batch normalisation has seen some images."""
    torch.manual_seed(0)
    network = new_network(classes=3, stem_width=8, widths=(8, 16)).train()
    for _ in range(5):
        network(torch.randn(16, 3, 16, 16))
    path = tmp_path_factory.mktemp("extractor") / "model"
    save_network(network, SHAPE, path)
    return path


@pytest.fixture
def offline(folder: Path) -> OfflineExtractor:
    extractor = load_extractor(f"offline:{folder}")
    assert isinstance(extractor, OfflineExtractor)
    return extractor


def test_the_network_is_read_back_in_single_precision_frozen(folder: Path) -> None:
    network, shape = load_network(folder)
    assert shape == SHAPE and not network.training
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in network.parameters())


def test_offline_features_are_the_pooled_last_maps(offline: OfflineExtractor) -> None:
    """Against a plain pass through the modules of the network, image by image."""
    images_NCHW = pictures()
    features_ND = offline.features(images_NCHW)
    assert (offline.name, offline.dim) == ("tiny-net", 16)
    assert features_ND.shape == (5, 16) and features_ND.dtype == torch.float32
    network = offline._network
    for pixels_CHW, found_D in zip(images_NCHW, features_ND, strict=True):
        x = torch.stack([(pixels_CHW[c] / 255.0 - SHAPE.mean[c]) / SHAPE.std[c] for c in range(3)])
        maps = network.stages(network.stem(x[None]))
        torch.testing.assert_close(found_D, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_the_batch_size_does_not_change_features(offline: OfflineExtractor) -> None:
    whole_ND, split_ND = (offline.features(pictures(), batch_size=size) for size in (256, 2))
    torch.testing.assert_close(whole_ND, split_ND, rtol=1e-5, atol=1e-6)


def test_other_sizes_are_resized(offline: OfflineExtractor) -> None:
    """Against PIL, which antialiases too; it rounds to whole grey levels in between."""
    large_NCHW = pictures(size=40)
    small = [
        np.asarray(Image.fromarray(p.numpy()).resize((16, 16), Image.Resampling.BILINEAR))
        for p in large_NCHW.permute(0, 2, 3, 1).contiguous()
    ]
    small_NCHW = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).contiguous()
    found_ND, expected_ND = offline.features(large_NCHW), offline.features(small_NCHW)
    torch.testing.assert_close(found_ND, expected_ND, rtol=0.02, atol=0.02)


def test_maps_are_the_stem_and_every_stage_and_let_gradients_through(
    offline: OfflineExtractor,
) -> None:
    images_NCHW = (pictures(2) / 255.0).requires_grad_()
    maps = offline.maps(images_NCHW)
    assert [tuple(m.shape) for m in maps] == [(2, 8, 8, 8), (2, 8, 8, 8), (2, 16, 4, 4)]
    sum(m.square().mean() for m in maps).backward()
    assert images_NCHW.grad is not None and images_NCHW.grad.abs().sum((1, 2, 3)).min() > 0
    pooled_ND = maps[-1].mean((2, 3)).detach()
    torch.testing.assert_close(pooled_ND, offline.features(pictures(2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fault", ["no folder", "no weights", "torn weights", "other shape"])
def test_a_broken_folder_is_told_in_one_line(folder: Path, tmp_path: Path, fault: str) -> None:
    config = (folder / "config.json").read_text()
    if fault != "no folder":
        (tmp_path / "config.json").write_text(config.replace('"stem_width": 8', '"stem_width": 4'))
    if fault == "torn weights":
        (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:100])
    if fault == "other shape":
        (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    with pytest.raises(UserError, match="expected an extractor .*python -m image.extractor"):
        load_extractor(f"offline:{tmp_path}")


def test_the_shipped_extractor() -> None:
    """Its size, and that it tells pictures apart."""
    extractor = load_extractor("offline")
    assert isinstance(extractor, OfflineExtractor) and extractor.name == "cifar-net"
    assert sum(p.numel() for p in extractor._network.parameters()) <= 2_000_000
    assert (image.measure.features.ASSETS / WEIGHTS).stat().st_size <= 4 * 2**20
    features_ND = extractor.features(pictures(8, 32))
    assert features_ND.shape == (8, extractor.dim)
    assert features_ND.std(0).mean() > 0.01


@pytest.fixture(scope="module")
def resnet_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "My Weights.safetensors"
    save_file(timm.create_model("resnet10t", num_classes=1000).state_dict(), path)
    return path


def test_timm_with_weights_from_a_file(resnet_weights: Path) -> None:
    """Against the same network built by hand on the same resized, normalised pixels."""
    extractor = load_extractor(f"timm:resnet10t@{resnet_weights}")
    digest = hashlib.sha256(resnet_weights.read_bytes()).hexdigest()[:8]
    assert (extractor.name, extractor.dim) == (f"timm-resnet10t-my-weights-{digest}", 512)
    images_NCHW = pictures(3, 32)
    features_ND = extractor.features(images_NCHW)
    network = timm.create_model("resnet10t", num_classes=0, checkpoint_path="").eval()
    network.load_state_dict(timm.models.load_state_dict(str(resnet_weights)), strict=False)
    mode, size = network.pretrained_cfg["interpolation"], network.pretrained_cfg["input_size"][1:]
    pixels_NCHW = torch.nn.functional.interpolate(
        images_NCHW / 255.0, size, mode=mode, antialias=True
    ).clamp(0, 1)
    mean, std = (
        torch.tensor(network.pretrained_cfg[key])[None, :, None, None] for key in ("mean", "std")
    )
    with torch.no_grad():
        expected_ND = network((pixels_NCHW - mean) / std)
    torch.testing.assert_close(features_ND, expected_ND, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:nonsense", "Unknown model"),
        ("timm:resnet10t@nowhere.safetensors", "no such file"),
        ("timm:resnet10t", "hub"),
        ("inception", "no route"),
        ("inception:nowhere.pth", "No such file"),
    ],
)
def test_absent_weights_say_what_to_do(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to the hub")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refuse)
    monkeypatch.setattr(
        "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", refuse
    )
    with pytest.raises(UserError, match=f"{said}.*or use the offline extractor"):
        load_extractor(name)


def test_weights_of_another_network_are_refused(resnet_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="weights that fit it"):
        load_extractor(f"timm:resnet18@{resnet_weights}")
    path = tmp_path / "other.pth"
    for content in ([1], {}, {"conv1.weight": 3}, {"model": {1: "a"}}):
        torch.save(content, path)
        with pytest.raises(UserError, match="weights that fit it"):
            load_extractor(f"timm:resnet10t@{path}")
    torch.save({"fc.weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match="expected the weights of torch-fidelity's InceptionV3"):
        load_extractor(f"inception:{path}")


@pytest.mark.slow
def test_inception_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights: the features are the library's, the name says they are not the standard."""
    with monkeypatch.context() as patch:
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        patch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url",
            lambda *_, **__: {},
        )
        torch.manual_seed(0)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    path = tmp_path / "random.pth"
    torch.save(network.state_dict(), path)
    extractor = load_extractor(f"inception:{path}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert (extractor.name, extractor.dim) == (f"inception-random-{digest}", 2048)
    images_NCHW = pictures(2, 32)
    torch.testing.assert_close(extractor.features(images_NCHW), network(images_NCHW)[0])


def test_only_the_standard_weights_are_called_inception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        image.measure.features, "FeatureExtractorInceptionV3", lambda *_, **__: torch.nn.Identity()
    )
    path = tmp_path / "Weights 2.pth"
    torch.save({}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_extractor(f"inception:{path}").name == f"inception-weights-2-{digest[:8]}"
    monkeypatch.setattr(image.measure.features, "INCEPTION_SHA256", digest[:8])
    assert load_extractor(f"inception:{path}").name == "inception"
    assert load_extractor("inception").name == "inception"


class Payload:
    """Pickled, it makes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", ["timm:resnet10t@", "inception:"])
def test_a_file_of_weights_runs_no_code(kind: str, zipped: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / "weights.pth", tmp_path / "marker"
    torch.save({"a": Payload(marker)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="weights.*or use the offline extractor") as caught:
        load_extractor(f"{kind}{path}")
    assert "\n" not in str(caught.value) and not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # so the test can fail


def test_timm_is_given_no_path_to_weights(
    resnet_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timm 1.0.15 reads pickles with code in them, so whatever its version it reads no file."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("timm opened a file")

    monkeypatch.setattr("timm.models._builder.load_state_dict", refuse)
    monkeypatch.setattr("timm.models._helpers.load_state_dict", refuse)
    assert load_extractor(f"timm:resnet10t@{resnet_weights}").dim == 512


@pytest.mark.parametrize("wrapped", ["model", "state_dict", "state_dict_ema", "module."])
def test_checkpoints_of_training_are_unwrapped(
    wrapped: str, resnet_weights: Path, tmp_path: Path
) -> None:
    """As `timm.models.load_state_dict` reads them."""
    state, path = load_file(resnet_weights), tmp_path / "checkpoint.pth"
    if wrapped == "module.":
        torch.save({f"module.{name}": value for name, value in state.items()}, path)
    else:
        torch.save({wrapped: state, "epoch": 3}, path)
    found, expected = (
        load_extractor(f"timm:resnet10t@{file}").features(pictures(2, 32))
        for file in (path, resnet_weights)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    theirs = timm.models.load_state_dict(str(path))
    assert image.measure.features._state_dict(path).keys() == theirs.keys()


def test_files_of_one_name_make_two_measures(resnet_weights: Path, tmp_path: Path) -> None:
    state = load_file(resnet_weights)
    other = tmp_path / resnet_weights.name
    save_file({name: value + 1 for name, value in state.items()}, other)
    names = {load_extractor(f"timm:resnet10t@{file}").name for file in (resnet_weights, other)}
    assert len(names) == 2


def test_another_network_cannot_bear_the_name_of_the_shipped_one(
    folder: Path, tmp_path: Path
) -> None:
    """`python -m image.extractor` calls its network like that unless told otherwise."""
    network, _ = load_network(folder)
    save_network(network, dataclasses.replace(SHAPE, name="cifar-net"), tmp_path)
    digest = hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest()[:8]
    assert load_extractor(f"offline:{tmp_path}").name == f"cifar-net-{digest}"
    assert load_extractor(f"offline:{image.measure.features.ASSETS}").name == "cifar-net"
    copied = tmp_path / "copied"
    shutil.copytree(image.measure.features.ASSETS, copied)
    assert load_extractor(f"offline:{copied}").name == "cifar-net"


def test_names_can_stand_in_brackets(resnet_weights: Path) -> None:
    assert re.fullmatch(r"[a-z0-9._-]+", load_extractor(f"timm:resnet10t@{resnet_weights}").name)


@pytest.mark.parametrize("name", ["", "timm", "timm:", "clip", "Offline"])
def test_an_unknown_extractor(name: str) -> None:
    with pytest.raises(UserError, match="expected offline, .*name one of these"):
        load_extractor(name)
