"""Litestar with Advanced Alchemy's plugin: a session for each request, msgspec structures for bodies."""

from typing import Annotated, Any

from advanced_alchemy.extensions.litestar import AsyncSessionConfig, SQLAlchemyAsyncConfig, SQLAlchemyInitPlugin
from litestar import Litestar, Response, get, post, put
from litestar.exceptions import ClientException, NotFoundException
from litestar.params import Parameter
from msgspec import UNSET, Meta, Struct, UnsetType
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import joinedload

from benchmarks.peers.async_engine import async_engine
from benchmarks.peers.tables import NAME_PATTERN, Post, User, next_link

Username = Annotated[str, Meta(min_length=1, max_length=80, pattern=NAME_PATTERN)]
Email = Annotated[str, Meta(max_length=120, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
Limit = Annotated[int, Parameter(ge=1, le=100)]
Cursor = Annotated[int, Parameter(ge=0)]


class Liveness(Struct):
    status: str


class UserCreate(Struct, forbid_unknown_fields=True):
    username: Username
    email: Email


class UserUpdate(Struct, forbid_unknown_fields=True):
    username: Username | UnsetType = UNSET
    email: Email | UnsetType = UNSET


class UserOut(Struct):
    id: int
    username: str
    email: str


class PostOut(Struct):
    id: int
    title: str
    content: str
    user_id: int
    author: UserOut


@get("/api/health/live", sync_to_thread=False)
def get_liveness() -> Liveness:
    return Liveness("ok")


@get("/api/users/{user_id:int}")
async def get_user(user_id: int, db_session: AsyncSession) -> UserOut:
    return _shown(_found(await db_session.get(User, user_id)))


@get("/api/users")
async def list_users(db_session: AsyncSession, limit: Limit = 100, cursor: Cursor = 0) -> Response[list[UserOut]]:
    users = list(await db_session.scalars(select(User).where(User.id > cursor).order_by(User.id).limit(limit)))
    return Response([_shown(user) for user in users], headers=_link("/api/users", limit, users))


@get("/api/posts")
async def list_posts(db_session: AsyncSession, limit: Limit = 100, cursor: Cursor = 0) -> Response[list[PostOut]]:
    statement = select(Post).where(Post.id > cursor).order_by(Post.id).limit(limit)
    posts = list(await db_session.scalars(statement.options(joinedload(Post.author))))
    shown = [PostOut(p.id, p.title, p.content, p.user_id, _shown(p.author)) for p in posts]
    return Response(shown, headers=_link("/api/posts", limit, posts))


@post("/api/users")
async def create_user(data: UserCreate, db_session: AsyncSession) -> Response[UserOut]:
    user = User(username=data.username, email=data.email)
    db_session.add(user)
    await _commit(db_session)
    return Response(_shown(user), headers={"Location": f"/api/users/{user.id}"})


@put("/api/users/{user_id:int}")
async def update_user(user_id: int, data: UserUpdate, db_session: AsyncSession) -> UserOut:
    if data.username is UNSET and data.email is UNSET:
        raise ClientException("Nothing to change")
    user = _found(await db_session.get(User, user_id))
    if data.username is not UNSET:
        user.username = data.username
    if data.email is not UNSET:
        user.email = data.email
    await _commit(db_session)
    return _shown(user)


def _shown(user: User) -> UserOut:
    return UserOut(user.id, user.username, user.email)


def _found(user: User | None) -> User:
    if user is None:
        raise NotFoundException("User not found")
    return user


async def _commit(session: AsyncSession) -> None:
    try:
        await session.commit()
    except IntegrityError:
        raise ClientException("Username or email already exists") from None


def _link(path: str, limit: int, rows: list[Any]) -> dict[str, str]:
    return {"Link": next_link(path, limit, rows[-1].id)} if len(rows) == limit else {}


_config = SQLAlchemyAsyncConfig(
    engine_instance=async_engine(), session_config=AsyncSessionConfig(expire_on_commit=False)
)
app = Litestar(
    [get_liveness, get_user, list_users, list_posts, create_user, update_user],
    plugins=[SQLAlchemyInitPlugin(_config)],
)
