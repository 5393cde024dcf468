"""Writes docs/reference.md: the public names of the library with their signatures and docstrings.

A test compares the page with the output of this tool, and fails if a public name has no docstring. The page is Markdown
because code hosts display it; pdoc, mkdocstrings and Sphinx make HTML, which would have to be hosted.
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"

# The public modules, in the order of the page, each with its public names; None stands for those in its `__all__`.
MODULES: dict[str, tuple[str, ...] | None] = {
    "contractapp": (
        *("ContractApp", "Workers", "in_thread", "wait", "in_event_loop", "ContractError"),
        *("Problem", "Fault", "InvalidRequest", "NotFound", "MethodNotAllowed", "RequestTimeout", "ContentTooLarge"),
        *("PreconditionFailed", "PreconditionRequired", "UnsupportedMediaType", "InternalError", "Unavailable"),
        *("EntityTags", "IdempotencyStore", "Claim", "Remembered", "IdempotencyKeyReused", "IdempotencyKeyInUse"),
        *("cors", "trusted_proxies"),
    ),
    "contractapp.server": None,
    "contractapp.compat": None,
    "contractapp.testing.ledger": (),
    "contractapp.testing.exchange": ("ask", "Reply"),
}

# The methods and properties that users call, without inherited ones.
METHODS = {
    "ContractApp": ("add_api", "add_error_handler"),
    "Problem": ("body",),
    "IdempotencyStore": ("claim",),
    "Claim": ("first", "remember"),
    "EntityTags": ("parse", "strong", "match_strongly", "match_weakly"),
    "Reply": ("header", "json", "faults"),
}

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):\n((?:    .*\n?|\n)+)", re.MULTILINE)
_ITEM = re.compile(r"^(\*{0,2}\w+): ", re.MULTILINE)


def page() -> str:
    """The whole page. Raises `ValueError` for a public name without a docstring."""
    parts = [
        "# Reference of `contractapp`",
        "Every public name, generated from the docstrings by `python tools/reference.py`; a test compares both.",
    ]
    for name, members in MODULES.items():
        module = importlib.import_module(name)
        parts += [f"## `{name}`", _text(module, name)]
        for member in module.__all__ if members is None else members:
            parts += _entry(getattr(module, member), member)
    return "\n\n".join(parts) + "\n"


def _entry(thing: Any, name: str) -> Iterator[str]:
    thing = getattr(thing, "__wrapped__", thing)  # a fixture is shown as the function that it wraps
    yield f"### `{name}`"
    yield f"```python\n{_signature(thing, name)}\n```"
    yield _text(thing, name)
    yield from _constants(thing)
    for method in METHODS.get(name, ()):
        yield f"#### `{name}.{method}`"
        function = vars(thing)[method]
        if inspect.isfunction(function):  # a property has no signature
            yield f"```python\n{_signature(function, method)}\n```"
        yield _text(function, f"{name}.{method}")


def _signature(thing: Any, name: str) -> str:
    """The signature as in the source: of a class, its constructor; of an exception without one, its base class."""
    if not inspect.isclass(thing):
        return _wrapped(f"def {name}", _definition(thing))
    if "__init__" in vars(thing):
        return _wrapped(f"class {name}", _definition(thing.__init__))
    if issubclass(thing, Exception):
        return f"class {name}({thing.__mro__[1].__name__})"
    return f"class {name}{inspect.signature(thing)}"


def _definition(function: Any) -> ast.FunctionDef:
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)
    node.args.args = [argument for argument in node.args.args if argument.arg != "self"]
    return node


def _wrapped(beginning: str, node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and not beginning.startswith("class") else ""
    arguments = list(_arguments(node.args))
    line = f"{beginning}({', '.join(arguments)}){returns}"
    if len(line) <= 100:
        return line
    return "\n".join([f"{beginning}(", *(f"    {argument}," for argument in arguments), f"){returns}"])


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    """Each argument, formatted as in PEP 8; `ast.unparse` leaves out the spaces around the `=` of a default."""
    defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + arguments.defaults
    yield from map(_argument, arguments.args, defaults)
    if arguments.kwonlyargs:
        yield "*"
    yield from map(_argument, arguments.kwonlyargs, arguments.kw_defaults)
    if arguments.kwarg:
        yield f"**{_argument(arguments.kwarg, None)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + (f" = {ast.unparse(default)}" if default else "")


def _constants(thing: Any) -> Iterator[str]:
    """The class attributes of a problem, as a list."""
    names = ("status", "type", "title", "default_detail")
    own = [(name, vars(thing)[name]) for name in names if name in vars(thing)] if inspect.isclass(thing) else []
    if own and issubclass(thing, Exception):
        yield "\n".join(f"- `{name} = {value!r}`" for name, value in own)


def _text(thing: Any, name: str) -> str:
    """The docstring, with its sections as lists."""
    text = inspect.cleandoc(thing.__doc__ or "")
    if not text:
        raise ValueError(f"{name} has no docstring.")
    return _SECTION.sub(lambda match: _section(match[1], textwrap.dedent(match[2])), text + "\n").strip()


def _section(title: str, body: str) -> str:
    if title == "Returns":
        return f"Returns: {' '.join(body.split())}\n\n"
    items = (" ".join(item.split()) for item in re.split(r"\n(?=\S)", body.strip()))
    return "\n".join([f"{title}:\n", *(_ITEM.sub(lambda match: f"- `{match[1]}`: ", item) for item in items), "\n"])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
