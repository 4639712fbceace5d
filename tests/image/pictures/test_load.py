"""Images from folders, torchvision, the hub and the renderer, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import io
import re
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import compress, crc32

import numpy as np
import pytest
import torch
import torchvision.datasets
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

import image.pictures.sources
from common.errors import UserError
from image.pictures.load import (
    HELDOUT_START,
    LabelledImages,
    drop_shared,
    load_images,
    refuse_overlap,
)
from image.pictures.square import Squarer
from image.vignettes.render import HOURS, vignettes

SIZE = 8


def load(spec: str | Path, count: int = 4, **more: Any) -> LabelledImages:
    options = {"split": "train", "seed": 0, "size": SIZE, "root": Path("unused"), **more}
    return load_images(str(spec), count=count, **options)


def plain(value: int, size: int = SIZE) -> Image.Image:
    return Image.new("RGB", (size, size), (value, 2 * value, 3 * value))


def save_folder(folder: Path, names: list[str], suffix: str = "png") -> Path:
    """Plain pictures, number n of colour (n, 2n, 3n), named so that they sort in that order."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        plain(number).save(path.with_suffix(f".{suffix}"))
    return folder


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    return save_folder(tmp_path / "flat", [f"{n:02d}" for n in range(12)])


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    names = [f"{name}/{n}" for name in ("ant", "bee", "cow") for n in range(4)]
    return save_folder(tmp_path / "classes", names)


# --- vignettes


def test_vignettes_are_split_by_number() -> None:
    train, heldout = (load("embedded:vignettes", 5, split=part) for part in ("train", "heldout"))
    for found, start in ((train, 0), (heldout, HELDOUT_START)):
        images_NCHW, labels_N, _ = vignettes(start, 5, size=SIZE)
        assert torch.equal(found.images_NCHW, images_NCHW) and found.notes == ()
        assert found.labels_N is not None and torch.equal(found.labels_N, labels_N)
        assert found.class_names == HOURS
    assert "10,000,000 to 10,000,004" in heldout.source
    refuse_overlap(train, heldout)
    assert not torch.equal(train.images_NCHW, load("embedded:vignettes", 5, seed=1).images_NCHW)


def test_other_embedded_names_and_endless_counts_are_refused() -> None:
    with pytest.raises(UserError, match="expected embedded:vignettes; got embedded:tales"):
        load("embedded:tales")
    with pytest.raises(UserError, match="at most 10,000,000 vignettes; got 10,000,001"):
        load("embedded:vignettes", HELDOUT_START + 1)


# --- folders


def test_a_flat_folder_has_no_classes(flat: Path) -> None:
    found = load(flat, 12)
    assert found.images_NCHW.shape == (12, 3, SIZE, SIZE)
    assert found.images_NCHW.dtype == torch.uint8
    assert found.labels_N is None and found.class_names == () and found.notes == ()
    assert found.source == str(flat)
    values = found.images_NCHW[:, :, 3, 3].tolist()
    assert sorted(values) == [[n, 2 * n, 3 * n] for n in range(12)]


