"""Checks that all servers return the same responses, before anything is timed."""

import http.client
import json
from typing import Any

_EXAMPLES = (
    ("GET", "/api/health/live", None),
    ("GET", "/api/users/7", None),
    ("GET", "/api/users?limit=100", None),
    ("GET", "/api/posts?limit=20", None),
    ("POST", "/api/users", {"username": "agreed", "email": "agreed@example.com"}),
    ("PUT", "/api/users/9", {"username": "renamed"}),
    ("PUT", "/api/users/9", {"email": "renamed@example.com"}),
    ("GET", "/api/users/9", None),
)
# All servers refuse these, each with its own error body: FastAPI answers 422, the others 400.
_REFUSED = (
    ("POST", "/api/users", {"username": "", "email": "someone@example.com"}),
    ("POST", "/api/users", {"username": "a", "email": "nowhere"}),
    ("POST", "/api/users", {"username": "a", "email": "a@example.com", "age": 5}),
    ("POST", "/api/users", {"username": "x" * 81, "email": "a@example.com"}),
    ("POST", "/api/users", {"username": " a", "email": "a@example.com"}),
    ("POST", "/api/users", {"username": "a\u00a0", "email": "a@example.com"}),
    ("POST", "/api/users", {"username": 5, "email": "a@example.com"}),
    ("POST", "/api/users", {"username": "a"}),
    ("POST", "/api/users", {"username": "agreed", "email": "another@example.com"}),
    ("PUT", "/api/users/9", {}),
    ("PUT", "/api/users/9", {"username": None}),
    ("GET", "/api/users?limit=0", None),
)
_ABSENT = (("GET", "/api/users/9000000001", None), ("PUT", "/api/users/9000000001", {"username": "nobody"}))
_REFUSALS = {400, 409, 422}


def check(ports: list[int], titles: list[str]) -> list[str]:
    """For each server, the path of a page deep in its posts. Stops the benchmark if two servers differ."""
    paths, pages = [], []
    for port, title in zip(ports, titles, strict=True):
        client = Client(port, title)
        path = client.page_after("/api/posts?limit=100", 90).replace("limit=100", "limit=20")
        page = client.expect({200}, "GET", path, None)
        paths.append(path)
        pages.append([*(client.expect({200, 201}, *request) for request in _EXAMPLES), page])
        for request in _REFUSED:
            client.expect(_REFUSALS, *request)
        for request in _ABSENT:
            client.expect({404}, *request)
    for title, page in zip(titles, pages, strict=True):
        for request, expected, got in zip([*_EXAMPLES, ("GET", "deep", None)], pages[0], page, strict=True):
            if got != expected:
                raise SystemExit(f"{title} answers {request[0]} {request[1]} unlike {titles[0]}: {got} {expected}")
    return paths


class Client:
    """Sends requests to one server, and stops the benchmark if it answers with another status."""

    def __init__(self, port: int, title: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._title = title
        self._link = ""

    def expect(self, statuses: set[int], method: str, path: str, body: Any) -> Any:
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status not in statuses:
            raise SystemExit(f"{self._title} answers {method} {path} {body} with {response.status}: {content[:500]!r}")
        self._link = response.getheader("Link") or ""
        return json.loads(content) if response.status < 300 else None

    def page_after(self, path: str, pages: int) -> str:
        """The path of the page after so many pages, with the cursor that the server itself returned."""
        for _ in range(pages):
            self.expect({200}, "GET", path, None)
            path = self._link.partition(">")[0].lstrip("<")
        return path
