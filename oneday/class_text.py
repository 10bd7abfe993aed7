"""What the source of a class or a module says of itself: the texts that stand below fields, and the first sentences.

    attribute_texts(GpuProfile)["tflops"]      # "Dense bf16 with fp32 accumulation, ..."

Python keeps no text of a field; the source has it.

Where it sits: under oneday/reference.py.
"""

import ast
import inspect
import textwrap
from functools import cache
from pathlib import Path


@cache
def attribute_texts(kind: type) -> dict[str, str]:
    """Name -> the string that stands below it in the class."""
    body = _body(kind)
    texts = {}
    for this, following in zip(body, [*body[1:], None], strict=True):
        name = _name(this)
        if name and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            texts[name] = inspect.cleandoc(str(following.value.value))
    return texts


def annotations(kind: type) -> dict[str, str]:
    """Name -> type, as written in the class."""
    return {_name(node): ast.unparse(node.annotation) for node in _body(kind) if isinstance(node, ast.AnnAssign)}


def _body(kind: type) -> list[ast.stmt]:
    definition = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(definition, ast.ClassDef)
    return definition.body


def _name(node: ast.stmt) -> str:
    """Of what is assigned there; empty: nothing is."""
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
    return targets[0].id if targets and isinstance(targets[0], ast.Name) else ""


def first_sentence(path: Path) -> str:
    """Of a module's docstring; empty if it has none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())
