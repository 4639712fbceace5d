"""Values that no user means and some give, made from the types of the options."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

NUMBERS = (-5, 0, 2**31, 10**12, 10**18, -(10**30))
FLOATS = (-1.0, 0.0, 5e-324, 1e308, float("nan"), float("inf"))
TEXTS = (
    "",
    "a\nb",
    "a\0b",
    "half \udcff",
    "x/" * 4000,
    "~nosuchuser/x",
    "no/such/place",
    "/",
    "/proc/x",
    "/dev/null",
    "/dev/zero",
    "file",
    "folder",
    "loop",
)


def lay_out(folder: Path) -> None:
    """The places that `TEXTS` names, in the working directory of a test."""
    (folder / "file").write_text("not what was meant")
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")


def options(config_class: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted option -> its type."""
    found: dict[str, Any] = {}
    hints = get_type_hints(config_class)
    for entry in fields(config_class):
        kind = hints[entry.name]
        if is_dataclass(kind):
            found |= options(kind, f"{prefix}{entry.name}.")
        else:
            found[f"{prefix}{entry.name}"] = kind
    return found


def values(kind: Any) -> Iterator[Any]:
    """Hostile values of a type; other words than a `Literal` has are its parser's to refuse."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        for one in get_args(kind):
            yield from [None] if one is type(None) else values(one)
    elif origin is list:
        yield []
        yield from ([value] for value in values(get_args(kind)[0]))
    elif origin is tuple:
        inner = list(values(get_args(kind)[0]))
        yield from [(), *((value,) for value in inner), tuple(inner[:3]) * 40]
    elif origin is dict:
        yield {}
        yield from ({"name": value} for value in TEXTS)
        yield from ({value: "heldout"} for value in TEXTS)
    elif origin is Literal:
        yield from get_args(kind)
    elif kind is bool:
        yield from (False, True)
    else:
        yield from {int: NUMBERS, float: FLOATS, str: TEXTS}[kind]


def changed(config: Any, option: str, value: Any) -> Any:
    """A config with one dotted option changed."""
    name, _, rest = option.partition(".")
    return replace(config, **{name: changed(getattr(config, name), rest, value) if rest else value})
