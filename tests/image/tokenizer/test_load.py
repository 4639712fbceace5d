"""Tokenizers: a VQModel and colour clusters, loading them, pixels, and the cache of codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import VQModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import ImageGPTImageProcessor

from common.errors import UserError
from image.tokenizer.colours import ColourTokenizer
from image.tokenizer.load import cached_codes, load_tokenizer
from image.tokenizer.pixels import to_signed, to_uint8
from image.tokenizer.vq import VQTokenizer, new_vq_model, rounded

SIZE, GRID, CODES = 16, 4, 12


def noise(count: int, *, size: int = SIZE, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


def tiny_vq(seed: int = 0, **changes: Any) -> VQModel:
    torch.manual_seed(seed)
    options: dict[str, Any] = {
        "image_size": SIZE,
        "codes": CODES,
        "embed_dim": 3,
        "channels": (8, 8, 8),
        "layers_per_block": 1,
        "groups": 4,
    }
    model = new_vq_model(**(options | changes))
    if model.config.sample_size == SIZE:  # encoder outputs as rows, so that many are chosen
        with torch.no_grad():
            latents = model.encode(to_signed(noise(2, seed=5))).latents
        rows = latents.permute(0, 2, 3, 1).flatten(0, 2)[:: 32 // CODES][:CODES]
        model.quantize.embedding.weight.data.copy_(rows)
    return model.eval()


@pytest.fixture(scope="module")
def vq() -> VQTokenizer:
    return VQTokenizer(rounded(tiny_vq()))


@pytest.fixture(scope="module")
def colours() -> ColourTokenizer:
    clusters = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    size = {"height": 8, "width": 8}
    return ColourTokenizer(ImageGPTImageProcessor(clusters=clusters.tolist(), size=size))


# The VQModel.


def test_vq_codes_against_distances_in_float64(vq: VQTokenizer) -> None:
    images = noise(5)
    with torch.no_grad():
        latents = vq.model.encode(images.float() / 127.5 - 1).latents.double().numpy()
    rows = vq.model.quantize.embedding.weight.detach().double().numpy()
    flat = latents.transpose(0, 2, 3, 1).reshape(5, GRID * GRID, 1, 3)
    expected = np.square(flat - rows).sum(-1).argmin(-1)
    ids = vq.encode(images, batch_size=2)
    assert ids.dtype == torch.int64 and (vq.vocab_size, vq.grid, vq.image_size) == (12, 4, 16)
    np.testing.assert_array_equal(ids.numpy(), expected)
    assert len(ids.unique()) > CODES // 2


def test_vq_decoding_against_the_librarys_look_up(vq: VQTokenizer) -> None:
    ids = torch.randint(0, CODES, (3, GRID * GRID), generator=torch.Generator().manual_seed(1))
    looking_up = VQModel.from_config(vq.model.config, lookup_from_codebook=True)
    looking_up.load_state_dict(vq.model.state_dict())
    with torch.no_grad():
        decoded = looking_up.decode(
            ids.flatten(), force_not_quantize=True, shape=(3, GRID, GRID, 3)
        ).sample
    grey = np.clip(np.round((decoded.double().numpy() + 1) * 127.5), 0, 255)
    images = vq.decode(ids, batch_size=2)
    assert images.dtype == torch.uint8 and images.shape == (3, 3, SIZE, SIZE)
    assert np.abs(images.numpy().astype(float) - grey).max() <= 1
    assert (images.numpy() == grey).mean() > 0.999


def test_saved_vq_loads_with_the_library_and_is_the_same(vq: VQTokenizer, tmp_path: Path) -> None:
    vq.save(tmp_path)
    plain = VQModel.from_pretrained(tmp_path)
    assert {weight.dtype for weight in plain.parameters()} == {torch.float32}
    for name, weight in vq.model.state_dict().items():
        assert torch.equal(plain.state_dict()[name], weight), name
    loaded = load_tokenizer(str(tmp_path))
    assert isinstance(loaded, VQTokenizer) and loaded.fingerprint == vq.fingerprint
    assert torch.equal(loaded.encode(noise(2)), vq.encode(noise(2)))


def test_files_hold_fp16_where_that_loses_nothing(tmp_path: Path) -> None:
    model = tiny_vq()
    model.decoder.conv_out.bias.data.zero_()  # fp16 holds zeros
    VQTokenizer(model).save(tmp_path / "exact")
    VQTokenizer(rounded(model)).save(tmp_path / "rounded")
    exact, small = (
        load_file(tmp_path / name / "diffusion_pytorch_model.safetensors")
        for name in ("exact", "rounded")
    )
    assert exact["decoder.conv_in.weight"].dtype == torch.float32
    assert exact["decoder.conv_out.bias"].dtype == torch.float16
    wide = {name for name, tensor in small.items() if tensor.dtype == torch.float32}
    assert wide == {"quantize.embedding.weight"}
    torch.testing.assert_close(
        small["decoder.conv_in.weight"].float(), exact["decoder.conv_in.weight"], rtol=1e-3, atol=0
    )


def test_fingerprint_tells_weights_and_configuration() -> None:
    same = [VQTokenizer(tiny_vq()).fingerprint for _ in range(2)]
    moved = tiny_vq()
    moved.quantize.embedding.weight.data[0, 0] += 1e-6
    others = {VQTokenizer(moved).fingerprint, VQTokenizer(tiny_vq(image_size=32)).fingerprint}
    assert same[0] == same[1] and len({same[0], *others}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": (8, 10, 8)}, "multiples of groups, 4"),
        ({"channels": ()}, "multiples of groups, 4"),
        ({"image_size": 18}, "size that is a multiple of 4"),
    ],
)
def test_sizes_that_do_not_divide(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny_vq(**changes)


# Colours.


def test_colours_against_nearest_cluster_in_float64(colours: ColourTokenizer) -> None:
    images = noise(5, size=8)
    pixels = images.numpy().transpose(0, 2, 3, 1).reshape(5, 64, 1, 3) / 127.5 - 1
    clusters = colours.clusters_KC.double().numpy()
    ids = colours.encode(images, batch_size=2)
    assert ids.dtype == torch.int64
    assert (colours.vocab_size, colours.grid, colours.image_size) == (20, 8, 8)
    np.testing.assert_array_equal(ids.numpy(), np.square(pixels - clusters).sum(-1).argmin(-1))
    grey = np.round((clusters + 1) * 127.5)[ids.numpy()].reshape(5, 8, 8, 3).transpose(0, 3, 1, 2)
    decoded = colours.decode(ids)
    assert decoded.dtype == torch.uint8 and np.abs(decoded.numpy() - grey).max() <= 1
    assert torch.equal(colours.encode(decoded), ids)


def test_saved_colours_are_the_same(colours: ColourTokenizer, tmp_path: Path) -> None:
    colours.save(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert isinstance(loaded, ColourTokenizer) and loaded.fingerprint == colours.fingerprint
    assert torch.equal(loaded.encode(noise(2, size=8)), colours.encode(noise(2, size=8)))
    other = ImageGPTImageProcessor(clusters=[[0, 0, 0]], size={"height": 8, "width": 8})
    assert ColourTokenizer(other).fingerprint != colours.fingerprint


def test_colours_of_a_published_configuration(tmp_path: Path) -> None:
    """As in the published checkpoints: an old name of the class and one number as size."""
    settings = {
        "clusters": [[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]],
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "ImageGPTFeatureExtractor",
        "resample": 2,
        "size": 32,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "imagegpt"}', encoding="utf-8")
    loaded = load_tokenizer(str(tmp_path))
    assert (loaded.image_size, loaded.vocab_size) == (32, 2)
    grey = torch.full((1, 3, 32, 32), 127, dtype=torch.uint8)
    grey[..., 16:] = 128
    assert loaded.encode(grey).view(32, 32)[0].tolist() == [0] * 16 + [1] * 16


def test_colours_have_to_be_square() -> None:
    processor = ImageGPTImageProcessor(clusters=[[0, 0, 0]], size={"height": 8, "width": 4})
    with pytest.raises(UserError, match="square images; got one for 8 x 4"):
        ColourTokenizer(processor)


# Both.


@pytest.mark.parametrize("name", ["vq", "colours"])
def test_no_images(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    size, length = tokenizer.image_size, tokenizer.grid**2
    ids = tokenizer.encode(noise(0, size=size))
    assert ids.shape == (0, length) and tokenizer.decode(ids).shape == (0, 3, size, size)


@pytest.mark.parametrize("name", ["vq", "colours"])
def test_images_of_another_size(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = request.getfixturevalue(name)
    size = tokenizer.image_size
    with pytest.raises(UserError, match=f"RGB images of {size} x {size}.*got 24 x 24 with 3"):
        tokenizer.encode(noise(1, size=24))


def damaged(folder: Path, vq: VQTokenizer) -> None:
    vq.save(folder)
    (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"not safetensors")


def incomplete(folder: Path, vq: VQTokenizer) -> None:
    vq.save(folder)
    path = folder / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["quant_conv.bias"]
    save_file(weights, path)


def uneven(folder: Path, vq: VQTokenizer) -> None:
    vq.save(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"sample_size": 30}
    path.write_text(json.dumps(config), encoding="utf-8")


def a_language_model(folder: Path, _vq: VQTokenizer) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")


def broken_json(folder: Path, _vq: VQTokenizer) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def broken_clusters(folder: Path, _vq: VQTokenizer) -> None:
    path = folder / "preprocessor_config.json"
    path.write_text('{"clusters": "red"}', encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (damaged, "checkpoint of a VQModel in safetensors.*cannot be read"),
        (incomplete, "1 weights are missing, such as quant_conv.bias"),
        (uneven, "sample_size is a multiple of 4.*got 30"),
        (a_language_model, "config.json of a VQModel.*without either.*model/"),
        (broken_json, "config.json cannot be read"),
        (broken_clusters, "an ImageGPT processor; got .*cannot be read"),
        (lambda folder, _vq: None, "config.json of a VQModel.*without either"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_folders_that_hold_no_tokenizer(
    make: Any, message: str, vq: VQTokenizer, tmp_path: Path
) -> None:
    make(tmp_path, vq)
    with pytest.raises(UserError, match=message):
        load_tokenizer(str(tmp_path))


def test_paths_that_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="which is a file"):
        load_tokenizer(str(tmp_path / "file"))
    with pytest.raises(UserError, match="which does not exist"):
        load_tokenizer(str(tmp_path / "nowhere"))


# The cache.


class Counting:
    """A tokenizer that counts how often it encodes."""

    vocab_size, grid, image_size = 256, 1, 2

    def __init__(self, fingerprint: str = "a") -> None:
        self.fingerprint, self.calls = fingerprint, 0

    def encode(self, images_NCHW: Tensor, *, batch_size: int = 256) -> Tensor:
        self.calls += 1
        return images_NCHW[:, 0, 0, :1].long()

    def decode(self, ids_NL: Tensor, *, batch_size: int = 256) -> Tensor:
        raise AssertionError("not needed")

    def save(self, folder: Path) -> None:
        raise AssertionError("not needed")


def test_codes_are_kept_by_content(tmp_path: Path) -> None:
    folder, tokenizer, images = tmp_path / "a" / "b", Counting(), noise(4, size=2)
    expected = images[:, 0, 0, :1].long()
    for _ in range(2):
        ids = cached_codes(tokenizer, images, folder)
        assert ids.dtype == torch.int64 and torch.equal(ids, expected)
    assert tokenizer.calls == 1
    changed = images.clone()
    changed[3, 2, 1, 1] ^= 1
    assert torch.equal(cached_codes(tokenizer, changed, folder), expected)
    assert torch.equal(cached_codes(tokenizer, images.flip(0), folder), expected.flip(0))
    assert tokenizer.calls == 3
    other = Counting("b")
    cached_codes(other, images, folder)
    assert other.calls == 1 and len(list(folder.iterdir())) == 4


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tokenizer = Counting()
    for _ in range(2):
        cached_codes(tokenizer, noise(2, size=2), None)
    assert tokenizer.calls == 2 and not list(tmp_path.iterdir())


def test_a_damaged_cache_is_told(tmp_path: Path) -> None:
    cached_codes(Counting(), noise(2, size=2), tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"torn")
    with pytest.raises(UserError, match="a file of codes; got a damaged .*delete it"):
        cached_codes(Counting(), noise(2, size=2), tmp_path)


# Pixels.


def test_pixels_survive_the_way_to_floats_and_back() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    signed = to_signed(every)
    assert (signed.min(), signed.max(), signed.dtype) == (-1.0, 1.0, torch.float32)
    assert torch.equal(to_uint8(signed), every)
    assert to_uint8(torch.tensor([-1.5, 1.5])).tolist() == [0, 255]
