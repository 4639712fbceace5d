"""Configuration files and command line from one declaration.

A command's options are one frozen dataclass; its field docstrings are the help text. `parse` reads
them through jsonargparse: `--config FILE.yaml`, dotted overrides (`--train.batch_size 4`),
`--print_config`, and an error for any key it does not know.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import jsonargparse
import yaml

from common.errors import UserError
from common.tools.values import check_values, ranges_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)

C = TypeVar("C", bound="DataclassInstance")


def parse(config_class: type[C], argv: list[str], *, prog: str, description: str) -> C:
    """Read a frozen dataclass from a command line.

    A flag without a value means true (`--resume`), and `--dry-run` means `--dry_run`.

    Args:
        config_class: the dataclass; nested ones become dotted options. If it has a static method
            `recipe_of(model)`, the file that this returns for the option `model` is read first.
        argv: arguments without the program's name.
        prog: for the usage line, e.g. "python -m text.run".
        description: first lines of `--help`.

    Raises:
        UserError: an unknown option, a value that is invalid or of the wrong type, or a YAML file
            that is missing or broken.
        SystemExit: 0, after `--help` or `--print_config`.
    """
    parser = _parser(config_class, prog, description)
    words = _spelt_out(config_class, argv)
    try:
        recipe = _recipe(config_class, parser, words)
        values = vars(parser.instantiate(parser.parse_args([*recipe, *words])))
    # jsonargparse raises TypeError for a list in the place of a group of options.
    except (jsonargparse.ArgumentError, OSError, TypeError) as error:
        raise UserError(
            expected=f"options that {prog} knows, with values of their types",
            got=_one_line(str(error)),
            fix=f"see {prog} --help",
        ) from error
    config = config_class(**{entry.name: values[entry.name] for entry in fields(config_class)})
    check_values(config)
    return config


def parse_options(config_class: type[C], options: Mapping[str, Any], *, prog: str) -> C:
    """Read a frozen dataclass from dotted options, as `parse` reads them from a command line.

    Raises:
        UserError: an unknown option, or a value of the wrong type.
    """
    words = [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in options.items()
    ]
    return parse(config_class, words, prog=prog, description="")


def read_config(config_class: type[C], path: Path) -> C:
    """Read a frozen dataclass from a YAML file of `to_yaml`.

    Raises:
        UserError: a missing or broken file, an unknown option, or a value of the wrong type.
    """
    return parse(config_class, ["--config", str(path)], prog=path.name, description="")


def to_yaml(config: Any) -> str:
    """YAML of a config dataclass, readable by `--config`."""
    assert is_dataclass(config) and not isinstance(config, type)
    return yaml.safe_dump(asdict(config), sort_keys=False)


def dotted(config: Any) -> dict[str, Any]:
    """The options of a config dataclass by dotted name; lists and dicts are values."""
    flat: dict[str, Any] = {}
    for entry in fields(config):
        value = getattr(config, entry.name)
        if is_dataclass(value):
            flat |= {f"{entry.name}.{name}": inner for name, inner in dotted(value).items()}
        else:
            flat[entry.name] = value
    return flat


def require(checks: Iterable[tuple[str, object, bool, str]], *, option: str = "--") -> None:
    """Refuse the first option that is out of range.

    Args:
        checks: name, value, whether it fits, and what it should be.
        option: prefix of the option's name in the fix.

    Raises:
        UserError: names the option.
    """
    for name, value, fits, expected in checks:
        if not fits:
            raise UserError(
                expected=f"{name} to be {expected}", got=f"{value}", fix=f"change {option}{name}"
            )


class _HelpFormatter(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Leaves the lines of a description, which hold examples, as they are."""


@lru_cache(maxsize=8)  # making one takes a tenth of a second, and a suite reads hundreds of configs
def _parser(config_class: type, prog: str, description: str) -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=_HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file of these options.")
    parser.add_class_arguments(config_class, as_group=False)
    # jsonargparse reads postponed annotations without what stands beside the type.
    words = dict(_range_words(config_class))
    for action in parser._actions:
        if action.dest in words:
            action.help = f"{action.help} Range: {words[action.dest]}."
    return parser


def _range_words(config_class: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted option -> the numbers it can have, in words, where its field says that."""
    for name, (_, words) in ranges_of(config_class).items():
        yield f"{prefix}{name}", words
    for name, kind in get_type_hints(config_class).items():
        if is_dataclass(kind):
            yield from _range_words(kind, f"{prefix}{name}.")


def _spelt_out(config_class: type, argv: list[str]) -> list[str]:
    """The arguments in jsonargparse's form: `--dry-run` becomes `--dry_run true`."""
    kinds = _option_kinds(config_class)
    result: list[str] = []
    for argument, following in pairwise([*argv, "--"]):
        name, equals, value = argument.partition("=")
        option = name.removeprefix("--").replace("-", "_")
        if not name.startswith("--") or option not in kinds:
            result.append(argument)
            continue
        result.append(f"--{option}{equals}{value}")
        if kinds[option] is bool and not equals and following.startswith("--"):
            result.append("true")
    return result


def _recipe(config_class: Any, parser: jsonargparse.ArgumentParser, words: list[str]) -> list[str]:
    """The arguments that read the recipe of the chosen model; see `common.model.recipe`."""
    if not hasattr(config_class, "recipe_of") or {"--help", "-h"} & set(words):
        return []
    asked = [word for word in words if not word.startswith("--print_config")]
    path = config_class.recipe_of(parser.parse_args(asked).model)
    return [] if path is None else ["--config", str(path)]


def _option_kinds(config_class: Any) -> dict[str, Any]:
    """Dotted option -> its type."""
    kinds: dict[str, Any] = {}
    for name, kind in get_type_hints(config_class).items():
        kinds[name] = kind
        if is_dataclass(kind):
            kinds |= {f"{name}.{inner}": k for inner, k in _option_kinds(kind).items()}
    return kinds


def _one_line(message: str) -> str:
    return " ".join(message.split())[:300]
