"""Preconditions of requests: the headers If-Match and If-None-Match (RFC 9110, section 13)."""

import re
from typing import NamedTuple, Self

from contractapp.problems import PreconditionFailed

# RFC 9110, sections 8.8.3 (entity-tag) and 5.6.1.2 (a recipient ignores empty elements of a list).
_TAG = r'(?:W/)?"[\x21\x23-\x7E\x80-\xFF]*"'
_LIST = re.compile(rf"(?:,[ \t]*)*{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*")
_TAGS = re.compile(_TAG)


class EntityTags:
    """The value of `If-Match` or `If-None-Match`.

    Attributes:
        is_any: Whether the value is `*`, which matches every tag.
        tags: The entity tags as they were sent, such as `"1"` or the weak `W/"1"`.
    """

    __slots__ = ("is_any", "tags")

    def __init__(self, tags: tuple[str, ...] = (), *, is_any: bool = False) -> None:
        self.is_any = is_any
        self.tags = tags

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The tags in the value of a header; None if it is neither `*` nor a list of entity tags.

        Args:
            text: The value, decoded as Latin-1. Several lines of a header are joined by a comma.
        """
        text = text.strip(" \t")
        if text == "*":
            return cls(is_any=True)
        return cls(tuple(_TAGS.findall(text))) if _LIST.fullmatch(text) else None

    @property
    def strong(self) -> tuple[str, ...]:
        """The strong tags, which alone can match in the strong comparison."""
        return tuple(tag for tag in self.tags if not tag.startswith("W/"))

    def match_strongly(self, etag: str) -> bool:
        """Whether one of the tags equals this one, and both are strong (RFC 9110, section 8.8.3.2)."""
        return self.is_any or (etag in self.tags and not etag.startswith("W/"))

    def match_weakly(self, etag: str) -> bool:
        """Whether one of the tags equals this one, not counting which of them are weak (RFC 9110, section 8.8.3.2)."""
        etag = etag.removeprefix("W/")
        return self.is_any or etag in self.tags or f"W/{etag}" in self.tags


class Preconditions(NamedTuple):
    """The preconditions of a request for a representation: GET or HEAD."""

    if_match: EntityTags | None = None
    if_none_match: EntityTags | None = None

    def is_not_modified(self, etag: str) -> bool:
        """Whether the answer is 304, where `etag` is the current tag; raises `PreconditionFailed` for a 412.

        `If-Match` comes first (RFC 9110, section 13.2.2).
        """
        if self.if_match is not None and not self.if_match.match_strongly(etag):
            raise PreconditionFailed(etag)
        return self.if_none_match is not None and self.if_none_match.match_weakly(etag)
