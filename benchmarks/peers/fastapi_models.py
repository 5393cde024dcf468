"""The Pydantic models of requests and responses, for the three FastAPI peers."""

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, EmailStr, Field, model_validator

from benchmarks.peers.tables import next_link

# Pydantic's regular expressions have no look-around; this pattern does without it.
Username = Annotated[
    str,
    Field(
        min_length=1,
        max_length=80,
        pattern=r"^[^\x00-\x20\x7F-\x9F]([^\x00-\x1F\x7F-\x9F]*[^\x00-\x20\x7F-\x9F])?$",
    ),
]
Email = Annotated[EmailStr, Field(max_length=120)]
UserId = Annotated[int, Path(ge=1, le=2**53 - 1)]
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[int, Query(ge=0)]


class Liveness(BaseModel):
    status: str


class UserCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    username: Username
    email: Email


class UserUpdate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    username: Username | None = None
    email: Email | None = None

    @model_validator(mode="after")
    def changes_something(self) -> "UserUpdate":
        if not self.model_fields_set:
            raise ValueError("nothing to change")
        return self


class UserOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    username: str
    email: str


class PostOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    content: str
    user_id: int
    author: UserOut


def link(path: str, limit: int, rows: list[Any], last_id: int) -> dict[str, str]:
    return {"Link": next_link(path, limit, last_id)} if len(rows) == limit else {}
