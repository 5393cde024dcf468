"""The layout of the project: allowed imports, names, and files that belong together."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

from api.app import operations
from tests.resources import CONTRACT, OPERATIONS, RESOURCES

ROOT = Path(__file__).parent.parent
API = ROOT / "api"
# The module with the handlers of each tag of the contract.
HANDLERS = {tag["name"]: import_module(f"api.{tag['name']}") for tag in CONTRACT.document["tags"]}

# The modules of `api` that each module may import; imports point only to later rows. The row `resource`
# stands for every module of handlers whose tag is a table.
MAY_IMPORT = {
    "__main__": {"cli"},
    "cli": {"app", "check", "config", "database", "database.sqlite", "migrations", "seed"},
    "check": {"database.sqlite", "migrations"},
    "__init__": {"app", "database"},  # re-exports them
    "app": {"config", "database", "health", "idempotency", "resource"},
    "resource": {"database", "database.shape", "models", "paging", "schemas", "tags"},
    "health": {"database", "migrations"},
    "idempotency": {"database"},
    "paging": {"database", "database.shape"},
    "tags": {"database", "database.shape"},
    "schemas": {"models"},
    "migrations": {"database", "models"},
    "seed": {"models"},
    "models": {"database"},
    "database": {  # re-exports them
        "database.access",
        "database.engines",
        "database.errors",
        "database.utc",
        "database.versions",
    },
    "database.access": {
        "config",
        "database.compilation",
        "database.engines",
        "database.errors",
        "database.group",
        "database.loop",
        "database.postgresql",
        "database.quick",
        "database.refusals",
        "database.sqlite",
        "database.statements",
        "database.transactions",
        "database.waiting",
    },
    "database.transactions": {"database.compilation", "database.statements"},
    "database.loop": {
        "database.compilation",
        "database.group",
        "database.quick",
        "database.statements",
        "database.waiting",
    },
    "database.group": {"database.compilation", "database.statements"},
    "database.quick": {"config", "database.compilation", "database.engines", "database.statements"},
    "database.waiting": {"config", "database.compilation", "database.engines", "database.statements"},
    "database.refusals": {"database.compilation"},
    "database.shape": {"database.objects", "database.related", "database.versions"},
    "database.objects": {"database.engines", "database.related"},
    "database.related": set(),
    "database.engines": {"config"},
    "database.statements": {"database.compilation", "database.errors"},
    "database.errors": set(),
    "database.compilation": set(),
    "database.utc": set(),
    "database.versions": set(),
    "database.postgresql": {"config"},
    "database.sqlite": {"database.wal"},
    "database.wal": set(),
    "config": {"database_url", "values"},
    "values": set(),
    "database_url": set(),
}

# The modules that may import a package. Replacing the package changes only these modules.
KNOWN_TO = {
    "contractapp": {
        "app",
        "cli",
        "config",
        "database.access",
        "database.errors",
        "database.loop",
        "database.refusals",
        "database.waiting",
        "health",
        "idempotency",
        "models",
        "paging",
        "resource",
        "tags",
    },
    "connexion": set(),
    "flask": {"cli", "database.access"},
    "werkzeug": set(),
    "starlette": set(),
    "jsonschema_rs": set(),
    "marshmallow": {"schemas", "database.shape"},
    "marshmallow_sqlalchemy": {"schemas"},
    "flask_sqlalchemy": {"database.engines"},
    "psycopg": {"database.postgresql", "database.waiting"},
    "alembic": {"migrations"},
    "uvicorn": set(),
    "click": {"cli"},
}

NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "misc", "core", "tools", "lib"}

MODULES = sorted(API.rglob("*.py"))


def unit(path):
    """The row of the table that a module belongs to: the name of the module or of its folder."""
    return row_of(module_of(path))


def module_of(path):
    return ".".join(path.relative_to(API).with_suffix("").parts).removesuffix(".__init__")


def row_of(name):
    """Each module of `database` has a row; every other folder has one row, and all resources share one."""
    package, _, module = name.partition(".")
    if package in RESOURCES:
        return "resource"
    return f"{package}.{module}" if package == "database" and module else package


def imports(path):
    """Every module that a module imports, also inside functions and for type checking."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if _is_module(name) or node.module == "api" else node.module for name in found)


