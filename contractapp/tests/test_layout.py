"""The layout of the library: which module may import which, which names are public, and that all have docstrings."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import contractapp

LIBRARY = Path(contractapp.__file__).parent
MODULES = sorted(LIBRARY.rglob("*.py"))

# What each part may import from the library: only parts further down in this table.
MAY_IMPORT = {
    # Re-exports all but `deferred`.
    "__init__": {"app", "asgi", "compile", "deferred", "idempotency", "preconditions", "problems", "serve"},
    "testing": {"app", "compile"},
    "compat": {"compile"},
    "server": {"answers", "problems"},
    "app": {"answers", "asgi", "compile", "idempotency", "problems", "serve"},
    "serve": {"answers", "asgi", "compile", "idempotency", "problems"},
    "asgi": {"answers", "compile", "preconditions", "problems"},
    "compile": {"answers", "idempotency", "preconditions", "problems"},
    "preconditions": {"problems"},
    "idempotency": {"answers", "problems"},
    "answers": {"problems"},
    "problems": set(),
    "deferred": set(),
}

# The parts that may import a package: to replace the package, only these parts have to change.
MAY_USE = {
    "connexion": {"app", "compile", "serve"},  # only one module uses undocumented names: see below
    "flask": {"serve"},
    "werkzeug": {"compile"},
    "starlette": {"app", "asgi"},
    "a2wsgi": {"serve"},
    "brotli": {"asgi"},
    "greenlet": {"serve"},
    "jsonschema": {"serve", "testing"},
    "jsonschema_rs": {"compat", "compile"},
    "msgspec": {"compile"},
    "uvicorn": {"server"},
    "httptools": {"server"},
    "pytest": {"testing"},
}


# Undocumented names of Connexion and Flask are used in one module each, and explained there.
INTERNALS = {"connexion": "serve/connexion.py", "flask": "serve/flask.py"}

# Documented names of Connexion: every module of the parts above may use them.
CONNEXION_DOCUMENTS = {
    "connexion",
    "connexion.NoContent",
    "connexion.context",
    "connexion.exceptions.InvalidSpecification",
    "connexion.exceptions.ResolverError",
    "connexion.lifecycle.ConnexionResponse",
    "connexion.middleware.ConnexionMiddleware",
    "connexion.options.SwaggerUIOptions",
    "connexion.resolver.Resolver",
}

# Attributes of Connexion's objects that have no underscore, but are not documented.
CONNEXION_ATTRIBUTES = {
    "apis",
    "asgi_app",
    "default_middlewares",
    "middleware_stack",
    "middlewares",
    "openapi_schema",
    "specification_dir",
}


def part(path):
    """The part that a module belongs to: its own name, or the name of its folder."""
    return path.relative_to(LIBRARY).with_suffix("").parts[0]


def imports(path):
    """All modules that a module imports, also in functions and for type checking."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_point_down(path):
    found = {name.split(".")[1] for name in imports(path) if name.startswith("contractapp.")}

    assert found - {part(path)} <= MAY_IMPORT[part(path)]


def test_the_table_of_imports_points_down():
    rows = list(MAY_IMPORT)

    assert [
        (row, lower) for row, below in MAY_IMPORT.items() for lower in below if rows.index(lower) <= rows.index(row)
    ] == []


def test_the_table_of_imports_has_a_row_for_every_part():
    assert set(MAY_IMPORT) == {part(path) for path in MODULES}


@pytest.mark.parametrize("package", MAY_USE)
def test_a_package_is_imported_only_where_allowed(package):
    known = {part(path) for path in MODULES for name in imports(path) if name.split(".")[0] == package}

    assert known == MAY_USE[package]


def imported_names(path):
    """Every name that a module imports, in full."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def attributes(path):
    return {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}


def private_names_of_others(path):
    """The names with a leading underscore that a module uses and does not define itself."""
    used, defined = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            sets_its_own = (
                isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self"
            )
            (defined if sets_its_own else used).add(node.attr)
        elif isinstance(node, ast.alias):
            used.add(node.asname or node.name)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            defined.add(node.value)  # in __slots__
    return {name for name in used - defined if re.match("_[^_]", name)}


def inside(home):
    return LIBRARY / INTERNALS[home]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_private_names_of_dependencies_are_used_only_where_explained(path):
    explained = path in map(inside, INTERNALS) or part(path) in {"server", "testing"}  # uvicorn's, and pytest's

    assert explained or private_names_of_others(path) == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_one_module_uses_undocumented_names_of_connexion(path):
    used = {name for name in imported_names(path) if name.split(".")[0] == "connexion"} - CONNEXION_DOCUMENTS
    used |= attributes(path) & CONNEXION_ATTRIBUTES

    assert path == inside("connexion") or used == set()


def test_one_module_uses_flask():
    users = {path for path in MODULES for name in imports(path) if name.split(".")[0] in {"flask", "a2wsgi"}}

    assert users == {inside("flask")}


@pytest.mark.parametrize("dependency", INTERNALS)
def test_each_undocumented_name_has_its_reason(dependency):
    path = inside(dependency)
    package = {name.rpartition(".")[2] for name in imported_names(path) if name.startswith(f"{dependency}.")}
    documented = {name.rpartition(".")[2] for name in CONNEXION_DOCUMENTS}
    used = private_names_of_others(path) | (package - documented) | (attributes(path) & CONNEXION_ATTRIBUTES)
    reasons = set(re.findall(r"`(\w+)`", ast.get_docstring(ast.parse(path.read_text()))))

    assert used - reasons == set()
    assert used


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_a_module_has_at_most_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_each_module_has_a_docstring(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("name", contractapp.__all__)
def test_each_public_name_has_a_docstring(name):
    assert inspect.getdoc(getattr(contractapp, name))


def test_the_names_for_type_checkers_are_the_public_names():
    tree = ast.parse((LIBRARY / "__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))

    assert sorted(alias.asname for node in checked.body for alias in node.names) == contractapp.__all__


def test_an_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="'contractapp' has no attribute 'nothing'"):
        contractapp.nothing  # noqa: B018


def test_the_library_does_not_mention_the_service():
    text = " ".join(path.read_text() for path in MODULES)

    assert not re.search(r"\b(import api|from api|users|posts|username)\b(?!\s*')", text, re.IGNORECASE)
