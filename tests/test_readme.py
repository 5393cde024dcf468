"""The README and the other pages agree with the code: settings, badges, environments of tox, commands, links."""

import configparser
import re
import tomllib
from pathlib import Path

from api.cli import main
from tools import badges, settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob(".github/**/*.md")]
# A link to a file of the project, and to a heading in it.
LINK = re.compile(r"(?:\]\(|src=\")([^)#:\"]*)(?:#([^)\"]+))?[)\"]")


def section(heading, page="README.md"):
    return (ROOT / page).read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]


def test_the_settings_table_is_that_of_the_settings():
    text = settings.PAGE.read_text()

    assert text == settings.page(text), "run `python -m tools.settings`"
    assert text.count("\n| `API_") > 10


def test_the_badges_say_what_the_project_declares():
    assert {path: path.read_text() for path in badges.badges()} == badges.badges(), "run `python -m tools.badges`"
    assert all(f"(docs/images/{path.name})" in README for path in badges.badges())


def test_the_first_screen_says_what_this_is_with_one_picture_and_three_numbers():
    first = README.split("\n## ", 1)[0]
    numbers = first.split("<!-- benchmark: numbers -->\n", 1)[1].split("<!-- end -->\n", 1)[0]

    assert len(re.findall(r"\*\*[^*]*\d[^*]*\*\*", numbers)) == 3
    assert re.findall(r"<img src=\"(\S+)\"", README) == ["docs/images/swagger-ui.png"]
    assert len(re.findall(r"^- \*\*Choose ", first, re.MULTILINE)) >= 3
    assert first.count("\n") < 32


def test_the_order_of_the_readme_is_that_of_a_first_hour():
    assert re.findall(r"^## (.+)$", README, re.MULTILINE) == [
        *("Quick start", "Use it", "Swagger UI", "Clients", "Test it from outside", "Add a resource", "Read more")
    ]


def test_every_page_is_in_the_table_of_links():
    pages = {str(path.relative_to(ROOT)) for path in [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]}

    assert pages - {"README.md"} <= {target for target, _ in LINK.findall(section("Read more"))}


def test_quick_start_has_two_commands_of_one_line():
    commands = re.findall(r"```sh\n(.*?)```", section("Quick start"), re.DOTALL)

    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)
    assert commands[0].rstrip().endswith("api serve")
    assert commands[1].rstrip().endswith("pytest -n 2 --dist loadfile")


def test_the_version_of_python_is_the_one_required():
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]

    named = {version for page in PAGES for version in re.findall(r"Python (3\.\d+) or later", page.read_text())}

    assert {f">={version}" for version in named} == {required}


def test_every_command_of_api_is_listed():
    listed = re.findall(r"^\| `api ([a-z]+)", section("Commands", "docs/settings.md"), re.MULTILINE)

    assert sorted(listed) == sorted(main.commands)


def test_every_environment_of_tox_is_listed():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    environments = {name.partition(":")[2] for name in tox.sections() if name.startswith("testenv:")}

    listed = set(re.findall(r"`([a-z0-9]+)`", section("Environments", "docs/testing.md").split("`tox -e`", 1)[1]))

    assert environments <= listed


def heading_anchor(heading):
    """The anchor that code hosts give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_file_and_heading_that_a_page_links_to_is_there():
    linked = [(page, *found) for page in PAGES for found in LINK.findall(without_code(page.read_text()))]

    assert len(linked) > 40
    assert [found for found in linked if not leads_somewhere(*found)] == []


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def leads_somewhere(page, target, anchor):
    path = page.parent / target if target else page
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE) if anchor else []
    return path.exists() and (not anchor or anchor in map(heading_anchor, headings))