def _is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def imported_of_api(path):
    """The rows of the table that a module imports, without imports from its own folder."""
    home = {"create_app": "app", "db": "database"}  # the names that `api` itself re-exports
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "api" and rest:
            module = home.get(rest, rest)
            if row_of(module) != unit(path) or (module in RESOURCES and module != module_of(path)):
                yield row_of(module)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    assert set(imported_of_api(path)) <= MAY_IMPORT[unit(path)]


def test_the_table_of_imports_points_down():
    rows = list(MAY_IMPORT)

    assert [
        (row, lower)
        for row, below in MAY_IMPORT.items()
        for lower in below
        if row != "__init__" and rows.index(row_of(lower)) <= rows.index(row)
    ] == []


def test_the_table_of_imports_has_a_row_for_every_module():
    assert set(MAY_IMPORT) == {unit(path) for path in MODULES}


@pytest.mark.parametrize("package", KNOWN_TO)
def test_a_package_is_imported_only_where_it_belongs(package):
    known = {unit(path) for path in MODULES for name in imports(path) if name.split(".")[0] == package}

    assert known <= KNOWN_TO[package]


def test_only_public_names_of_the_library_are_used():
    used = {name for path in MODULES for name in imports(path) if name.split(".")[0] == "contractapp"}

    assert used <= {"contractapp", "contractapp.server"}


@pytest.mark.parametrize("name", HANDLERS)
def test_handlers_know_neither_flask_nor_connexion(name):
    packages = {found.split(".")[0] for found in imports(API / f"{name}.py")}

    assert packages & {"flask", "connexion", "werkzeug", "starlette", "flask_sqlalchemy"} == set()


def test_only_config_reads_the_environment():
    def reads(path):
        tree = ast.parse(path.read_text())
        return any(
            (isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"} and _is_os(node.value))
            or (isinstance(node, ast.ImportFrom) and node.module == "os")
            for node in ast.walk(tree)
        )

    assert [str(path.relative_to(API)) for path in MODULES if reads(path)] == ["config.py"]


def _is_os(node):
    return isinstance(node, ast.Name) and node.id == "os"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_has_at_most_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def test_no_module_has_a_name_that_says_nothing():
    assert [path for path in MODULES if path.stem in NAMES_THAT_SAY_NOTHING] == []


def test_every_operation_has_the_handler_of_its_name_in_the_module_of_its_tag():
    tags = {operation.name: operation.definition["tags"] for operation in OPERATIONS.values()}

    handlers = {name: [module] for module, found in HANDLERS.items() for name in operations(found)}

    assert handlers == tags


def test_every_operation_has_a_test_file_that_says_so():
    """A removed operation is found, too, because its test file would be left over."""
    lines = {f"test_{name}.py": f'"""{found.method} {found.path}."""' for name, found in OPERATIONS.items()}

    found = {path.name: path.read_text().split("\n", 1)[0] for path in (ROOT / "tests" / "operations").glob("test_*")}

    assert found == lines


def test_every_resource_has_a_file_that_makes_its_rows_for_tests():
    found = {path.name for path in (ROOT / "tests" / "operations").glob("make_*")}

    assert found == {f"make_{resource.name}.py" for resource in RESOURCES.values()}


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_is_short_and_documented_in_a_line(name):
    functions = [node for node in ast.parse((API / f"{name}.py").read_text()).body if isinstance(node, ast.FunctionDef)]
    handlers = [function for function in functions if not function.name.startswith("_")]

    assert handlers
    for handler in handlers:
        assert handler.end_lineno - handler.lineno < 12, handler.name
        assert "\n" not in (ast.get_docstring(handler) or "\n"), handler.name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))
