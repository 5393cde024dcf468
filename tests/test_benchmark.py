"""The tables of the benchmark: what they say of goals, of failed requests, and where the READMEs show them."""

import re

import pytest

from benchmarks import readme, report
from benchmarks.chart import chart

SERVERS = {"ours": "ours", "connexion": "peer", "fastify": "fastify", "go": "go"}


def turn(server, cpu_us, *, mode="pinned", failed=0):
    figures = {"cpu_us": cpu_us, "rps": 1e6 / cpu_us, "p50": 900.0, "p99": 9000.0, "seconds": 1.0, "failed": failed}
    return {"mode": mode, "database": "sqlite", "round": 0, "connections": 16, "server": server, "operation": "get"} | (
        figures
    )


@pytest.fixture
def measured():
    growth = [
        turn("ours", cpu_us) | {"users": users, "workers": workers}
        for users, workers, cpu_us in ((1000, 1, 100), (1000, 2, 110), (1000000, 1, 105), (1000000, 2, 120))
    ]
    starts = [
        {"database": "sqlite", "server": server, "workers": workers, "wall_seconds": 1.0, "cpu_seconds": 0.5}
        | {"memory_bytes": memory}
        for workers in (1, 4)
        for server, memory in (("ours", 90e6), ("connexion", 80e6))
    ]
    environment = {"date": "2026-01-01", "system": "Linux", "processor": "a processor", "cores": 2, "python": "3.11"}
    versions = {"packages": {}, "databases": {"SQLite": "3"}, "toolchains": {"Node": "20", "pg": "8"}}
    return {
        "environment": environment | versions,
        "left_out": ["Rust is left out: it needs cargo."],
        "servers": [{"name": name, "title": name.title(), "kind": kind} for name, kind in SERVERS.items()],
        "rounds": [
            *(turn("ours", 100), turn("ours", 120, mode="as-started"), turn("connexion", 500)),
            *(turn("fastify", 90), turn("go", 50, failed=3)),
        ],
        "states": [],
        "growth": growth,
        "starts": starts,
    }


@pytest.fixture
def whole(measured):
    """The same figures for every database and operation that the READMEs need."""
    rounds = [
        row | {"database": database, "operation": operation}
        for row in measured["rounds"]
        for database in ("sqlite", "postgresql")
        for operation in ("get", "users", "create")
    ]
    return measured | {"rounds": rounds}


def test_a_missed_goal_is_bold(measured):
    text = report.markdown(measured)

    assert "| SQLite: ahead of the best Python peer with an ORM | 5.00 (4) |" in text
    assert "| SQLite: times Fastify | **1.11** (1) |" in text
    assert "| SQLite: times Go | 2.00 |" in text
    assert "| SQLite: as started, times pinned | **1.20** (1.15) |" in text
    assert "90, stock 80: **1.12** (1) |" in text


def test_figures_of_both_modes_stand_side_by_side_and_failures_beside_them(measured):
    text = report.markdown(measured)

    assert "| **Ours** | 100 / 120 |" in text
    assert "| Go | 50 (3 failed) |" in text


def test_peers_in_other_languages_have_a_table_of_their_own(whole):
    parts = report.named(whole)

    assert [line.split(" | ")[0] for line in parts["sqlite"]] == ["| ", "| ---", "| **Ours**", "| Connexion"]
    assert "| SQLite: Fastify | 90 | 90 | 90 |" in parts["languages"]


def test_growth_is_a_ratio(measured):
    lines = report.growth(measured["growth"])

    assert "| SQLite, a user of 1,000,000, 2 workers | 120 µs, 8,333/s, 9.0 ms |" in lines
    assert "| SQLite, a user: 1,000,000 users, times 1,000 | 1.05 |" in lines


def test_what_the_figures_are_is_said_with_the_peers_that_are_left_out(measured):
    assert report.facts(measured) == (
        "Measured by `tox -e bench` on 2026-01-01 on 2 cores of a processor, Linux: Python 3.11, Node 20, SQLite 3. "
        "Rounds of 1.0 s with 16 connections: 1 pinned to one core and 1 as started. Rust is left out: it needs cargo."
    )


def test_the_numbers_of_the_first_screen_name_the_databases_and_the_peers(whole):
    assert report.named(whole)["numbers"][0] == (
        "- **100 µs** of CPU to get a user, 100 µs on PostgreSQL: 5.0 times less than the best Python peer with an "
        "ORM, 5 times less than stock Connexion, 1.11 times Fastify's."
    )


def test_every_part_of_the_readmes_is_written(whole, monkeypatch, tmp_path):
    originals = [path.read_text() for path in readme.READMES]
    copies = [tmp_path / f"{number}.md" for number, _ in enumerate(originals)]
    for copy, original in zip(copies, originals, strict=True):
        copy.write_text(original)
    monkeypatch.setattr(readme, "READMES", copies)

    readme.write(whole)

    parts = report.named(whole)
    for copy, original in zip(copies, originals, strict=True):
        names = re.findall(r"<!-- benchmark: ([a-z]+) -->", original)
        written = re.findall(r"<!-- benchmark: [a-z]+ -->\n\n(.*?)\n\n<!-- end -->", copy.read_text(), re.DOTALL)
        assert written == ["\n".join(parts[name]) for name in names]


def test_the_chart_has_a_bar_for_each_server(measured):
    assert chart(measured).count("<rect") == len(SERVERS)
