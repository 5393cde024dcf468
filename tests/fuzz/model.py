"""A model of the whole service, and random requests of several clients that are compared with it.

The model knows the contract and nothing of the service's code: which status, problem, tag and rows each request must
have. Clients remember the tags that they were given, and send them as preconditions, also when they are stale, weak or
in lists; they send a request to create a row several times, with an idempotency key or without.
Tags are opaque here: equal states of an item must have equal tags, and different states different tags.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

CLIENTS = 3
REUSED = "urn:problem:idempotency-key-reused"
NOBODY = 10**6  # an id that no row has

Body = dict[str, Any]

# Few values, so that names collide.
names = st.sampled_from(["ann", "bob", "eve"])
emails = names.map(lambda name: f"{name}@example.com")
titles = st.sampled_from(["One", "Two"])
clients = st.integers(0, CLIENTS - 1)
picks = st.integers(0, 20)
# `*`, or a list of tags: each the number of a tag that the client knows, and whether it is sent as a weak one.
preconditions = st.none() | st.just("*") | st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=3)
# An idempotency key, bare or quoted, and how often a request is sent with it.
keys = st.none() | st.sampled_from(["one", '"one"', "two", "three"])
attempts = st.integers(1, 3)
user_changes = st.fixed_dictionaries({}, optional={"username": names, "email": emails}).filter(bool)
post_changes = st.fixed_dictionaries({}, optional={"title": titles, "content": titles}).filter(bool)


class Client:
    """One client: the tags that it was given, by path."""

    def __init__(self) -> None:
        self.tags: dict[str, list[str]] = {}

    def note(self, path: str, tag: str) -> None:
        known = self.tags.setdefault(path, [])
        if tag not in known:
            known.append(tag)

    def header(self, path: str, chosen: Any) -> str | None:
        """The value of `If-Match` or `If-None-Match` that a precondition stands for."""
        if chosen is None or chosen == "*":
            return chosen
        known = ['"never"', *self.tags.get(path, [])]
        # The tags are counted from the newest.
        tags = [("W/" if is_weak else "") + known[-1 - number % len(known)] for number, is_weak in chosen]
        return ", ".join(tags)


class Rows:
    """The rows of one table in the model: `live` by id, with the version of each, and all ids that were ever used."""

    def __init__(self) -> None:
        self.live: dict[int, Body] = {}
        self.versions: dict[int, int] = {}
        self.used: list[int] = []

    def add(self, ident: int, row: Body) -> None:
        assert ident not in self.used, "an id is used a second time"
        self.used.append(ident)
        self.live[ident], self.versions[ident] = row, 1

    def change(self, ident: int, changes: Body) -> None:
        self.live[ident] |= changes
        self.versions[ident] += 1

    def pick(self, number: int) -> int:
        """An id that is or was used, or one that never was."""
        return [NOBODY, *self.used][number % (len(self.used) + 1)]


class Model(RuleBasedStateMachine):
    """The state machine. A subclass sets `ask`, which sends a request, and `empty`, which empties the tables."""

    ask: ClassVar[Callable[..., Any]]
    empty: ClassVar[Callable[[], None]]

    def __init__(self) -> None:
        super().__init__()
        type(self).empty()
        self.users, self.posts = Rows(), Rows()
        self.clients = [Client() for _ in range(CLIENTS)]
        self.first: dict[str, tuple[object, object]] = {}  # by key: the first request that succeeded, and its answer
        self.tags: dict[str, dict[object, str]] = {}  # by path, then by state: all tags that there were

    # What the contract says

    def shown(self, table: str, ident: int) -> Body:
        """The JSON of a row."""
        if table == "users":
            return {"id": ident, **self.users.live[ident]}
        post = self.posts.live[ident]
        return {"id": ident, **post, "author": self.shown("users", post["user_id"])}

    def state(self, table: str, ident: int) -> object:
        """What the tag of a row depends on: the versions of the rows that it shows."""
        if table == "users":
            return self.users.versions[ident]
        return self.posts.versions[ident], self.users.versions[self.posts.live[ident]["user_id"]]

    def taken(self, body: Body, ident: int | None = None) -> list[str]:
        """The members of a user whose values another user has."""
        others = [row for other, row in self.users.live.items() if other != ident]
        return [name for name in ("username", "email") if name in body and body[name] in [row[name] for row in others]]

    def holds(self, table: str, ident: int, value: str, *, strongly: bool) -> bool:
        """Whether a precondition holds for the current tag; `value` is `*` or a list."""
        if value == "*":
            return True
        sent = value.split(", ")
        tag = self.tags[f"/api/{table}/{ident}"].get(self.state(table, ident))  # None if no client has seen it
        return tag in sent or (not strongly and f"W/{tag}" in sent)

    # Checks of an answer

    def note_tag(self, client: int, table: str, ident: int, answer: Any) -> None:
        """The tag of the answer is that of the state, and no other state of this item ever had it."""
        path, tag = f"/api/{table}/{ident}", answer.headers["etag"]
        known = self.tags.setdefault(path, {})
        assert known.setdefault(self.state(table, ident), tag) == tag, "equal states have different tags"
        assert len(set(known.values())) == len(known), "different states have equal tags"
        self.clients[client].note(path, tag)

    def refused(self, answer: Any, status: int, kind: str = "about:blank", pointers: tuple[str, ...] = ()) -> None:
        assert answer.status_code == status, answer.text
        problem = answer.json()
        assert problem["type"] == kind
        assert [fault["pointer"] for fault in problem.get("errors", [])] == list(pointers)

    def taken_refused(self, answer: Any, taken: list[str]) -> None:
        self.refused(answer, 400, f"urn:problem:{taken[0]}-taken", tuple(f"/{name}" for name in taken))

    def succeeded(self, client: int, table: str, answer: Any, ident: int, status: int = 200) -> None:
        assert answer.status_code == status, answer.text
        assert answer.json() == self.shown(table, ident)
        self.note_tag(client, table, ident, answer)

    # Requests

    @rule(client=clients, username=names, email=emails, key=keys, attempts=attempts)
    def create_user(self, client: int, username: str, email: str, key: str | None, attempts: int) -> None:
        for _ in range(attempts):
            self.create_user_once(client, {"username": username, "email": email}, key)

    def create_user_once(self, client: int, body: Body, key: str | None) -> None:
        answer = self.create("/api/users", body, key)
        if answer is None:
            return
        if taken := self.taken(body):
            self.taken_refused(answer, taken)
            return
        ident = answer.json()["id"]
        self.users.add(ident, body)
        assert answer.headers["location"] == f"/api/users/{ident}"
        self.succeeded(client, "users", answer, ident, 201)

    @rule(client=clients, author=picks, title=titles, key=keys, attempts=attempts)
    def create_post(self, client: int, author: int, title: str, key: str | None, attempts: int) -> None:
        user_id = self.users.pick(author)
        for _ in range(attempts):
            self.create_post_once(client, {"title": title, "content": "Content", "user_id": user_id}, key)

    def create_post_once(self, client: int, body: Body, key: str | None) -> None:
        answer = self.create("/api/posts", body, key)
        if answer is None:
            return
        if body["user_id"] not in self.users.live:
            self.refused(answer, 400, "urn:problem:unknown-user", ("/user_id",))
            return
        ident = answer.json()["id"]
        self.posts.add(ident, body)
        assert answer.headers["location"] == f"/api/posts/{ident}"
        self.succeeded(client, "posts", answer, ident, 201)

    @rule(
        client=clients, table=st.sampled_from(["users", "posts"]), pick=picks, chosen=preconditions, head=st.booleans()
    )
    def get(self, client: int, table: str, pick: int, chosen: Any, head: bool) -> None:  # noqa: FBT001  # Hypothesis gives it
        ident = self.rows(table).pick(pick)
        answer, value = self.send(client, "HEAD" if head else "GET", table, ident, "If-None-Match", chosen)
        if ident not in self.rows(table).live:
            assert answer.status_code == 404
        elif value is not None and self.holds(table, ident, value, strongly=False):
            assert (answer.status_code, answer.content) == (304, b"")
            self.note_tag(client, table, ident, answer)
        elif head:
            assert (answer.status_code, answer.content) == (200, b"")
            self.note_tag(client, table, ident, answer)
        else:
            self.succeeded(client, table, answer, ident)

    @rule(client=clients, pick=picks, changes=user_changes, chosen=preconditions)
    def update_user(self, client: int, pick: int, changes: Body, chosen: Any) -> None:
        ident = self.users.pick(pick)
        answer, value = self.send(client, "PUT", "users", ident, "If-Match", chosen, json=changes)
        if self.is_refused(client, "users", ident, value, answer):
            return
        if taken := self.taken(changes, ident):
            self.taken_refused(answer, taken)
            return
        self.users.change(ident, changes)
        self.succeeded(client, "users", answer, ident)

    @rule(client=clients, pick=picks, changes=post_changes, chosen=preconditions)
    def update_post(self, client: int, pick: int, changes: Body, chosen: Any) -> None:
        ident = self.posts.pick(pick)
        answer, value = self.send(client, "PUT", "posts", ident, "If-Match", chosen, json=changes)
        if not self.is_refused(client, "posts", ident, value, answer):
            self.posts.change(ident, changes)
            self.succeeded(client, "posts", answer, ident)

    @rule(client=clients, table=st.sampled_from(["users", "posts"]), pick=picks, chosen=preconditions)
    def delete(self, client: int, table: str, pick: int, chosen: Any) -> None:
        ident = self.rows(table).pick(pick)
        answer, value = self.send(client, "DELETE", table, ident, "If-Match", chosen)
        if self.is_refused(client, table, ident, value, answer):
            return
        assert answer.status_code == 200
        del self.rows(table).live[ident]
        if table == "users":
            own = {post: row for post, row in self.posts.live.items() if row["user_id"] != ident}
            self.posts.live = own

    @invariant()
    def all_rows_are_those_of_the_model(self) -> None:
        for table in ("users", "posts"):
            found = self.ask("GET", f"/api/{table}").json()
            assert found == [self.shown(table, ident) for ident in sorted(self.rows(table).live)]

    def create(self, path: str, body: Body, key: str | None) -> Any:
        """The answer to a request to create a row; None if its key was used before, which is compared here."""
        answer = self.ask("POST", path, json=body, headers={} if key is None else {"Idempotency-Key": key})
        asked = (path, dict(body))
        found = (answer.status_code, sorted(answer.headers.items()), answer.content)
        name = None if key is None else key.strip('"')
        if name in self.first:
            first_asked, first_answer = self.first[name]
            if asked == first_asked:
                assert found == first_answer, "a repetition has another answer"
            else:
                self.refused(answer, 422, REUSED)
            return None
        if name is not None and answer.status_code == 201:
            self.first[name] = asked, found
        return answer

    def rows(self, table: str) -> Rows:
        return {"users": self.users, "posts": self.posts}[table]

    def send(self, client: int, method: str, table: str, ident: int, header: str, chosen: Any, **request: Any) -> Any:
        """The answer to a request about one item, and the value of the precondition that was sent."""
        path = f"/api/{table}/{ident}"
        value = self.clients[client].header(path, chosen)
        return self.ask(method, path, headers={} if value is None else {header: value}, **request), value

    def is_refused(self, client: int, table: str, ident: int, value: str | None, answer: Any) -> bool:
        """Whether a change must be refused because of the item's state; checks the refusal."""
        if ident not in self.rows(table).live:
            self.refused(answer, 404)
            return True
        if value is not None and not self.holds(table, ident, value, strongly=True):
            self.refused(answer, 412, "urn:problem:precondition-failed", ("/If-Match",))
            self.note_tag(client, table, ident, answer)
            return True
        return False
