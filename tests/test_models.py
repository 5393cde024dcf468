"""The tables as Flask-SQLAlchemy models."""

import pytest
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.exc import IntegrityError

from api.models import Post, User


@pytest.fixture
def author(db: SQLAlchemy) -> User:
    author = User(username="author", email="author@example.com")
    db.session.add(author)
    db.session.commit()
    return author


def test_a_user_is_stored_under_a_new_id(db):
    user = User(username="testuser", email="test@example.com")
    db.session.add(user)
    db.session.commit()

    assert (user.id, user.username, user.email) == (1, "testuser", "test@example.com")
    assert User.query.all() == [user]


def test_a_post_is_stored_under_a_new_id(db, author):
    post = Post(title="Test Post", content="Test Content", user_id=author.id)
    db.session.add(post)
    db.session.commit()

    assert (post.id, post.title, post.content, post.user_id) == (1, "Test Post", "Test Content", author.id)


def test_models_say_which_row_they_are():
    assert str(User(username="testuser")) == "<User testuser>"
    assert str(Post(title="Test Post")) == "<Post Test Post>"


def test_a_user_has_posts_and_a_post_an_author(db):
    user = User(username="testuser", email="test@example.com")
    post = Post(title="Test Post", content="Content")
    user.posts.append(post)
    db.session.add(user)
    db.session.commit()

    assert user.posts == [post]
    assert post.author is user


@pytest.mark.parametrize("taken", [{"username": "author"}, {"email": "author@example.com"}])
def test_usernames_and_emails_are_unique(db, author, taken):
    db.session.add(User(**{"username": "other", "email": "other@example.com", **taken}))

    with pytest.raises(IntegrityError):
        db.session.commit()


def test_usernames_differ_by_case(db, author):
    db.session.add(User(username="Author", email="Author@example.com"))
    db.session.commit()

    assert User.query.count() == 2


def test_a_post_needs_an_author(db):
    db.session.add(Post(title="Test Post", content="Content", user_id=999))

    with pytest.raises(IntegrityError):
        db.session.commit()


def test_the_posts_of_a_user_are_deleted_with_the_user(db, author):
    db.session.add(Post(title="Test Post", content="Content", user_id=author.id))
    db.session.commit()

    db.session.delete(author)
    db.session.commit()

    assert Post.query.all() == []


def test_an_id_is_never_given_twice(db, author):
    db.session.delete(author)
    db.session.commit()
    user = User(username="testuser", email="test@example.com")
    db.session.add(user)
    db.session.commit()

    assert user.id == 2
