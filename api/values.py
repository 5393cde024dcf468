"""Converts the values of settings, which come as text from the environment; a wrong one is a `ValueError`.

The message is the end of a sentence about the setting, and does not repeat the value.
"""

from collections.abc import Iterable
from typing import Any


def text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004  # every parser raises ValueError
    return value


def secret(value: object) -> str | bytes:
    if not isinstance(value, str | bytes):
        raise ValueError("neither a text nor bytes")  # noqa: TRY004  # as above
    return value


def boolean(value: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[str(value).lower()]
    except KeyError:
        raise ValueError("not true or false") from None


def texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Iterable):
        raise ValueError("neither a text nor texts")  # noqa: TRY004  # as above
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(part for part in (text(part).strip() for part in parts) if part)


def log_level(value: object) -> str:
    level = text(value).lower()
    if level not in {"critical", "error", "warning", "info", "debug"}:
        raise ValueError("not one of critical, error, warning, info, debug")
    return level


def prepared_statements(value: object) -> str:
    word = text(value).lower()
    if word not in {"auto", "on", "off"}:
        raise ValueError("not one of auto, on, off")
    return word
