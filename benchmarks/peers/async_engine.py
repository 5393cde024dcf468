"""The engine of the asynchronous peers, with the driver that their documentation names."""

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.peers.tables import DATABASE_URL, pool_options

# aiosqlite runs all statements of a connection in one thread; more connections are not faster.
_CONNECTIONS = 20


def async_url() -> str:
    return DATABASE_URL.replace("sqlite://", "sqlite+aiosqlite://").replace("+psycopg://", "+asyncpg://")


def async_engine() -> AsyncEngine:
    return create_async_engine(async_url(), **pool_options(_CONNECTIONS))
