"""The limit: bare ASGI and prepared statements on one connection, without a framework, routing table or concurrency.

This is the minimum that a server of this API must do in Python. It blocks the event loop while the database
works, and could not be deployed; it shows how far the other servers are from that minimum.
"""

import re
import sqlite3
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import orjson

from benchmarks.peers.tables import DATABASE_URL, IS_SQLITE, NAME_PATTERN, SQLITE_PRAGMAS, next_link

_SELECT = "SELECT id, username, email FROM users WHERE id = ?"
_USERS = "SELECT id, username, email FROM users WHERE id > ? ORDER BY id LIMIT ?"
_POSTS = (
    "SELECT p.id, p.title, p.content, p.user_id, u.id, u.username, u.email FROM posts AS p "
    "JOIN users AS u ON u.id = p.user_id WHERE p.id > ? ORDER BY p.id LIMIT ?"
)
_INSERT = "INSERT INTO users (username, email) VALUES (?, ?) RETURNING id, username, email"
_UPDATES = {
    ("username",): "UPDATE users SET username = ? WHERE id = ? RETURNING id, username, email",
    ("email",): "UPDATE users SET email = ? WHERE id = ? RETURNING id, username, email",
    ("username", "email"): "UPDATE users SET username = ?, email = ? WHERE id = ? RETURNING id, username, email",
}

_name = re.compile(NAME_PATTERN).match
_email = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+").fullmatch

Run = Callable[[str, tuple[Any, ...]], list[Any]]


def _sqlite() -> tuple[Run, Run, type[Exception]]:
    connection = sqlite3.connect(DATABASE_URL.removeprefix("sqlite:///"), isolation_level=None)
    for pragma in SQLITE_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")

    def run(statement: str, values: tuple[Any, ...]) -> list[Any]:
        return connection.execute(statement, values).fetchall()

    return run, run, sqlite3.IntegrityError


def _postgresql() -> tuple[Run, Run, type[Exception]]:
    import psycopg

    connection = psycopg.connect(DATABASE_URL.replace("+psycopg", ""), autocommit=True, prepare_threshold=0)
    cursor = connection.cursor()

    def run(statement: str, values: tuple[Any, ...]) -> list[Any]:
        return cursor.execute(statement.replace("?", "%s"), values).fetchall()

    return run, run, psycopg.errors.UniqueViolation


_read, _write, _Taken = _sqlite() if IS_SQLITE else _postgresql()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    path, method = scope["path"], scope["method"]
    status, extra = 200, []
    if path == "/api/health/live":
        body = b'{"status":"ok"}'
    elif path == "/api/users" and method == "POST":
        status, body, extra = _create((await receive())["body"])
    elif path == "/api/users":
        status, body, extra = _page(path, _USERS, _user, scope["query_string"])
    elif path == "/api/posts":
        status, body, extra = _page(path, _POSTS, _post, scope["query_string"])
    elif method == "PUT":
        status, body = _update(path[11:], (await receive())["body"])
    else:
        rows = _read(_SELECT, (int(path[11:]),))
        status, body = (200, orjson.dumps(_user(rows[0]))) if rows else (404, b'{"error":"User not found"}')
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _user(row: Any) -> dict[str, Any]:
    return {"id": row[0], "username": row[1], "email": row[2]}


def _post(row: Any) -> dict[str, Any]:
    author = {"id": row[4], "username": row[5], "email": row[6]}
    return {"id": row[0], "title": row[1], "content": row[2], "user_id": row[3], "author": author}


def _page(path: str, statement: str, shape: Any, query: bytes) -> Any:
    values = dict(parse_qsl(query.decode()))
    limit, cursor = int(values.get("limit", 100)), int(values.get("cursor", 0))
    if not 1 <= limit <= 100:
        return 400, b'{"error":"invalid"}', []
    rows = _read(statement, (cursor, limit))
    link = [(b"link", next_link(path, limit, rows[-1][0]).encode())] if len(rows) == limit else []
    return 200, orjson.dumps([shape(row) for row in rows]), link


def _checked(content: bytes) -> dict[str, str] | None:
    body = msgspec.json.decode(content)
    if not isinstance(body, dict) or not body or not body.keys() <= {"username", "email"}:
        return None
    name, email = body.get("username", "a"), body.get("email", "a@b.c")
    if not isinstance(name, str) or not isinstance(email, str):
        return None
    return body if len(name) <= 80 and len(email) <= 120 and _name(name) and _email(email) else None


def _create(content: bytes) -> Any:
    body = _checked(content)
    if body is None or len(body) != 2:
        return 400, b'{"error":"invalid"}', []
    try:
        ((user_id, *rest),) = _write(_INSERT, (body["username"], body["email"]))
    except _Taken:
        return 400, b'{"error":"taken"}', []
    return 201, orjson.dumps(_user((user_id, *rest))), [(b"location", b"/api/users/%d" % user_id)]


def _update(user_id: str, content: bytes) -> tuple[int, bytes]:
    body = _checked(content)
    if body is None:
        return 400, b'{"error":"invalid"}'
    members = tuple(name for name in ("username", "email") if name in body)
    rows = _write(_UPDATES[members], (*(body[name] for name in members), int(user_id)))
    return (200, orjson.dumps(_user(rows[0]))) if rows else (404, b'{"error":"User not found"}')
