"""The choice of a content coding, after RFC 9110, sections 8.4.1 and 12.5.3."""

import gzip
import time

import brotli
import pytest

from contractapp.asgi.codings import encoded, preferred

AVAILABLE = ("br", "gzip", "identity")


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", "identity"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP;Q=1", "gzip"),
        ("deflate, zstd", "identity"),
        ("gzip;q=1.0, br;q=0.9", "gzip"),
        ("gzip;q=0.5, br;q=0.501", "br"),
        ("br;q=0.5, gzip;q=0.5", "br"),
        ("br;q=0, gzip", "gzip"),
        ("br;q=0.000, gzip;q=0.001", "gzip"),
        ("gzip;q=0.001", "gzip"),
        ("br;q=0", "identity"),
        ("*", "br"),
        ("*;q=0.1, br;q=0", "gzip"),
        ("*;q=0", "identity"),
        ("*;q=0, gzip;q=0.2", "gzip"),
        ("identity, gzip;q=0.5", "identity"),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0.2, *;q=0.3", "br"),
        # The client refuses everything that there is: RFC 9110 then recommends no coding.
        ("identity;q=0", "identity"),
        ("identity;q=0, br;q=0, gzip;q=0", "identity"),
        ("\tgzip ;\t q=0.5 ,br; q=0", "gzip"),
        # An element that is not well-formed says nothing.
        ("br;q=2, gzip", "gzip"),
        ("br;q=0.1234, gzip", "gzip"),
        ("br;q=-1, gzip;level=9", "identity"),
        ("br gzip", "identity"),
        (",, ,gzip,", "gzip"),
        ("\xff, gzip", "gzip"),
    ],
)
def test_the_coding_with_the_greatest_weight_is_preferred(accepted, chosen):
    assert preferred([(b"accept-encoding", accepted.encode("latin-1"))], AVAILABLE) == chosen


def test_without_the_header_nothing_is_coded():
    assert preferred([(b"accept", b"br")], AVAILABLE) == "identity"


def test_several_headers_are_one_list():
    headers = [(b"accept-encoding", b"br;q=0.1"), (b"host", b"a"), (b"accept-encoding", b"gzip;q=0.2")]

    assert preferred(headers, AVAILABLE) == "gzip"


def test_a_coding_that_is_not_available_is_not_chosen():
    assert preferred([(b"accept-encoding", b"br, gzip;q=0.1")], ("gzip", "identity")) == "gzip"


def test_a_body_is_encoded_where_that_makes_it_smaller():
    body = b"again and again " * 100
    contents = encoded(body)

    assert list(contents) == ["br", "gzip", "identity"]
    assert brotli.decompress(contents["br"]) == gzip.decompress(contents["gzip"]) == contents["identity"] == body
    assert encoded(b"a") == {"identity": b"a"}


def test_a_body_is_encoded_to_the_same_bytes_at_any_time(monkeypatch):
    now = encoded(b"again and again " * 100)
    monkeypatch.setattr(time, "time", lambda: 10**9)

    assert encoded(b"again and again " * 100) == now
