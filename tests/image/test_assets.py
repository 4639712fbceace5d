"""The embedded image models load, belong together, and are as good as their records say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import image
from common.measure.probe import probe_sequences
from image.measure.features import load_extractor
from image.model import check_fits, load_transformer, meta_transformer, sequences, vocabulary
from image.tokenizer.load import load_tokenizer
from image.tokenizer.quality import measure_tokenizer
from image.vignettes.render import vignettes

ASSETS = Path(str(image.__file__)).parent / "assets"
HELDOUT = 10_000_000  # the first vignette that nothing is trained on


def test_size_allows_shipping() -> None:
    sizes = [path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()]
    assert sum(sizes) <= 24 * 2**20


def test_transformer_and_tokenizer_belong_together() -> None:
    tokenizer = load_tokenizer("embedded")
    check_fits(meta_transformer("embedded"), tokenizer)
    assert (tokenizer.image_size, tokenizer.grid, tokenizer.vocab_size) == (32, 8, 512)


def test_tokenizer_is_as_good_as_its_record() -> None:
    recorded = json.loads((ASSETS / "tokenizer" / "tokenize.json").read_text(encoding="utf-8"))
    images_NCHW, _, _ = vignettes(HELDOUT, 96)
    measured = measure_tokenizer(load_tokenizer("embedded"), images_NCHW)
    assert measured.psnr_db.mean == pytest.approx(recorded["heldout"]["psnr_db"]["mean"], abs=0.5)
    assert measured.stability.mean > 0.9


def test_transformer_predicts_held_out_codes() -> None:
    recorded = json.loads((ASSETS / "base" / "pretrain.json").read_text(encoding="utf-8"))
    images_NCHW, _, _ = vignettes(HELDOUT, 64)
    model = load_transformer("embedded")
    ids_NT = sequences(
        load_tokenizer("embedded").encode(images_NCHW), start=vocabulary(model).start
    )
    loss = probe_sequences(model, ids_NT, batch_size=64).loss_nats.mean
    assert loss == pytest.approx(recorded["heldout_after"]["loss_nats"]["mean"], abs=0.1)


def test_extractor_is_the_recorded_one() -> None:
    recorded = json.loads((ASSETS / "extractor" / "extractor.json").read_text(encoding="utf-8"))
    extractor = load_extractor("offline")
    assert (extractor.name, extractor.dim) == (recorded["name"], recorded["features"])
    assert recorded["parameters"] <= 2_000_000 and recorded["accuracy"] > 0.75


def test_records_hold_no_absolute_path() -> None:
    for path in ASSETS.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'"/[a-z]', text), path
