"""The settings: their names, their valid values, and the errors for invalid values."""

import logging
import sys
from pathlib import Path

import pytest

from api.config import ConfigurationError, Settings, settings_fields


def test_without_any_setting_the_defaults_hold():
    settings = Settings.from_env({})

    assert settings == Settings(
        database_url=f"sqlite:///{Path.cwd()}/app.db",
        write_threads=1,
        flask_config={"SECRET_KEY": None, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{Path.cwd()}/app.db"},
    )


def test_the_environment_sets_every_setting():
    settings = Settings.from_env(
        {
            "DATABASE_URL": "postgres://me:secret@db.example/api",
            "SECRET_KEY": "secret",
            "API_READ_THREADS": "8",
            "API_WRITE_THREADS": "3",
            "API_QUEUE_SIZE": "10",
            "API_MAX_BODY_BYTES": "2048",
            "API_REQUEST_TIMEOUT_SECONDS": "1.5",
            "API_LOCK_TIMEOUT_SECONDS": "2.5",
            "API_CONNECT_TIMEOUT_SECONDS": "3.5",
            "API_POOL_TIMEOUT_SECONDS": "4.5",
            "API_STATEMENT_TIMEOUT_SECONDS": "5.5",
            "API_PREPARED_STATEMENTS": "Off",
            "API_SHUTDOWN_TIMEOUT_SECONDS": "6.5",
            "API_RESPONSE_VALIDATION": "no",
            "API_CORS_ORIGINS": "https://a.example, https://b.example,",
            "API_TRUSTED_PROXIES": "10.0.0.1",
            "API_LOG_LEVEL": "DEBUG",
        }
    )

    assert settings == Settings(
        database_url="postgresql+psycopg://me:secret@db.example/api",
        secret_key="secret",  # of this test
        read_threads=8,
        write_threads=3,
        queue_size=10,
        max_body_bytes=2048,
        request_timeout_seconds=1.5,
        lock_timeout_seconds=2.5,
        connect_timeout_seconds=3.5,
        pool_timeout_seconds=4.5,
        statement_timeout_seconds=5.5,
        prepared_statements="off",
        shutdown_timeout_seconds=6.5,
        response_validation=False,
        cors_origins=("https://a.example", "https://b.example"),
        trusted_proxies=("10.0.0.1",),
        log_level="debug",
        flask_config={
            "SECRET_KEY": "secret",
            "SQLALCHEMY_DATABASE_URI": "postgresql+psycopg://me:secret@db.example/api",
        },
    )


def test_an_empty_variable_counts_as_not_set():
    assert Settings.from_env(dict.fromkeys(("DATABASE_URL", "SECRET_KEY", "API_QUEUE_SIZE"), "")) == (
        Settings.from_env({})
    )


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("API_POOL_TIMEOUT_SECONDS", "soon", "API_POOL_TIMEOUT_SECONDS='soon': not a number"),
        ("API_POOL_TIMEOUT_SECONDS", "nan", "API_POOL_TIMEOUT_SECONDS='nan': not between 0.1 and 86400"),
        ("API_POOL_TIMEOUT_SECONDS", "inf", "API_POOL_TIMEOUT_SECONDS='inf': not between 0.1 and 86400"),
        ("API_READ_THREADS", "many", "API_READ_THREADS='many': not a whole number"),
        ("API_READ_THREADS", "0", "API_READ_THREADS='0': not between 1 and 256"),
        ("API_RESPONSE_VALIDATION", "maybe", "API_RESPONSE_VALIDATION='maybe': not true or false"),
        ("API_PREPARED_STATEMENTS", "never", "API_PREPARED_STATEMENTS='never': not one of auto, on, off"),
        ("API_LOG_LEVEL", "loud", "API_LOG_LEVEL='loud': not one of critical, error, warning, info, debug"),
        ("DATABASE_URL", "mysql://me:secret@db/api", "DATABASE_URL: neither sqlite nor postgresql"),
        ("DATABASE_URL", "me:secret@db", "DATABASE_URL: not a URL of a database"),
        ("DATABASE_URL", "postgres://me:secret@db:port/api", "DATABASE_URL: not a URL of a database"),
        ("DATABASE_URL", "sqlite:///api.db?nonsense=1", "DATABASE_URL: SQLite has no parameter nonsense"),
        ("DATABASE_URL", "sqlite:///file:api.db?nonsense=1&uri=true", "DATABASE_URL: SQLite has no parameter nonsense"),
        (
            "DATABASE_URL",
            "sqlite:///api.db?mode=ro",
            "DATABASE_URL: mode needs a path that begins with file:, and uri=true",
        ),
        (
            "DATABASE_URL",
            "sqlite:///api.db?uri=true",
            "DATABASE_URL: a path that begins with file: and uri=true need each other",
        ),
        (
            "DATABASE_URL",
            "sqlite:///file:api.db?mode=secret&uri=true",
            "DATABASE_URL: mode is not one of ro, rw, rwc, memory",
        ),
        (
            "DATABASE_URL",
            "sqlite://me:secret@db/api.db",
            "DATABASE_URL: sqlite:/// is followed by a path, and has no host or user",
        ),
        ("DATABASE_URL", "postgresql://db/api?nonsense=1", 'DATABASE_URL: invalid connection option "nonsense"'),
        (
            "DATABASE_URL",
            "postgresql://db/api?port=secret",
            "DATABASE_URL: the value of a parameter after the ? has the wrong type",
        ),
    ],
)
def test_an_unusable_value_is_refused_in_a_sentence(name, value, sentence):
    with pytest.raises(ConfigurationError) as refusal:
        Settings.from_env({name: value})

    assert str(refusal.value) == sentence


