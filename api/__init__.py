"""A users-and-posts HTTP API, contract first."""

from api.app import create_app
from api.database import db

__all__ = ["create_app", "db"]
