"""Reports of the ledger: a line for each operation, and a page of Markdown."""

from collections import defaultdict
from collections.abc import Iterator

from contractapp.testing.ledger.judging import Ledger


def lines(ledger: Ledger) -> Iterator[str]:
    """One line for each operation: how often each status and link was seen."""
    rows: dict[str, list[str]] = defaultdict(list)
    for name, status, kind, what in ledger.contract.documented():
        count = ledger.seen[name, status, kind, what]
        if kind == "status":
            rows[name].append(f"{status}:{count}")
        elif kind == "link":
            rows[name].append(f"{what}:{count}")
    yield from (f"{name:15} {' '.join(cells)}" for name, cells in rows.items())


def page(ledger: Ledger) -> Iterator[str]:
    """A page of Markdown: the table, then every gap and breach."""
    yield from ("# The ledger", "", *_table(ledger), "")
    faults = [f"- {gap}" for gap in ledger.gaps()]
    faults += [f"- {breach} ({test})" for breach, test in ledger.breaches.items()]
    yield from (*(faults or ["No gaps."]), "")


def _table(ledger: Ledger) -> Iterator[str]:
    yield "| Operation | Status | Seen | Media types | Headers | Links |"
    yield "| --- | --- | --- | --- | --- | --- |"
    rows: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, status, kind, what in ledger.contract.documented():
        rows[name, status][kind].append(f"{what} {ledger.seen[name, status, kind, what]}".strip())
    for (name, status), kinds in rows.items():
        cells = (", ".join(kinds[kind]) for kind in ("status", "media type", "header", "link"))
        yield f"| {name} | {status} | {' | '.join(cells)} |"
