"""HTML templates: all values are escaped, undefined names are errors, own scripts have a hash."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import jinja2
from markupsafe import Markup


def template_environment(package: str) -> jinja2.Environment:
    """Environment of the templates in a package's `templates` folder, by file name.

    Args:
        package: importable name, e.g. "common.report".
    """
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: template_text(package, name)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def template_text(package: str, name: str) -> Markup:
    """A file of a package's `templates` folder, such as a style sheet, to be inserted unchanged."""
    return Markup((files(package) / "templates" / name).read_text(encoding="utf-8"))


def content_hash(script: str) -> str:
    """The hash by which a content security policy allows an inline script and no other.

    Args:
        script: everything between <script> and </script>.
    """
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
