"""The Pydantic models of requests and responses, for FastAPI, BlackSheep and django-modern-rest."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, EmailStr, Field, model_validator

from benchmarks.peers.tables import NAME_PATTERN

Username = Annotated[str, Field(min_length=1, max_length=80, pattern=NAME_PATTERN)]
Email = Annotated[EmailStr, Field(max_length=120)]


class Liveness(BaseModel):
    status: str


class UserCreate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    username: Username
    email: Email


class UserUpdate(BaseModel):
    model_config = ConfigDict(extra="forbid")

    # Left out, a member is not changed; the defaults are never read. `| None` would accept null.
    username: Username = Field(default=None)
    email: Email = Field(default=None)

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
