"""`create_app`: its configurations, and several applications in one process and in different event loops."""

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from flask import Flask

from api import create_app, database, db
from api.config import ConfigurationError
from api.models import User
from tests.applications import application

ANN = {"username": "ann", "email": "ann@example.com"}
MEMORY = "sqlite:///:memory:"


class Config:
    """A typical configuration class of a Flask application."""

    SECRET_KEY = "secret"
    SQLALCHEMY_DATABASE_URI = "sqlite:///elsewhere.db"
    SQLALCHEMY_TRACK_MODIFICATIONS = False
    TESTING = False


class TestingConfig(Config):
    __test__ = False  # pytest must not collect this class

    TESTING = True
    SQLALCHEMY_DATABASE_URI = MEMORY
    WTF_CSRF_ENABLED = False


@pytest.fixture
def make_app():
    """Calls `create_app`, and closes the connections of the application at the end."""
    made = []

    def make(*config):
        made.append(create_app(*config))
        return made[-1]

    yield make
    for app in made:
        database.dispose(app.app)


@pytest.fixture
def in_memory():
    """An application whose database is in memory."""
    with application(SQLALCHEMY_DATABASE_URI=MEMORY) as app:
        create_tables(app)
        yield app


def create_tables(app):
    with app.app.app_context():
        db.create_all()


