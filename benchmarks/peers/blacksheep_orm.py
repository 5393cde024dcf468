"""BlackSheep with SQLAlchemy's asynchronous ORM, Pydantic models, and orjson as its documentation shows."""

from typing import Any

import orjson
from blacksheep import Application, FromJSON, Response, json
from blacksheep.exceptions import BadRequest, NotFound
from blacksheep.settings.json import json_settings
from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import joinedload

from benchmarks.peers.async_engine import async_engine
from benchmarks.peers.pydantic_models import Liveness, PostOut, UserCreate, UserOut, UserUpdate
from benchmarks.peers.tables import Post, User, next_link

json_settings.use(loads=orjson.loads, dumps=lambda value: orjson.dumps(value).decode())

app = Application()
sessions = async_sessionmaker(async_engine(), expire_on_commit=False)
_users, _posts = TypeAdapter(list[UserOut]), TypeAdapter(list[PostOut])


@app.router.get("/api/health/live")
async def get_liveness() -> Response:
    return json(Liveness(status="ok").model_dump())


@app.router.get("/api/users/{int:user_id}")
async def get_user(user_id: int) -> Response:
    async with sessions() as session:
        return _shown(await session.get(User, user_id))


@app.router.get("/api/users")
async def list_users(limit: int = 100, cursor: int = 0) -> Response:
    statement = select(User).where(User.id > cursor).order_by(User.id)
    return await _page(_users, "/api/users", statement, limit)


@app.router.get("/api/posts")
async def list_posts(limit: int = 100, cursor: int = 0) -> Response:
    statement = select(Post).where(Post.id > cursor).order_by(Post.id).options(joinedload(Post.author))
    return await _page(_posts, "/api/posts", statement, limit)


@app.router.post("/api/users")
async def create_user(values: FromJSON[UserCreate]) -> Response:
    async with sessions() as session:
        user = User(**values.value.model_dump())
        session.add(user)
        await _commit(session)
        response = _shown(user, 201)
        response.add_header(b"Location", b"/api/users/%d" % user.id)
        return response


@app.router.put("/api/users/{int:user_id}")
async def update_user(user_id: int, changes: FromJSON[UserUpdate]) -> Response:
    async with sessions() as session:
        user = await session.get(User, user_id)
        if user is not None:
            for name, value in changes.value.model_dump(exclude_unset=True).items():
                setattr(user, name, value)
            await _commit(session)
        return _shown(user)


def _shown(user: User | None, status: int = 200) -> Response:
    if user is None:
        raise NotFound("User not found")
    return json(UserOut.model_validate(user).model_dump(), status)


async def _page(adapter: TypeAdapter[Any], path: str, statement: Any, limit: int) -> Response:
    if not 1 <= limit <= 100:
        raise BadRequest("limit must be from 1 to 100")
    async with sessions() as session:
        rows = adapter.validate_python(list(await session.scalars(statement.limit(limit))), from_attributes=True)
    response = json(adapter.dump_python(rows))
    if len(rows) == limit:
        response.add_header(b"Link", next_link(path, limit, rows[-1].id).encode())
    return response


async def _commit(session: AsyncSession) -> None:
    try:
        await session.commit()
    except IntegrityError:
        raise BadRequest("Username or email already exists") from None
