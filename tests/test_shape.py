"""A compiled schema gives the same result as `schema.dump`; a schema that could differ is not compiled."""

import enum
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import Schema, fields, post_dump
from marshmallow_sqlalchemy import SQLAlchemyAutoSchema, auto_field
from sqlalchemy import (
    DateTime,
    Enum,
    ForeignKey,
    Numeric,
    String,
    TypeDecorator,
    Uuid,
    create_engine,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from api import db
from api import users as users_handlers
from api.database import UtcDateTime, UtcNow
from api.database.shape import Shape, UnsupportedSchema, shape_of
from api.models import Post, User
from api.schemas import PostSchema, UserSchema, post_schema, user_schema

# A surrogate cannot be stored as UTF-8; a test of the contract covers NUL.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ids = st.integers(1, 2**53 - 1)
users = st.builds(User, id=ids, username=texts, email=texts)
posts = st.builds(Post, id=ids, title=texts, content=texts, author=users)


class Base(DeclarativeBase):
    """The tables of these tests."""


class Loud(TypeDecorator):
    """A text that is read in capitals."""

    impl = String
    cache_ok = True

    def process_result_value(self, value, dialect):
        return value.upper()


class Kind(Base):
    __tablename__ = "kinds"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Loud)

    things: Mapped[list["Thing"]] = relationship(back_populates="kind", foreign_keys="Thing.kind_id")


class State(enum.Enum):
    NEW = "new"
    OLD = "old"


class Thing(Base):
    """A column of each type whose values need a conversion to JSON."""

    __tablename__ = "things"

    order: Mapped[int] = mapped_column("thing order", primary_key=True)
    at: Mapped[datetime | None] = mapped_column(DateTime)
    price: Mapped[Decimal] = mapped_column(Numeric(10, 2))
    mark: Mapped[UUID] = mapped_column(Uuid)
    is_on: Mapped[bool]
    kind_id: Mapped[int] = mapped_column(ForeignKey("kinds.id"))
    spare_id: Mapped[int | None] = mapped_column(ForeignKey("kinds.id"))
    made_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=UtcNow())
    state: Mapped[State] = mapped_column(Enum(State, native_enum=False), default=State.NEW)

    kind: Mapped[Kind] = relationship(back_populates="things", foreign_keys=kind_id)
    spare: Mapped[Kind | None] = relationship(foreign_keys=spare_id)

    @property
    def weight(self) -> int:
        return 1

    @property
    def kinds(self) -> list[Kind]:
        return [self.kind]

    @property
    def first(self) -> Kind:
        return self.kind


class Special(Kind):
    """A model that is stored in two tables."""

    __tablename__ = "specials"

    id: Mapped[int] = mapped_column(ForeignKey("kinds.id"), primary_key=True)


class KindSchema(SQLAlchemyAutoSchema):
    class Meta:
        model = Kind


class ThingSchema(SQLAlchemyAutoSchema):
    class Meta:
        model = Thing
        include_fk = True
        exclude = ("state",)

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
        author = User(username=f"~{username[:79]}", email=f"~{username[:79]}")  # a prefix that no other test uses
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
    made_at=st.datetimes(timezones=st.just(UTC)),
)
@settings(deadline=None)
def test_values_are_converted_as_their_fields_do(order, at, price, mark, is_on, name, made_at):
    shape = shape_of(ThingSchema())
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        kind = Kind(id=1, name=name)
        session.add(Thing(order=order, at=at, price=price, mark=mark, is_on=is_on, kind=kind, made_at=made_at))
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


def with_hooks_of_collections():
    class Enveloped(UserSchema):
        @post_dump(pass_collection=True)
        def wrap(self, data, many, **_):
            return {"users" if many else "user": data}

    return Enveloped(many=True)


def with_method():
    class Methodical(SQLAlchemyAutoSchema):
        class Meta:
            model = Thing
            fields = ("order", "kind_and_state")

        kind_and_state = fields.Method("both")

        def both(self, thing):
            return f"{thing.kind.name} {thing.state} {thing.price}"

    return Methodical()


def with_own(method):
    def own(schema, *arguments, **options):
        return getattr(super(made, schema), method)(*arguments, **options)

    made = type("Own", (UserSchema,), {method: own})
    return made()


def thing_schema(**declared):
    meta = type("Meta", (), {"model": Thing, "fields": ("order", *declared)})
    return type("Declared", (SQLAlchemyAutoSchema,), {**declared, "Meta": meta})()


class OwnString(fields.String):
    """A field with its own class, whose behaviour is unknown."""


def loud(thing):
    return thing.kind.name + thing.weight * "!"


def neighbours(thing):
    return len(thing.kind.things)


@pytest.fixture
def stored(app, make_user, make_post):
    """Rows of every model here, in the run's database."""
    for user in [make_user(), make_user()]:
        for _ in range(2):
            make_post(user_id=user["id"])
    with app.app.app_context():
        Base.metadata.create_all(db.engine)
        for number in range(1, 4):
            kind = Kind(id=number, name=f"kind {number}")
            values = {"price": number, "mark": UUID(int=number), "is_on": True, "kind": kind}
            db.session.add_all([Thing(order=number, **values), Thing(order=number + 3, spare_id=1, **values)])
        db.session.commit()
    yield
    with app.app.app_context():
        Base.metadata.drop_all(db.engine)