def client_of(app):
    """A client for use inside an event loop; the test client would start its own loop."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")


@pytest.mark.parametrize(
    "config", [TestingConfig, TestingConfig(), vars(Config) | vars(TestingConfig)], ids=["class", "object", "mapping"]
)
def test_a_configuration_is_a_class_an_object_or_a_mapping(make_app, config):
    app = make_app(config)
    create_tables(app)

    created = app.test_client().post("/api/users", json=ANN)

    assert created.json() == {"id": 1, **ANN}
    assert type(app.app) is Flask
    assert app.app.config["TESTING"] is True
    assert app.app.config["SECRET_KEY"] == "secret"
    assert app.app.config["WTF_CSRF_ENABLED"] is False
    assert app.app.config["SQLALCHEMY_DATABASE_URI"] == MEMORY


def test_the_environment_is_not_read_when_a_configuration_is_given(make_app, monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/environment.db")
    monkeypatch.setenv("API_MAX_BODY_BYTES", "10")
    app = make_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/given.db"})
    create_tables(app)

    created = app.test_client().post("/api/users", json=ANN)

    assert created.status_code == 201
    assert (tmp_path / "given.db").exists()
    assert not (tmp_path / "environment.db").exists()


def test_without_a_configuration_the_environment_counts(make_app, monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/environment.db")
    monkeypatch.setenv("API_MAX_BODY_BYTES", "60")
    app = make_app()
    create_tables(app)
    client = app.test_client()

    created = client.post("/api/users", json=ANN)
    refused = client.post("/api/users", json={"username": "a" * 30, "email": "long@example.com"})

    assert (created.status_code, refused.status_code) == (201, 413)
    assert (tmp_path / "environment.db").exists()


def test_without_anything_the_database_is_a_file_where_the_process_began(make_app, monkeypatch, tmp_path):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (tmp_path / "later").mkdir()
    monkeypatch.chdir(tmp_path)
    app = make_app()
    monkeypatch.chdir(tmp_path / "later")
    create_tables(app)

    created = app.test_client().post("/api/users", json=ANN)

    assert created.status_code == 201
    assert (tmp_path / "app.db").exists()
    assert list((tmp_path / "later").iterdir()) == []


def test_an_unreadable_setting_makes_no_application():
    with pytest.raises(ConfigurationError, match=r"^API_QUEUE_SIZE='many': "):
        create_app({"API_QUEUE_SIZE": "many"})


def test_making_an_application_touches_no_database(make_app, tmp_path):
    app = make_app({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/api.db"})

    liveness = app.test_client().get("/api/health/live")

    assert liveness.status_code == 200
    assert list(tmp_path.iterdir()) == []


def test_tables_made_without_migrations_serve_as_well(in_memory):
    client = in_memory.test_client()
    client.post("/api/users", json=ANN)
    client.post("/api/posts", json={"title": "Title", "content": "Content", "user_id": 1})

    taken = client.post("/api/users", json=ANN)
    deleted = client.delete("/api/users/1")

    assert taken.json()["type"] in {"urn:problem:username-taken", "urn:problem:email-taken"}
    assert deleted.status_code == 200
    assert client.get("/api/posts").json() == []


@pytest.mark.parametrize("url", [MEMORY, "sqlite://", "sqlite:///{folder}/{name}.db"])
def test_two_applications_share_no_database(tmp_path, url):
    with (
        application(SQLALCHEMY_DATABASE_URI=url.format(folder=tmp_path, name="one")) as one,
        application(SQLALCHEMY_DATABASE_URI=url.format(folder=tmp_path, name="two")) as two,
    ):
        create_tables(one)
        create_tables(two)
        first = one.test_client().post("/api/users", json=ANN)
        second = two.test_client().post("/api/users", json={**ANN, "username": "bob"})

        assert one.test_client().get("/api/users").json() == [first.json()] == [{"id": 1, **ANN}]
        assert two.test_client().get("/api/users").json() == [second.json()] == [{"id": 1, **ANN, "username": "bob"}]


def test_a_database_in_memory_is_one_for_requests_and_sessions(in_memory):
    client = in_memory.test_client()
    with in_memory.app.app_context():
        db.session.add(User(**ANN))
        db.session.commit()

    created = client.post("/api/users", json={"username": "bob", "email": "bob@example.com"})

    assert [user["username"] for user in client.get("/api/users").json()] == ["ann", "bob"]
    with in_memory.app.app_context():
        assert db.session.get(User, created.json()["id"]).username == "bob"


def test_a_database_in_memory_takes_requests_at_once(in_memory):
    async def create_all():
        async with client_of(in_memory) as client:
            return await asyncio.gather(
                *(client.post("/api/users", json={"username": f"u{n}", "email": f"u{n}@a.b"}) for n in range(20)),
                *(client.get("/api/users") for _ in range(20)),
            )

    answers = asyncio.run(create_all())

    assert [answer.status_code for answer in answers] == [201] * 20 + [200] * 20
    assert len(in_memory.test_client().get("/api/users").json()) == 20


def test_one_event_loop_after_another(in_memory):
    async def create(username):
        async with client_of(in_memory) as client:
            return await client.post("/api/users", json={"username": username, "email": f"{username}@example.com"})

    answers = [asyncio.run(create(username)) for username in ("ann", "bob", "cid")]

    assert [answer.json()["id"] for answer in answers] == [1, 2, 3]


@pytest.mark.parametrize("warm", [True, False], ids=["after the first request", "from the first request on"])
def test_several_event_loops_at_the_same_time(in_memory, switching_often, warm):
    async def create(name):
        async with client_of(in_memory) as client:
            for number in range(10):
                body = {"username": f"{name}-{number}", "email": f"{name}-{number}@a.b"}
                answers.append(await client.post("/api/users", json=body))

    def run(name):
        together.wait()
        asyncio.run(create(name))

    if warm:
        in_memory.test_client().get("/api/users")
    answers = []
    together = threading.Barrier(3)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(run, ["one", "two", "three"]))

    assert [answer.status_code for answer in answers] == [201] * 30
    assert sorted(answer.json()["id"] for answer in answers) == list(range(1, 31))


@pytest.fixture
def switching_often():
    """Switch threads very often, so that race conditions are likely to show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_with_and_without_lifespan(in_memory):
    with in_memory.test_client() as client:  # used as a context manager, the client sends lifespan events
        during = client.post("/api/users", json=ANN)
    after = in_memory.test_client().get("/api/users")
    with in_memory.test_client() as client:
        again = client.get("/api/users")

    assert during.status_code == 201
    assert after.json() == again.json() == [during.json()]


def test_the_landing_page_is_swagger_ui(in_memory):
    response = in_memory.test_client().get("/", follow_redirects=True)

    assert response.url.path == "/api/ui/"
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "swagger-ui" in response.text
