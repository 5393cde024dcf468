"""How the library is laid out: who may import whom, which names are public, what each module says of itself."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import contractapp

LIBRARY = Path(contractapp.__file__).parent
MODULES = sorted(LIBRARY.rglob("*.py"))

# What the modules of each part import of the library, at most; everything points down, towards the end of the table.
MAY_IMPORT = {
    "__init__": {"app", "asgi", "compile", "problems", "serve"},  # hands them on
    "testing": {"app", "compile"},
    "compat": {"compile"},
    "server": {"answers", "problems"},
    "app": {"answers", "asgi", "compile", "problems", "serve"},
    "serve": {"answers", "asgi", "compile", "problems"},
    "asgi": {"answers", "compile", "problems"},
    "compile": {"answers", "problems"},
    "answers": {"problems"},
    "problems": set(),
}

# Where a package is known. Whoever takes its place is a change of these modules alone.
KNOWN_TO = {
    "connexion": {"app", "compile", "serve"},  # its insides to one module: see below
    "flask": {"serve"},
    "werkzeug": {"compile"},
    "starlette": {"app", "asgi"},
    "a2wsgi": {"serve"},
    "jsonschema": {"serve", "testing"},
    "jsonschema_rs": {"compat", "compile"},
    "msgspec": {"compile"},
    "uvicorn": {"server"},
    "httptools": {"server"},
    "pytest": {"testing"},
}


# What Connexion and Flask do not promise is known to one module each, and explained there.
INSIDES = {"connexion": "serve/connexion.py", "flask": "serve/flask.py"}

# Names that Connexion documents: those may be used wherever they are needed.
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

# Attributes of Connexion's objects that have no underscore, and no promise either.
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
    """The row of the table that a module belongs to: its own name, or that of its folder."""
    return path.relative_to(LIBRARY).with_suffix("").parts[0]


def imports(path):
    """Every module that a module imports, also inside functions and for type checking."""
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


@pytest.mark.parametrize("package", KNOWN_TO)
def test_a_package_is_known_where_it_belongs(package):
    known = {part(path) for path in MODULES for name in imports(path) if name.split(".")[0] == package}

    assert known == KNOWN_TO[package]


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
    return LIBRARY / INSIDES[home]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_private_names_of_others_are_used_where_they_are_explained(path):
    explained = path in map(inside, INSIDES) or part(path) in {"server", "testing"}  # uvicorn's, and pytest's

    assert explained or private_names_of_others(path) == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_of_connexion_one_module_knows_more_than_is_documented(path):
    used = {name for name in imported_names(path) if name.split(".")[0] == "connexion"} - CONNEXION_DOCUMENTS
    used |= attributes(path) & CONNEXION_ATTRIBUTES

    assert path == inside("connexion") or used == set()


def test_of_flask_one_module_knows():
    knowing = {path for path in MODULES for name in imports(path) if name.split(".")[0] in {"flask", "a2wsgi"}}

    assert knowing == {inside("flask")}


@pytest.mark.parametrize("home", INSIDES)
def test_each_use_of_what_is_not_promised_has_its_reason(home):
    path = inside(home)
    package = {name.rpartition(".")[2] for name in imported_names(path) if name.startswith(f"{home}.")}
    documented = {name.rpartition(".")[2] for name in CONNEXION_DOCUMENTS}
    used = private_names_of_others(path) | (package - documented) | (attributes(path) & CONNEXION_ATTRIBUTES)
    reasons = set(re.findall(r"`(\w+)`", ast.get_docstring(ast.parse(path.read_text()))))

    assert used - reasons == set()
    assert used


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_a_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("name", contractapp.__all__)
def test_a_public_name_says_what_it_is(name):
    assert inspect.getdoc(getattr(contractapp, name))


def test_the_names_for_type_checkers_are_the_public_names():
    tree = ast.parse((LIBRARY / "__init__.py").read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))

    assert sorted(alias.asname for node in checked.body for alias in node.names) == contractapp.__all__


def test_a_name_that_is_none_is_refused():
    with pytest.raises(AttributeError, match="'contractapp' has no attribute 'nothing'"):
        contractapp.nothing  # noqa: B018


def test_the_library_knows_nothing_of_the_service():
    text = " ".join(path.read_text() for path in MODULES)

    assert not re.search(r"\b(import api|from api|users|posts|username)\b(?!\s*')", text, re.IGNORECASE)
