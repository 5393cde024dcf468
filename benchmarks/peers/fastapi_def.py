"""FastAPI with `def` handlers and the ORM: a dependency opens a session for each request, as in its SQL tutorial."""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Response
from sqlalchemy import create_engine, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from benchmarks.peers.fastapi_models import Cursor, Limit, UserId, link
from benchmarks.peers.pydantic_models import Liveness, PostOut, UserCreate, UserOut, UserUpdate
from benchmarks.peers.tables import DATABASE_URL, Post, User, pool_options

engine = create_engine(DATABASE_URL, **pool_options(40))  # AnyIO runs `def` handlers in up to 40 threads
app = FastAPI()


def get_session() -> Iterator[Session]:
    with Session(engine, expire_on_commit=False) as session:
        yield session


Database = Annotated[Session, Depends(get_session)]


@app.get("/api/health/live")
def get_liveness() -> Liveness:
    return Liveness(status="ok")


@app.get("/api/users/{user_id}", response_model=UserOut)
def get_user(user_id: UserId, session: Database) -> Any:
    return _found(session.get(User, user_id))


@app.get("/api/users", response_model=list[UserOut])
def list_users(response: Response, session: Database, limit: Limit = 100, cursor: Cursor = 0) -> Any:
    users = list(session.scalars(select(User).where(User.id > cursor).order_by(User.id).limit(limit)))
    response.headers.update(link("/api/users", limit, users, users[-1].id if users else 0))
    return users


@app.get("/api/posts", response_model=list[PostOut])
def list_posts(response: Response, session: Database, limit: Limit = 100, cursor: Cursor = 0) -> Any:
    statement = select(Post).where(Post.id > cursor).order_by(Post.id).limit(limit)
    posts = list(session.scalars(statement.options(joinedload(Post.author))))
    response.headers.update(link("/api/posts", limit, posts, posts[-1].id if posts else 0))
    return posts


@app.post("/api/users", response_model=UserOut, status_code=201)
def create_user(values: UserCreate, response: Response, session: Database) -> Any:
    user = User(**values.model_dump())
    session.add(user)
    _commit(session)
    response.headers["Location"] = f"/api/users/{user.id}"
    return user


@app.put("/api/users/{user_id}", response_model=UserOut)
def update_user(user_id: UserId, changes: UserUpdate, session: Database) -> Any:
    user = _found(session.get(User, user_id))
    for name, value in changes.model_dump(exclude_unset=True).items():
        setattr(user, name, value)
    _commit(session)
    return user


def _found(user: User | None) -> User:
    if user is None:
        raise HTTPException(404, "User not found")
    return user


def _commit(session: Session) -> None:
    try:
        session.commit()
    except IntegrityError:
        raise HTTPException(400, "Username or email already exists") from None
