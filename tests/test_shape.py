"""The compiled schema gives what `schema.dump` gives, or refuses to be compiled."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import Schema, fields, post_dump
from marshmallow_sqlalchemy import SQLAlchemyAutoSchema, auto_field
from sqlalchemy import DateTime, ForeignKey, Numeric, String, TypeDecorator, Uuid, create_engine, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from api import db
from api.database.shape import Shape, UnsupportedSchema, shape_of
from api.models import Post, User
from api.schemas import PostSchema, UserSchema, post_schema, user_schema

# Of a surrogate no database holds UTF-8, and NUL is for one test of the contract.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ids = st.integers(1, 2**53 - 1)
users = st.builds(User, id=ids, username=texts, email=texts)
posts = st.builds(Post, id=ids, title=texts, content=texts, author=users)


class Base(DeclarativeBase):
    """Tables of these tests alone."""


class Loud(TypeDecorator):
    """A text that comes back in capitals."""

    impl = String
    cache_ok = True

    def process_result_value(self, value, dialect):
        return value.upper()


class Kind(Base):
    __tablename__ = "kinds"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Loud)


class Thing(Base):
    """A column of every kind that a JSON value cannot simply be."""

    __tablename__ = "things"

    order: Mapped[int] = mapped_column("thing order", primary_key=True)
    at: Mapped[datetime | None] = mapped_column(DateTime)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    mark: Mapped[UUID] = mapped_column(Uuid)
    is_on: Mapped[bool]
    kind_id: Mapped[int] = mapped_column(ForeignKey("kinds.id"))
    spare_id: Mapped[int | None] = mapped_column(ForeignKey("kinds.id"))

    kind: Mapped[Kind] = relationship(foreign_keys=kind_id)
    spare: Mapped[Kind | None] = relationship(foreign_keys=spare_id)

    @property
    def weight(self) -> int:
        return 1


class KindSchema(SQLAlchemyAutoSchema):
    class Meta:
        model = Kind


class ThingSchema(SQLAlchemyAutoSchema):
    class Meta:
        model = Thing
        include_fk = True

    order = auto_field(data_key='thing\'s "order"', as_string=True)
    of_kind = fields.Nested(KindSchema, attribute="kind", data_key="kind")


def rows_of(objects, schema):
    """The rows that the database would return for these objects."""
    if schema is user_schema:
        return [(user.id, user.username, user.email) for user in objects]
    return [
        (post.id, post.title, post.content, post.user_id, post.author.id, post.author.username, post.author.email)
        for post in objects
    ]


@given(st.lists(users, max_size=5))
def test_users_are_what_dump_makes_of_them(users):
    assert shape_of(user_schema).dump_many(rows_of(users, user_schema)) == user_schema.dump(users, many=True)


@given(st.lists(posts, max_size=5))
def test_posts_are_what_dump_makes_of_them(posts):
    assert shape_of(post_schema).dump_many(rows_of(posts, post_schema)) == post_schema.dump(posts, many=True)


@given(username=texts, title=texts, content=texts)
@settings(max_examples=20, deadline=None)
def test_selected_and_returned_columns_are_those_of_dump(application, username, title, content):
    shape = shape_of(post_schema)
    with application.app.app_context():
        author = User(username=f"~{username[:79]}", email=f"~{username[:79]}")  # no other test's name begins so
        post = Post(title=title[:100], content=content, author=author)
        db.session.add(post)
        db.session.flush()
        expected = post_schema.dump(post)
        connection = db.session.connection()
        table = Post.__table__
        stored = select(*shape.columns).select_from(shape.source).where(table.c.id == post.id)
        selected = connection.execute(stored).one()
        new = insert(table).values(title=post.title, content=content, user_id=author.id).returning(*shape.returning)
        returned = connection.execute(new).one()
        db.session.rollback()

    assert shape.dump(selected) == expected
    assert shape.dump(returned) == {**expected, "id": returned.id}


@given(
    order=ids,
    at=st.none() | st.datetimes(),
    price=st.decimals(0, 10**7, places=2),
    mark=st.uuids(),
    is_on=st.booleans(),
    name=texts,
)
@settings(deadline=None)
def test_values_are_converted_as_their_fields_do(order, at, price, mark, is_on, name):
    shape = shape_of(ThingSchema())
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        kind = Kind(id=1, name=name)
        session.add(Thing(order=order, at=at, price=price, mark=mark, is_on=is_on, kind=kind))
        session.commit()
        expected = ThingSchema().dump(session.scalars(select(Thing)).one())
        row = session.execute(select(*shape.columns).select_from(shape.source)).one()
    engine.dispose()

    assert shape.dump(row) == expected
    assert list(shape.dump(row)) == list(expected)


def with_hook():
    class Hooked(UserSchema):
        @post_dump
        def shout(self, data, **_):
            return data

    return Hooked()


def with_own(method):
    return type("Own", (UserSchema,), {method: lambda *_, **__: None})()


def thing_schema(**declared):
    meta = type("Meta", (), {"model": Thing, "fields": ("order", *declared)})
    return type("Declared", (SQLAlchemyAutoSchema,), {**declared, "Meta": meta})()


class OwnString(fields.String):
    """A field that could do anything."""


@pytest.mark.parametrize(
    ("make_schema", "reason"),
    [
        (with_hook, "a hook before or after dump"),
        (lambda: with_own("get_attribute"), "overrides get_attribute"),
        (lambda: with_own("dump"), "overrides dump"),
        (type("Ordered", (UserSchema,), {"dict_class": type("Other", (dict,), {})}), "dumps to Other"),
        (lambda: thing_schema(weight=fields.Method("dump")), "Method is not known"),
        (lambda: thing_schema(weight=fields.Function(id)), "Function is not known"),
        (lambda: thing_schema(weight=fields.Constant(1)), "Constant is not known"),
        (lambda: thing_schema(weight=OwnString()), "OwnString is not known"),
        (lambda: thing_schema(weight=fields.Integer()), "not a column of things"),
        (lambda: thing_schema(weight=fields.Integer(attribute="kind.id")), "not a column of things"),
        (lambda: thing_schema(spare=fields.Nested(KindSchema)), "one row that is always there"),
        (type("Full", (UserSchema,), {"posts": fields.Nested(PostSchema)}), "one row that is always there"),
        (lambda: thing_schema(kind=fields.Nested(KindSchema, many=True)), "one row that is always there"),
        (lambda: thing_schema(kind=fields.Nested(KindSchema(many=True))), "one row that is always there"),
        (lambda: thing_schema(weight=fields.Nested(KindSchema)), "one row that is always there"),
        (lambda: thing_schema(kind=fields.Nested(with_hook())), "a hook before or after dump"),
        (Schema.from_dict({"id": fields.Integer()}), "has no model"),
        (lambda: PostSchema(only=("author.posts",)), "Invalid fields"),
    ],
)
def test_what_could_differ_from_dump_is_refused(make_schema, reason):
    with pytest.raises((UnsupportedSchema, ValueError), match=reason):
        shape_of(make_schema())


def test_a_schema_may_show_less():
    shape = shape_of(PostSchema(only=("id", "author.username")))

    assert isinstance(shape, Shape)
    assert shape.dump((1, "author")) == {"id": 1, "author": {"username": "author"}}