def test_every_wrong_setting_is_told_at_once():
    with pytest.raises(ConfigurationError) as refusal:
        Settings.from_env(
            {
                "DATABASE_URL": "mysql://db/api",
                "API_READ_THREADS": "many",
                "API_QUEUE_SIZE": "0",
                "API_CORS_ORIGINS": "app.example",
                "API_TRUSTED_PROXIES": "10.0.0.1/8",
                "API_LOG_LEVEL": "loud",
            }
        )

    assert refusal.value.faults == (
        "API_READ_THREADS='many': not a whole number",
        "API_QUEUE_SIZE='0': not between 1 and 2147483647",
        "API_LOG_LEVEL='loud': not one of critical, error, warning, info, debug",
        "DATABASE_URL: neither sqlite nor postgresql",
        "API_CORS_ORIGINS: 'app.example' is not an origin such as https://app.example",
        "API_TRUSTED_PROXIES: '10.0.0.1/8' is neither an address nor a network such as 10.0.0.0/8",
    )
    assert str(refusal.value) == "\n".join(refusal.value.faults)


def test_a_driver_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)  # importing it raises ImportError

    with pytest.raises(ConfigurationError) as refusal:
        Settings.from_env({"DATABASE_URL": "postgresql://db/api"})

    assert str(refusal.value).startswith("DATABASE_URL: the driver psycopg cannot be imported: ")


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("API_READ_THREAD", "API_READ_THREAD is not a setting. Did you mean API_READ_THREADS?"),
        ("API_XYZZY", "API_XYZZY is not a setting."),
    ],
)
def test_an_unknown_name_is_warned_about(caplog, name, warning):
    with caplog.at_level(logging.WARNING):
        Settings.from_env({name: "1", "PATH": "/bin"})

    assert caplog.messages == [warning]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("sqlite:////var/data.db", "sqlite:////var/data.db"),
        ("sqlite:///data.db?timeout=1", f"sqlite:///{Path.cwd()}/data.db?timeout=1"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("sqlite:///file:shared?mode=memory&uri=true", "sqlite:///file:shared?mode=memory&uri=true"),
        ("postgresql://db/api", "postgresql+psycopg://db/api"),
        ("postgresql+psycopg://db/api", "postgresql+psycopg://db/api"),
    ],
)
def test_a_url_names_its_driver_and_an_absolute_path(given, kept):
    assert Settings.from_env({"DATABASE_URL": given}).database_url == kept


@pytest.mark.parametrize(
    ("url", "in_memory"),
    [
        ("sqlite://", True),
        ("sqlite:///:memory:", True),
        ("sqlite:///file::memory:?uri=true", True),
        ("sqlite:///file:shared?mode=memory&uri=true", True),
        ("sqlite:///app.db", False),
        ("postgresql://db/api", False),
    ],
)
def test_a_database_in_memory_is_recognised(url, in_memory):
    assert Settings.from_config({"SQLALCHEMY_DATABASE_URI": url}).in_memory is in_memory


class Config:
    """A configuration class like those in Flask's documentation."""

    TESTING = True
    SQLALCHEMY_DATABASE_URI = "sqlite:///:memory:"
    SECRET_KEY = "secret"  # of this test
    API_QUEUE_SIZE = 3
    API_CORS_ORIGINS = ("https://a.example",)
    API_RESPONSE_VALIDATION = False
    lower = "no setting"