def test_sub_folders_are_classes(classes: Path) -> None:
    (classes / "notes.txt").write_text("not an image")
    (classes / "empty").mkdir()
    (classes / "ant" / "._0.png").write_bytes(b"a resource fork")
    found = load(classes, 12)
    assert found.class_names == ("ant", "bee", "cow") and found.labels_N is not None
    assert found.labels_N.dtype == torch.int64
    assert torch.equal(found.labels_N, found.images_NCHW[:, 0, 0, 0].long() // 4)


def test_a_selection_is_a_seeded_prefix_that_ignores_the_order_on_disk(
    flat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, more = load(flat, 5), load(flat, 9)
    assert torch.equal(few.images_NCHW, more.images_NCHW[:5])
    expected = torch.randperm(12, generator=torch.Generator().manual_seed(0))[:5]
    assert torch.equal(few.images_NCHW[:, 0, 0, 0].long(), expected)
    assert not torch.equal(few.images_NCHW, load(flat, 5, seed=1).images_NCHW)
    listing = image.pictures.sources._listing
    monkeypatch.setattr(
        image.pictures.sources,
        "_listing",
        lambda folder: tuple(part[::-1] for part in listing(folder)),
    )
    assert torch.equal(few.images_NCHW, load(flat, 5).images_NCHW)


def test_only_the_selected_files_are_read(flat: Path) -> None:
    chosen = set(load(flat, 3).images_NCHW[:, 0, 0, 0].tolist())
    for number in set(range(12)) - chosen:
        (flat / f"{number:02d}.png").write_bytes(b"broken")
    assert set(load(flat, 3).images_NCHW[:, 0, 0, 0].tolist()) == chosen


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "webp", "bmp"])
def test_other_formats_are_read(suffix: str, tmp_path: Path) -> None:
    folder = save_folder(tmp_path / "more", ["a", "b"], suffix)
    assert load(folder, 2).images_NCHW.float().mean() < 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "images \\(.png, .*got none; name a folder that holds some"),
        (lambda p: save_folder(p, ["a", "ant/b"]), "got 1 images in .* beside 1 folders of images"),
        (lambda p: save_folder(p, ["train/ant/b"]), "got images two folders down, in .*train/ant"),
        (lambda p: save_folder(p, ["a", "b"]), "expected 3 images in .*; got 2; ask for fewer"),
    ],
)
def test_folders_that_will_not_do(make: Any, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    make(folder)
    with pytest.raises(UserError, match=message):
        load(folder, 3)


def test_missing_folders_and_unknown_sources_are_told(tmp_path: Path, flat: Path) -> None:
    with pytest.raises(UserError, match="expected embedded:vignettes, a folder.*does not exist"):
        load(tmp_path / "missing")
    with pytest.raises(UserError, match="got 'mnist', which does not exist"):
        load("mnist")
    with pytest.raises(UserError, match=r"00.png', a file"):
        load(flat / "00.png")


def test_an_unreadable_folder_is_told(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(image.pictures.sources.os, "scandir", refuse)
    with pytest.raises(UserError, match="expected a readable folder; got .*Permission denied"):
        load(flat)


@pytest.mark.parametrize("keep", [0, 40, 400])
def test_a_corrupt_image_is_named(keep: int, tmp_path: Path) -> None:
    noise_HWC = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    path = tmp_path / "bad.png"
    Image.fromarray(noise_HWC).save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"expected a readable image; got .*bad.png \("):
        load(tmp_path, 1)


# --- sizes and modes


def test_other_sizes_are_scaled_and_cut_with_a_note(tmp_path: Path) -> None:
    wide_HWC = np.zeros((16, 48, 3), np.uint8)
    wide_HWC[:, 8:40] = 200  # the square in the middle and what its edges are smoothed with
    Image.fromarray(wide_HWC).save(tmp_path / "wide.png")
    Image.fromarray(wide_HWC.transpose(1, 0, 2).copy()).save(tmp_path / "tall.png")
    plain(50).save(tmp_path / "right.png")
    found = load(tmp_path, 3)
    assert found.notes == ("2 of 3 images were resized to 8 x 8 (shorter side, then the middle)",)
    assert sorted(found.images_NCHW.float().mean((2, 3))[:, 0].tolist()) == [50, 200, 200]


def test_scaling_agrees_with_torch_antialiased_bicubic() -> None:
    """Whose way is to scale the shorter side and then to cut."""
    across, down = np.arange(48)[None, :, None], np.arange(32)[:, None, None]
    smooth = 120 + 60 * np.sin(across / 4) + 50 * np.cos(down / 3)
    pixels_HWC = np.repeat(smooth, 3, axis=2).astype(np.uint8)
    got_CHW = Squarer(8)(Image.fromarray(pixels_HWC), "x")
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None].float(),
        size=(8, 12),
        mode="bicubic",
        antialias=True,
    )
    assert np.abs(got_CHW - expected[0, :, :, 2:10].numpy()).max() < 1.5


def test_modes_are_made_rgb_and_counted() -> None:
    square = Squarer(SIZE)
    half = Image.new("RGBA", (SIZE, SIZE), (0, 0, 0, 255))
    half.paste((255, 0, 0, 0), (0, 0, 4, SIZE))  # transparent: its hidden red must not show
    palette = Image.new("RGB", (SIZE, SIZE), (10, 20, 30)).convert("P")
    with_hole = palette.copy()
    with_hole.info["transparency"] = with_hole.getpixel((0, 0))
    cases: list[tuple[Image.Image, list[int]]] = [
        (Image.new("L", (SIZE, SIZE), 77), [77, 77, 77]),
        (Image.new("1", (SIZE, SIZE), 1), [255, 255, 255]),
        (palette, list(palette.convert("RGB").getpixel((0, 0)))),  # pyright: ignore
        (half, [255, 255, 255]),
        (Image.new("LA", (SIZE, SIZE), (9, 255)), [9, 9, 9]),
        (with_hole, [255, 255, 255]),
        (plain(7), [7, 14, 21]),
    ]
    for picture, expected in cases:
        pixels_CHW = square(picture, "x")
        assert pixels_CHW.shape == (3, SIZE, SIZE) and pixels_CHW.dtype == np.uint8
        assert pixels_CHW[:, 0, 0].tolist() == expected, picture.mode
    assert square.notes() == (
        "2 of 7 images were greyscale and made RGB",
        "1 of 7 images were with a palette and made RGB",
        "3 of 7 images were with transparency and laid on white",
    )


