"""The JSON form of a row."""

from api.models import Post, User
from api.schemas import post_schema, posts_schema, user_schema, users_schema

USER = {"id": 1, "username": "author", "email": "author@example.com"}
POST = {"id": 1, "title": "Test Post", "content": "Content", "user_id": 1, "author": USER}


def test_a_user_shows_every_column(db):
    user = User(username="author", email="author@example.com")
    db.session.add(user)
    db.session.commit()

    assert user_schema.dump(user) == USER


def test_many_users_keep_their_order(db):
    users = [User(username=f"user{number}", email=f"user{number}@example.com") for number in (1, 2)]
    db.session.add_all(users)
    db.session.commit()

    assert [user["username"] for user in users_schema.dump(users)] == ["user1", "user2"]


def test_a_post_shows_every_column_and_its_author(db):
    post = Post(title="Test Post", content="Content", author=User(username="author", email="author@example.com"))
    db.session.add(post)
    db.session.commit()

    assert post_schema.dump(post) == POST
    assert posts_schema.dump([post]) == [POST]


def test_members_come_in_the_order_of_the_contract():
    assert list(user_schema.dump_fields) == list(USER)
    assert list(post_schema.dump_fields) == list(POST)
