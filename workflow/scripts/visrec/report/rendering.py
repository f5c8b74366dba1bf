"""Pages from Jinja templates."""

import functools
from pathlib import Path
from typing import Any

import jinja2

from visrec.data.models import USABLE


def render(template: Path, **values: Any) -> str:
    """Fill in a template; text is escaped, and a name in it without a value is an error.

    Args:
        template: the file; others in its folder can be included.
        values: by the names that the template uses.
    """
    return _environment(template.parent).get_template(template.name).render(**values)


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    """Of the templates in a folder: each is compiled once per process."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["USABLE"] = USABLE
    environment.filters["initial"] = lambda text: text[:1].upper() + text[1:]
    return environment