@pytest.mark.parametrize("mode", ["I;16", "F", "CMYK"])
def test_modes_without_a_plain_rgb_form_are_refused(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (SIZE, SIZE)).save(tmp_path / "deep.tiff")
    (tmp_path / "deep.tiff").rename(tmp_path / "deep.png")
    with pytest.raises(UserError, match=f"deep.png of the mode '{mode}'; convert it to RGB"):
        load(tmp_path, 1)


def test_pictures_are_turned_as_the_camera_says(tmp_path: Path) -> None:
    pixels_HWC = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels_HWC[0] = 200
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels_HWC).save(tmp_path / "turned.png", exif=exif)
    found = load(tmp_path, 1).images_NCHW[0, 0]
    assert int(found[-1].min()) == 200 and int(found[0].max()) == 0


# --- torchvision


class FakeCifar:
    data = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    targets = (0, 1, 0, 1, 0, 1)
    classes = ("cat", "dog")

    def __init__(self, root: Path, *, train: bool, download: bool) -> None:
        assert download
        self.root = root
        if not train:
            self.data = self.data + np.uint8(100)


class FakeFashion:
    data = torch.full((5, 28, 28), 9, dtype=torch.uint8)
    targets = torch.tensor([0, 1, 2, 0, 1])
    classes = ("shirt", "shoe", "bag")

    def __init__(self, root: Path, *, train: bool, download: bool) -> None:
        pass


def test_torchvision_sets_use_their_own_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", FakeCifar)
    train, heldout = (load("cifar10", 6, split=part, size=32) for part in ("train", "heldout"))
    assert (train.source, heldout.source) == ("cifar10 (train)", "cifar10 (test)")
    values = train.images_NCHW[:, 0, 0, 0].long()
    assert sorted(values.tolist()) == list(range(6))
    assert train.labels_N is not None and torch.equal(train.labels_N, values % 2)
    assert train.class_names == ("cat", "dog") and train.notes == ()
    assert sorted(heldout.images_NCHW[:, 0, 0, 0].tolist()) == list(range(100, 106))


def test_grey_sets_become_rgb_of_the_size_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", FakeFashion)
    found = load("fashion-mnist", 5, size=32)
    assert found.images_NCHW.shape == (5, 3, 32, 32) and bool((found.images_NCHW == 9).all())
    assert found.class_names == ("shirt", "shoe", "bag")
    assert [note.partition(" were ")[0] for note in found.notes] == ["5 of 5 images"] * 2


def test_torchvision_without_a_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("<urlopen error [Errno -2] Name or service not known>\nmore")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", unreachable)
    with pytest.raises(UserError) as caught:
        load("cifar10")
    line = str(caught.value)
    assert (
        "cifar10 in 'unused', or a network to download it" in line and "service not known>" in line
    )
    assert "copy the unpacked cifar10 there, or use embedded:vignettes" in line


# --- the hub


class FakeRows(list[dict[str, Any]]):
    """Rows with features, as `datasets` has them."""

    def __init__(self, rows: list[dict[str, Any]], features: dict[str, Any]) -> None:
        super().__init__(rows)
        self.features = features

    def cast_column(self, column: str, feature: Any) -> FakeRows:
        """As `datasets` does it: undecoded, a picture is its bytes, or the path of its file."""
        assert isinstance(feature, FakeImage) and not feature.decode

        def encoded(picture: Any) -> Any:
            if not isinstance(picture, Image.Image):
                return picture
            buffer = io.BytesIO()
            picture.save(buffer, "png")
            return {"bytes": buffer.getvalue(), "path": None}

        cast = [row | {column: encoded(row[column])} for row in self]
        return FakeRows(cast, self.features | {column: feature})

    def __getitem__(self, key: Any) -> Any:
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


@dataclasses.dataclass
class FakeImage:
    decode: bool = True


