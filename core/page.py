"""Pages for people: one self-contained HTML file from a package's template.

    write_page(path, "curation", "report.html.j2", {"rows": 3}, filters={"n": "{:,}".format})

A template includes `page.css`, the rules that all pages share. The filter `code` shows the code spans of a
message as code.

Where it sits: below the reports of curation, harness and evaluation.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.files import atomic_writer

if TYPE_CHECKING:
    from markupsafe import Markup

_SPAN = re.compile(r"`([^`]+)`")


def write_page(
    path: Path,
    package: str,
    template: str,
    values: Mapping[str, object],
    *,
    filters: Mapping[str, Callable[..., object]],
) -> None:
    """Renders a template and writes the page atomically.

    Args:
        package: The package that holds the template.
        values: What the template may use; another name in it is an error.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package, "."), jinja2.PackageLoader("core", ".")]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"code": as_code, **filters}
    page = environment.get_template(template).render(values)
    with atomic_writer(path) as file:
        file.write(page.encode("utf-8", "replace"))


def as_code(text: str) -> "Markup":
    """A message as HTML, with its code spans marked up.

    >>> as_code("Add `policies.max_tokens=none` & go on.")
    Markup('Add <code>policies.max_tokens=none</code> &amp; go on.')
    """
    from markupsafe import Markup, escape

    return Markup(_SPAN.sub(r"<code>\1</code>", str(escape(text))))
