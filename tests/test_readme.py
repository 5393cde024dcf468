"""The README agrees with the code: the settings, their defaults, the environments of tox, the commands."""

import configparser
import re
import tomllib
from pathlib import Path

from api.cli import main
from api.config import settings_fields

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# A link to a file of the project.
LINK = re.compile(r"\]\(([^)#:]+)\)")


def section(heading):
    return README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def shown(field):
    default = field.metadata.get("shown_default")
    if default is not None:
        return default
    if field.default in {None, ()}:
        return ""
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"


def test_the_settings_table_is_that_of_the_settings():
    rows = [
        f"| `{field.metadata['name']}` | {shown(field)} | {field.metadata['description']} |"
        for field in settings_fields()
    ]

    assert [line for line in section("Settings").splitlines() if line.startswith("| `")] == rows


def test_quick_start_has_two_commands_of_one_line():
    commands = re.findall(r"```sh\n(.*?)```", section("Quick start"), re.DOTALL)

    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)
    assert commands[0].rstrip().endswith("api serve")
    assert commands[1].rstrip().endswith("pytest -n 2 --dist loadfile")


def test_the_version_of_python_is_the_one_required():
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]

    named = re.findall(r"Python (3\.\d+) or later", README)

    assert [f">={version}" for version in named] == [required]


def test_every_command_of_api_is_listed():
    listed = re.findall(r"^\| `api ([a-z]+)", section("The command `api`"), re.MULTILINE)

    assert sorted(listed) == sorted(main.commands)


def test_every_environment_of_tox_is_listed():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    environments = {name.partition(":")[2] for name in tox.sections() if name.startswith("testenv:")}

    listed = set(re.findall(r"`([a-z0-9]+)`", section("How it is built").split("`tox -e`", 1)[1]))

    assert environments <= listed


def test_the_picture_of_swagger_ui_is_shown():
    assert re.search(r"^!\[.+\]\(docs/images/swagger-ui\.png\)$", section("Swagger UI"), re.MULTILINE)


def test_every_file_that_a_page_links_to_is_there():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]

    linked = [page.parent / target for page in pages for target in LINK.findall(page.read_text())]

    assert len(linked) >= 4
    assert [str(target) for target in linked if not target.exists()] == []