class FakeClassLabel:
    names = ("hen", "fox")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A `datasets` package that serves what the test puts under "repository:split"."""
    served: dict[str, Any] = {}

    def load_dataset(repository: str, *, split: str) -> FakeRows:
        if f"{repository}:{split}" not in served:
            raise ValueError(f"Unknown split {split!r}.\nAnd more.")
        return served[f"{repository}:{split}"]

    package = SimpleNamespace(load_dataset=load_dataset, Image=FakeImage, ClassLabel=FakeClassLabel)
    monkeypatch.setitem(sys.modules, "datasets", package)
    return served


def rows(values: list[int], *, labelled: bool = True) -> FakeRows:
    features: dict[str, Any] = {"id": object(), "picture": FakeImage()}
    if labelled:
        features["kind"] = FakeClassLabel()
    return FakeRows([{"id": v, "picture": plain(v), "kind": v % 2} for v in values], features)


def test_hub_splits_are_those_named_or_train_and_test(hub: dict[str, Any]) -> None:
    hub |= {"me/farm:train": rows([1, 2]), "me/farm:test": rows([3, 4]), "me/farm:all": rows([5])}
    train = load("hub:me/farm", 2)
    values = train.images_NCHW[:, 0, 0, 0].long()
    assert sorted(values.tolist()) == [1, 2] and train.class_names == ("hen", "fox")
    assert train.labels_N is not None and torch.equal(train.labels_N, values % 2)
    assert train.source == "hub:me/farm:train"
    assert load("hub:me/farm", 2, split="heldout").source == "hub:me/farm:test"
    assert load("hub:me/farm:all", 1, split="heldout").source == "hub:me/farm:all"
    hub["me/farm:all"] = rows([5], labelled=False)
    assert load("hub:me/farm:all", 1).labels_N is None


def test_hub_sets_that_will_not_do(hub: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="split 'test' of 'me/none'.*got Unknown split 'test'.; ch"):
        load("hub:me/none", split="heldout")
    hub["me/words:train"] = FakeRows([{"text": "a"}], {"text": object(), "id": object()})
    with pytest.raises(UserError, match="a column of images in hub:me/words; got text, id; choose"):
        load("hub:me/words")
    hub["me/gaps:train"] = rows([1])
    hub["me/gaps:train"][0]["picture"] = None
    with pytest.raises(UserError, match="got hub:me/gaps:train row 0 without one"):
        load("hub:me/gaps", 1)


def claiming(width: int, height: int) -> bytes:
    """A PNG of some dozens of bytes whose header tells of any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


TOO_LARGE = [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (13_000, 13_000), (9_000, 7_500), (2**27, 1)]
"""Above Pillow's refusal, above its warning, and above our limit alone."""


@pytest.mark.parametrize("limit", [Image.MAX_IMAGE_PIXELS, None])
@pytest.mark.parametrize(("width", "height"), TOO_LARGE)
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(
    width: int,
    height: int,
    limit: int | None,
    hub: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    monkeypatch.setattr(PngImageFile, "load", lambda _: pytest.fail("decoded"))
    content = claiming(width, height)
    (tmp_path / "bomb.png").write_bytes(content)
    told = r"at most 67,108,864 pixels.*got {} of .*; scale it down or leave it out"
    with pytest.raises(UserError, match=told.format(re.escape(str(tmp_path / "bomb.png")))):
        load(str(tmp_path), 1)
    hub["me/bombs:train"] = rows([1])
    for stored in (
        {"bytes": content, "path": "bomb.png"},
        {"bytes": None, "path": str(tmp_path / "bomb.png")},
    ):
        hub["me/bombs:train"][0]["picture"] = stored
        with pytest.raises(UserError, match=told.format("hub:me/bombs:train row 0")):
            load("hub:me/bombs", 1)


def test_a_real_picture_of_many_pixels(tmp_path: Path) -> None:
    """An 81-megapixel scan in 10 KiB, below what Pillow warns of; and one within the limit."""
    Image.new("1", (9_000, 9_000)).save(tmp_path / "scan.png")
    assert (tmp_path / "scan.png").stat().st_size < 20_000
    with pytest.raises(UserError, match=r"scan.png of 9,000 x 9,000"):
        load(str(tmp_path), 1)
    Image.new("1", (8_000, 1_000)).save(tmp_path / "scan.png")
    assert load(str(tmp_path), 1).images_NCHW.shape[0] == 1


def test_the_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"not installed; pip install 'hyperfitting\[hub\]'"):
        load("hub:me/farm")


# --- overlap


def test_overlap_is_refused_with_its_number_or_dropped_with_a_note(flat: Path) -> None:
    every = load(flat, 12)
    train = load(flat, 3)
    with pytest.raises(UserError, match="got 3 of 12 from .* pixel for pixel; name other held-out"):
        refuse_overlap(train, every)
    left = drop_shared(train, every)
    assert torch.equal(left.images_NCHW, every.images_NCHW[3:]) and left.labels_N is None
    assert left.notes == ("3 held-out images are training images and were dropped",)
    refuse_overlap(train, left)
    assert drop_shared(train, left) is left
    with pytest.raises(UserError, match="got 3 of 3"):
        drop_shared(every, train)


def test_labels_are_dropped_with_their_images(classes: Path) -> None:
    every, train = load(classes, 12), load(classes, 3)
    left = drop_shared(train, every)
    assert every.labels_N is not None and left.labels_N is not None
    assert torch.equal(left.labels_N, every.labels_N[3:])
