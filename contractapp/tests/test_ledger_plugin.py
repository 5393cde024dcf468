"""The ledger as a plugin: runs pytest in copies of the example project `notes`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from contractapp.testing.ledger import pytest_configure as configure

NOTES = Path(__file__).parent.parent / "examples" / "notes"

# Connexion warns when it is imported; the example does not make warnings errors.
QUIET = ("-q", "-p", "no:cacheprovider", "-W", "ignore")


@pytest.fixture
def project(tmp_path):
    """A copy of the example."""
    return shutil.copytree(NOTES, tmp_path / "notes", ignore=shutil.ignore_patterns("__pycache__", ".*"))


@pytest.fixture
def run(project):
    """A function that runs the project's tests, and returns the exit status and the output."""

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *QUIET, *arguments],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def leave_out(path, test):
    text = path.read_text()
    path.write_text(re.sub(rf"def {test}\(.*?(?=\n\n\n|\Z)", "", text, count=1, flags=re.DOTALL))
    assert path.read_text() != text


def test_a_run_without_gaps_passes_and_writes_its_table(project, run):
    edit(project / "pyproject.toml", "[tool.pytest]\n", '[tool.pytest]\nledger_report = "reports/ledger.md"\n')

    status, printed = run()

    assert status == 0, printed
    assert "the ledger: 19 responses against the contract" in printed
    assert re.search(r"^create_note +201:6 get_note:1 delete_note:1 409:1 default:2$", printed, re.MULTILINE)
    report = (project / "reports" / "ledger.md").read_text()
    assert "| create_note | 201 | 6 | application/json 6 | Location 6 | get_note 1, delete_note 1 |" in report
    assert "No gaps." in report


def test_a_gap_fails_only_a_run_of_the_whole_suite(project, run):
    leave_out(project / "test_notes.py", "test_409_when_the_maximum_number_of_notes_is_stored")

    assert run("test_notes.py")[0] == 0
    for arguments in ((), ("--ledger=whole", "test_notes.py")):
        status, printed = run(*arguments)
        assert status == 1
        assert re.findall(r"GAP: (.*)", printed) == ["create_note 409 was never seen"]


def test_a_breach_fails_any_run_unless_its_test_is_marked(project, run):
    edit(project / "openapi.yaml", """"404": { $ref: "#/components/responses/NotFound" }\n        default""", "x-404")
    edit(project / "notes.py", ", validate_responses=True", "")
    marked, more = "def test_a_note_is_deleted", "def test_another_is_deleted"
    edit(project / "test_notes.py", marked, f'@pytest.mark.unrecorded("why")\n{marked}')
    (project / "test_more.py").write_text(
        f"from test_notes import client\n\n{more}(client):\n    assert client.get('/v1/notes/1').status_code == 404\n"
    )

    status, printed = run("-k", "is_deleted")

    assert status == 1
    breach = "GET /notes/{note_id} answered 404, which get_note does not document"
    assert re.findall(r"BREACH: (.*)", printed) == [f"{breach} (test_more.py::test_another_is_deleted)"]


def test_a_contract_that_no_application_serves_has_only_gaps(project, run):
    (project / "other.yaml").write_text((NOTES / "openapi.yaml").read_text().replace("  /notes:", "  /other:"))
    edit(project / "pyproject.toml", '"openapi.yaml"', '"other.yaml"')

    status, printed = run()

    assert status == 1
    assert "No application of this run served the contract." in printed
    assert "GAP: get_note 404 was never seen" in printed


def test_a_run_that_failed_already_keeps_its_status(project, run):
    leave_out(project / "test_notes.py", "test_409_when_the_maximum_number_of_notes_is_stored")
    (project / "test_broken.py").write_text("import nothing_like_it\n")

    status, printed = run()

    assert status == 2, printed


def test_an_invalid_setting_stops_the_run_with_a_sentence(project, run):
    edit(project / "pyproject.toml", '"openapi.yaml"', '""')

    status, printed = run()

    assert status == 4
    assert "contractapp.testing.ledger needs ledger_contract, the path of the contract." in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("contract", "problem", "sentence"),
    [
        ("none.yaml", "", r"ledger_contract: .*none.yaml cannot be read: .*No such file"),
        ("swagger.yaml", "", "ledger_contract: swagger.yaml is Swagger 2.0: only OpenAPI 3.0 is read."),
        ("openapi.yaml", "#/schemas/None", "ledger_contract: ledger_problem: the reference .* leads nowhere"),
    ],
)
def test_a_contract_that_cannot_be_read_is_a_usage_error(project, contract, problem, sentence):
    (project / "swagger.yaml").write_text("swagger: '2.0'\npaths: {}\n")
    settings = {"ledger_contract": contract, "ledger_problem": problem}
    config = SimpleNamespace(rootpath=project, getini=settings.get, addinivalue_line=lambda *_: None)

    with pytest.raises(pytest.UsageError, match=sentence):
        configure(config)