@pytest.mark.parametrize(
    ("make_schema", "reason"),
    [
        (with_hook, "a hook before or after dump"),
        (lambda: with_own("get_attribute"), "overrides get_attribute"),
        (lambda: with_own("dump"), "overrides dump"),
        (type("Ordered", (UserSchema,), {"dict_class": type("Other", (dict,), {})}), "dumps to Other"),
        (with_method, "result of Method may depend"),
        (with_hooks_of_collections, "a hook before or after dump"),
        (lambda: thing_schema(state=fields.Enum(State)), "result of Enum may depend"),
        (lambda: thing_schema(loud=fields.Function(loud)), "result of Function may depend"),
        (lambda: thing_schema(weight=fields.Function(neighbours)), "result of Function may depend"),
        (lambda: thing_schema(weight=fields.Constant(1)), "result of Constant may depend"),
        (lambda: thing_schema(weight=OwnString()), "result of OwnString may depend"),
        (lambda: thing_schema(weight=fields.Integer()), "not a column of things"),
        (lambda: thing_schema(weight=fields.Integer(attribute="kind.id")), "not a column of things"),
        (lambda: thing_schema(spare=fields.Nested(KindSchema)), "one row that is always there"),
        (type("Full", (UserSchema,), {"posts": fields.Nested(PostSchema)}), "one row that is always there"),
        (lambda: thing_schema(kinds=fields.Nested(KindSchema, many=True)), "one row that is always there"),
        (lambda: thing_schema(kinds=fields.Nested(KindSchema(many=True))), "one row that is always there"),
        (lambda: thing_schema(first=fields.Nested(KindSchema)), "one row that is always there"),
        (lambda: thing_schema(kind=fields.Nested(with_hook())), "a hook before or after dump"),
    ],
)
def test_a_schema_that_could_differ_from_dump_is_dumped_by_marshmallow_and_named(
    app, stored, caplog, make_schema, reason
):
    schema = make_schema()
    shape = shape_of(schema)

    assert [record.args[0] for record in caplog.records] == [type(schema).__name__]
    assert reason in caplog.text
    with app.app.app_context():
        model = schema.opts.model
        table = model.__table__
        (key,) = table.primary_key
        objects = db.session.scalars(select(model).order_by(key)).all()
        expected = schema.dump(objects, many=True), [schema.dump(one, many=False) for one in objects]
        db.session.remove()
        with db.engine.begin() as connection:
            selected = connection.execute(select(*shape.columns).select_from(shape.source).order_by(key)).all()
            returned = connection.execute(update(table).values({key: key}).returning(*shape.returning)).all()
        for rows in (selected, sorted(returned)):
            assert shape.dump_many(rows) == expected[0]
            assert [shape.dump(row) for row in rows] == expected[1]
            db.session.remove()


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (Schema.from_dict({"id": fields.Integer()})(), "GeneratedSchema has no model"),
        (type("Derived", (SQLAlchemyAutoSchema,), {"Meta": type("Meta", (), {"model": Special})})(), "more than a row"),
    ],
)
def test_rows_that_make_no_objects_stop_the_start(schema, reason):
    with pytest.raises(UnsupportedSchema, match=reason):
        shape_of(schema)


def test_nested_objects_come_with_the_row(app, stored):
    shape = shape_of(type("Loud", (PostSchema,), {"title": OwnString()})())
    with app.app.app_context():
        rows = db.session.execute(select(*shape.columns).select_from(shape.source)).all()
        db.session.remove()
        asked = []
        event.listen(db.session.connection(), "before_cursor_execute", lambda *given: asked.append(given[2]))

        posts = shape.dump_many(rows)

    assert len({post["author"]["username"] for post in posts}) == 2
    assert asked == []


def test_a_request_gives_the_sessions_connection_back(app, client, make_post, monkeypatch):
    make_post()
    counted = fields.Function(lambda user: f"{len(user.posts)}@example.com")
    shape = shape_of(type("Counting", (UserSchema,), {"email": counted})())
    monkeypatch.setattr(users_handlers, "_user", shape)
    statement = select(*shape.columns, shape.tag).where(users_handlers._id_matches)
    monkeypatch.setattr(users_handlers, "_SELECT", statement)
    with app.app.app_context():
        pool = db.engine.pool
    client.get("/api/users/1")
    before = pool.checkedout()

    response = client.get("/api/users/1")

    assert response.json() == {"id": 1, "username": "author1", "email": "1@example.com"}
    assert pool.checkedout() == before


def test_a_schema_may_show_less():
    shape = shape_of(PostSchema(only=("id", "author.username")))

    assert isinstance(shape, Shape)
    assert shape.dump((1, "author")) == {"id": 1, "author": {"username": "author"}}