@pytest.mark.parametrize(
    "config", [Config, Config(), {name: value for name, value in vars(Config).items() if name[0] != "_"}]
)
def test_a_configuration_is_a_class_an_object_or_a_mapping(config):
    settings = Settings.from_config(config)

    assert (settings.queue_size, settings.cors_origins, settings.response_validation) == (
        3,
        ("https://a.example",),
        False,
    )
    assert settings.flask_config == {name: value for name, value in vars(Config).items() if name.isupper()}


def test_a_configuration_replaces_the_environment(monkeypatch):
    monkeypatch.setenv("API_QUEUE_SIZE", "3")

    assert Settings.from_config({}).queue_size == 1000
    assert Settings.from_config({}).database_url == f"sqlite:///{Path.cwd()}/app.db"


def test_a_url_in_a_configuration_is_kept_as_given():
    settings = Settings.from_config({"SQLALCHEMY_DATABASE_URI": "sqlite:///data.db"})

    assert settings.database_url == settings.flask_config["SQLALCHEMY_DATABASE_URI"] == "sqlite:///data.db"


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("api.Config", "A configuration must be a mapping, an object or a class, not a string."),
        ({"API_QUEUE_SIZE": [1]}, "API_QUEUE_SIZE=[1]: not a whole number"),
        ({"API_QUEUE_SIZE": 2.5}, "API_QUEUE_SIZE=2.5: not a whole number"),
        ({"API_POOL_TIMEOUT_SECONDS": [1]}, "API_POOL_TIMEOUT_SECONDS=[1]: not a number"),
        ({"API_CORS_ORIGINS": 3}, "API_CORS_ORIGINS=3: neither a text nor texts"),
        ({"API_LOG_LEVEL": 3}, "API_LOG_LEVEL=3: not a text"),
        ({"SQLALCHEMY_DATABASE_URI": ""}, "DATABASE_URL: not a URL of a database"),
        ({"SQLALCHEMY_DATABASE_URI": "nonsense"}, "DATABASE_URL: not a URL of a database"),
    ],
)
def test_an_unusable_configuration_is_refused_in_a_sentence(config, sentence):
    with pytest.raises(ConfigurationError) as refusal:
        Settings.from_config(config)

    assert str(refusal.value).startswith(sentence)


def test_secrets_stay_out_of_the_settings_repr():
    settings = Settings.from_env({"DATABASE_URL": "postgres://me:secret@db/api", "SECRET_KEY": "secret"})

    assert "secret" not in repr(settings).replace("secret_key", "")


def test_every_setting_describes_itself():
    assert all(spec.metadata["description"].endswith(".") for spec in settings_fields())


class Hunter:
    """A value that no setting accepts."""

    def __repr__(self):
        return "hunter2"


@pytest.mark.parametrize("key", ["SECRET_KEY", "SQLALCHEMY_DATABASE_URI"])
def test_a_refused_secret_is_not_repeated(key):
    with pytest.raises(ConfigurationError) as refusal:
        Settings.from_config({key: Hunter()})

    assert str(refusal.value).startswith(f"{key}: ")
    assert "hunter2" not in str(refusal.value)


def test_every_setting_that_can_hold_a_secret_is_known_as_one():
    assert {spec.name for spec in settings_fields() if not spec.repr} == {"database_url", "secret_key"}


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "hunter2://me@db/api",
        "mysql://me:hunter2@db/api",
        "postgresql://me:hunter2@db:port/api",
        "postgresql://me:hunter@hunter2@db/api",
        "postgresql+hunter2://db/api",
        "postgresql+psycopg2://me:hunter2@db/api",
        "sqlite:///api.db?timeout=hunter2",
    ],
)
def test_a_refused_url_is_not_repeated(url):
    for read in (
        lambda: Settings.from_env({"DATABASE_URL": url}),
        lambda: Settings.from_config({"SQLALCHEMY_DATABASE_URI": url}),
        lambda: Settings.from_config(url),
    ):
        with pytest.raises(ConfigurationError) as refusal:
            read()

        assert "hunter2" not in str(refusal.value)


def test_a_secret_key_may_be_bytes():
    settings = Settings.from_config({"SECRET_KEY": b"\x00\xff"})

    assert settings.secret_key == settings.flask_config["SECRET_KEY"] == b"\x00\xff"
