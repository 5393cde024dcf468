"""The life of a user and their posts, through the asynchronous half of the generated client.

The test derives the program for the synchronous half from this one.
"""

import asyncio
import sys
from urllib.parse import parse_qs, urlsplit

from users_and_posts_api_client import Client
from users_and_posts_api_client.api.health import get_liveness
from users_and_posts_api_client.api.posts import create_post, delete_post, get_post, list_posts, update_post
from users_and_posts_api_client.api.users import create_user, delete_user, get_user, update_user
from users_and_posts_api_client.models import (
    BadRequestProblem,
    Health,
    HealthStatus,
    IdempotencyKeyReusedProblem,
    Message,
    NewPost,
    NewUser,
    Post,
    PostChanges,
    PostRefusedProblem,
    PreconditionFailedProblem,
    Problem,
    ProblemType,
    User,
    UserChanges,
    UserRefusedProblem,
    UserRefusedProblemType,
)
from users_and_posts_api_client.types import UNSET, Unset

Refused = BadRequestProblem | UserRefusedProblem | PostRefusedProblem | PreconditionFailedProblem
Parsed = User | Post | list[Post] | Message | Health | Refused | IdempotencyKeyReusedProblem | Problem | None


def said(parsed: Parsed) -> str:
    """One line with the fields of a problem."""
    if isinstance(parsed, Refused):
        places = " ".join(f"{fault.in_}{fault.pointer}" for fault in parsed.errors)
        return f"{parsed.status} {parsed.type_} {places}"
    assert isinstance(parsed, Problem), parsed
    assert parsed.type_ is ProblemType.ABOUT_BLANK
    return f"{parsed.status} {parsed.type_} {parsed.detail if parsed.status == 404 else parsed.title}"


async def pages(client: Client, user_id: int) -> list[list[int]]:
    """The ids of the user's posts, page by page."""
    found: list[list[int]] = []
    cursor: str | Unset = UNSET
    while True:
        response = await list_posts.asyncio_detailed(client=client, user_id=user_id, limit=2, cursor=cursor)
        assert isinstance(response.parsed, list)
        found.append([post.id for post in response.parsed])
        link = response.headers.get("link")
        if link is None:
            return found
        url, relation = link.split(">; ")
        assert relation == 'rel="next"'
        cursor = parse_qs(urlsplit(url[1:]).query)["cursor"][0]


def shown(found: list[list[int]]) -> str:
    return " ".join(f"[{' '.join(map(str, page))}]" for page in found)


async def live(client: Client) -> None:
    created = await create_user.asyncio_detailed(client=client, body=NewUser("Zoë 李", "zoe@example.com"))
    user: Parsed = created.parsed
    assert isinstance(user, User)
    print("created", user.id, user.username, user.email, created.headers["location"])
    user = await get_user.asyncio(user.id, client=client)
    assert isinstance(user, User)
    print("read", user.id, user.username, user.email)
    user = await update_user.asyncio(user.id, client=client, body=UserChanges(email="zoe@example.org"))
    assert isinstance(user, User)
    print("changed", user.id, user.username, user.email)

    refused = await create_user.asyncio(client=client, body=NewUser("", "zoe"))
    print(said(refused))
    refused = await create_user.asyncio(client=client, body=NewUser("Zoë 李", "other@example.com"))
    assert isinstance(refused, UserRefusedProblem)
    assert refused.type_ is UserRefusedProblemType.USERNAME_TAKEN
    print(said(refused))
    print(said(await create_user.asyncio(client=client, body=NewUser("other", "zoe@example.org"))))
    print(said(await create_post.asyncio(client=client, body=NewPost("Post", "Content", 999))))
    print(said(await create_post.asyncio(client=client, body=NewPost("Post", "x" * 1_100_000, user.id))))

    for number in range(1, 6):
        created_post = await create_post.asyncio(
            client=client, body=NewPost(f"Post {number}", f"Content {number}", user.id)
        )
        assert isinstance(created_post, Post)
    print("pages", shown(await pages(client, user.id)))
    post = await get_post.asyncio(5, client=client)
    assert isinstance(post, Post)
    print("post", post.id, post.title, "by", post.author.username)
    post = await update_post.asyncio(5, client=client, body=PostChanges(title="Last"))
    assert isinstance(post, Post)
    print("changed", post.id, post.title)
    message = await delete_post.asyncio(5, client=client)
    assert isinstance(message, Message)
    print("deleted", message.message)
    print(said(await get_post.asyncio(5, client=client)))

    message = await delete_user.asyncio(user.id, client=client)
    assert isinstance(message, Message)
    print("deleted", message.message)
    print(said(await get_user.asyncio(user.id, client=client)))
    print("pages", shown(await pages(client, user.id)))
    health = await get_liveness.asyncio(client=client)
    assert isinstance(health, Health)
    assert health.status is HealthStatus.OK
    print("alive", health.status)


async def mocked(client: Client) -> None:
    """Get responses from the mock server that the real service does not send on demand."""
    for status in (400, 405, 408, 413, 415, 500, 503):
        asking = client.with_headers({"Prefer": f"code={status}"})
        answer = await create_user.asyncio_detailed(client=asking, body=NewUser("ada", "ada@example.com"))
        assert answer.status_code == status
        print("mock", said(answer.parsed))
        if status == 405:
            assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
        if status == 503:
            assert answer.headers["retry-after"] == "1"


async def main() -> None:
    await live(Client(base_url=sys.argv[1]))
    await mocked(Client(base_url=sys.argv[2]))


asyncio.run(main())
