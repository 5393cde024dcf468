"""The parameters and the header of a page, for the three FastAPI peers."""

from typing import Annotated, Any

from fastapi import Path, Query

from benchmarks.peers.tables import next_link

UserId = Annotated[int, Path(ge=1, le=2**53 - 1)]
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[int, Query(ge=0)]


def link(path: str, limit: int, rows: list[Any], last_id: int) -> dict[str, str]:
    return {"Link": next_link(path, limit, last_id)} if len(rows) == limit else {}
