"""The programs of the section "Change what you have read" of docs/clients.md: a change with a stale tag is refused."""

import httpx
import pytest

from tests.sdk.programs import LANGUAGES

HEADING = "Change what you have read"


def test_every_language_has_its_program(guide):
    names = ["edit.py", "typescript/edit.ts", "java/Edit.java", "go/edit/main.go"]

    assert list(guide(HEADING).files) == [f"clients/{name}" for name in names]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_stale_change_is_refused_and_no_other_is_lost(language, program, server, guide):
    said = program(HEADING, language)

    assert [said] == guide(HEADING).shown
    assert httpx.get(f"{server}/users").json() == [{"id": 1, "username": "lovelace", "email": "ada@example.org"}]
