"""FastAPI with the same prebuilt Core statements and the same two engines as this project."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import FastAPI, HTTPException, Response
from sqlalchemy import Integer, bindparam, create_engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from benchmarks.peers.fastapi_models import Cursor, Limit, UserId, link
from benchmarks.peers.pydantic_models import Liveness, PostOut, UserCreate, UserOut, UserUpdate
from benchmarks.peers.tables import DATABASE_URL, IS_SQLITE, Post, User, pool_options

# As in api/database/engines.py: reads without a transaction, writes that take SQLite's lock at once, and four threads,
# with which this peer takes a quarter less time than with AnyIO's forty.
_THREADS = 4
_connect_args = {"isolation_level": "IMMEDIATE"} if IS_SQLITE else {}
reader = create_engine(
    DATABASE_URL,
    isolation_level="AUTOCOMMIT",
    skip_autocommit_rollback=True,
    connect_args=_connect_args,
    **pool_options(_THREADS),
)
writer = create_engine(DATABASE_URL, connect_args=_connect_args, **pool_options(_THREADS))

_users, _posts = User.__table__, Post.__table__
_author = _users.alias("author")
_user_columns = (_users.c.id, _users.c.username, _users.c.email)
_is_asked_for = _users.c.id == bindparam("user_id")
_count = bindparam("count", type_=Integer)

_SELECT = select(*_user_columns).where(_is_asked_for)
_USERS = select(*_user_columns).where(_users.c.id > bindparam("after")).order_by(_users.c.id).limit(_count)
_POSTS = (
    select(
        *(_posts.c.id, _posts.c.title, _posts.c.content, _posts.c.user_id),
        *(_author.c.id.label("author_id"), _author.c.username, _author.c.email),
    )
    .select_from(_posts.join(_author, _author.c.id == _posts.c.user_id))
    .where(_posts.c.id > bindparam("after"))
    .order_by(_posts.c.id)
    .limit(_count)
)
_INSERT = insert(_users).returning(*_user_columns)
_UPDATE = update(_users).where(_is_asked_for).returning(*_user_columns)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/api/health/live")
async def get_liveness() -> Liveness:
    return Liveness(status="ok")


@app.get("/api/users/{user_id}", response_model=UserOut)
def get_user(user_id: UserId) -> Any:
    return _user(*_read(_SELECT, {"user_id": user_id}))


@app.get("/api/users", response_model=list[UserOut])
def list_users(response: Response, limit: Limit = 100, cursor: Cursor = 0) -> Any:
    rows = _read(_USERS, {"after": cursor, "count": limit + 1})[:limit]
    response.headers.update(link("/api/users", limit, rows, rows[-1].id if rows else 0))
    return [{"id": i, "username": name, "email": email} for i, name, email in rows]


@app.get("/api/posts", response_model=list[PostOut])
def list_posts(response: Response, limit: Limit = 100, cursor: Cursor = 0) -> Any:
    rows = _read(_POSTS, {"after": cursor, "count": limit + 1})[:limit]
    response.headers.update(link("/api/posts", limit, rows, rows[-1].id if rows else 0))
    return [
        {
            "id": i,
            "title": title,
            "content": content,
            "user_id": user_id,
            "author": {"id": author_id, "username": name, "email": email},
        }
        for i, title, content, user_id, author_id, name, email in rows
    ]


@app.post("/api/users", response_model=UserOut, status_code=201)
def create_user(values: UserCreate, response: Response) -> Any:
    user = _user(_write(_INSERT, values.model_dump()))
    response.headers["Location"] = f"/api/users/{user['id']}"
    return user


@app.put("/api/users/{user_id}", response_model=UserOut)
def update_user(user_id: UserId, changes: UserUpdate) -> Any:
    return _user(_write(_UPDATE, {**changes.model_dump(exclude_unset=True), "user_id": user_id}))


def _read(statement: Any, parameters: dict[str, Any]) -> Any:
    with reader.connect() as connection:
        return connection.execute(statement, parameters).all()


def _write(statement: Any, parameters: dict[str, Any]) -> Any:
    try:
        with writer.begin() as connection:
            return connection.execute(statement, parameters).one_or_none()
    except IntegrityError:
        raise HTTPException(400, "Username or email already exists") from None


def _user(row: Any = None) -> dict[str, Any]:
    if row is None:
        raise HTTPException(404, "User not found")
    return {"id": row[0], "username": row[1], "email": row[2]}
