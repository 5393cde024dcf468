"""Path, query and header parameters: text is converted to checked arguments."""

import pytest

from contractapp.compile.document import Unsupported
from contractapp.compile.parameters import MISSING, Headers, Parameter, Query
from contractapp.problems import MAX_ERRORS


def parameter(kind, where="query", name="p", **more):
    definition = {"name": name, "in": where, "schema": {"type": kind, **more.pop("schema", {})}, **more}
    return Parameter(definition, {})


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "0", 0),
        ("integer", "-0", 0),
        ("integer", "-12", -12),
        ("integer", "9" * 400, 10**400 - 1),
        ("number", "1", 1.0),
        ("number", "-1.50", -1.5),
        ("number", "1e3", 1000.0),
        ("number", "1E-3", 0.001),
        ("boolean", "true", True),
        ("boolean", "false", False),
        ("string", "", ""),
        ("string", "5", "5"),
    ],
)
def test_text_becomes_a_value_of_its_type(kind, text, value):
    faults = []
    read = parameter(kind).read(text, faults)

    assert (read, type(read), faults) == (value, type(value), [])


@pytest.mark.parametrize(
    ("kind", "detail", "texts"),
    [
        (
            "integer",
            "must be an integer",
            [
                "",
                "+1",
                "01",
                "-01",
                "--1",
                "1.0",
                "1e3",
                "1_0",
                " 1",
                "1\n",
                "\N{ARABIC-INDIC DIGIT ONE}",
                "\N{SUPERSCRIPT TWO}",
                "0x1",
                "9" * 401,
            ],
        ),
        (
            "number",
            "must be a number",
            [
                "",
                "+1",
                "01",
                ".5",
                "5.",
                "nan",
                "NaN",
                "inf",
                "Infinity",
                "1e400",
                "1_0",
                " 1",
                "1\n",
                "1e",
                "0x1p3",
                "\N{ARABIC-INDIC DIGIT ONE}",
                "9" * 401,
            ],
        ),
        ("boolean", "must be true or false", ["", "True", "TRUE", "1", "yes", "true "]),
    ],
)
def test_text_of_another_form_is_a_fault(kind, detail, texts):
    for text in texts:
        faults = []
        read = parameter(kind).read(text, faults)

        assert (read, [tuple(fault) for fault in faults]) == (MISSING, [("query", "/p", detail)]), text


def test_a_value_is_checked_with_its_schema():
    faults = []
    parameter("integer", schema={"minimum": 1, "maximum": 5}, name="a/b").read("6", faults)

    assert [tuple(fault) for fault in faults] == [("query", "/a~1b", "must be at most 5")]


QUERY = Query(
    [parameter("integer", name="limit", schema={"default": 10}), parameter("string", name="q", required=True)],
    strict=True,
)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"q=a", {"limit": 10, "q": "a"}),
        (b"q=", {"limit": 10, "q": ""}),
        (b"q", {"limit": 10, "q": ""}),
        (b"q=a=b", {"limit": 10, "q": "a=b"}),
        (b"&&q=a&", {"limit": 10, "q": "a"}),
        (b"limit=3&q=a+b%2B%20c", {"limit": 3, "q": "a b+ c"}),
        (b"%71=%C3%A9", {"limit": 10, "q": "é"}),
        ("q=é".encode(), {"limit": 10, "q": "é"}),
        (b"q=a;limit=5", {"limit": 10, "q": "a;limit=5"}),
    ],
)
def test_a_query_becomes_values_by_name(text, values):
    faults = []

    assert (QUERY.read(text, faults), faults) == (values, [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", [("query", "/q", "is required")]),
        (b"q=a&q=a", [("query", "/q", "is given more than once")]),
        (b"q=%ff", [("query", "/q", "is not UTF-8")]),
        (b"q=%ED%A0%80", [("query", "/q", "is not UTF-8")]),
        (b"%ff=1&q=a", [("query", "", "has a parameter name that is not UTF-8")]),
        (b"x=1&q=a&limit=x", [("query", "/x", "is not a known parameter"), ("query", "/limit", "must be an integer")]),
    ],
)
def test_all_faults_of_a_query_are_reported(text, expected):
    faults = []
    QUERY.read(text, faults)

    assert [tuple(fault) for fault in faults] == expected


def test_an_unknown_parameter_is_ignored_where_validation_is_not_strict():
    faults = []
    values = Query([], strict=False).read(b"x=1&x=2", faults)

    assert (values, faults) == ({}, [])


def test_a_default_is_not_shared_between_requests():
    first = QUERY.read(b"q=a", [])
    first["limit"] = 99

    assert QUERY.read(b"q=a", [])["limit"] == 10


HEADERS = Headers(
    [
        parameter("integer", "header", "X-Number", required=True),
        parameter("string", "header", "Authorization", required=True),
    ]
)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"x-number", b"5")], []),
        ([], [("header", "/X-Number", "is required")]),
        ([(b"x-number", b"x")], [("header", "/X-Number", "must be an integer")]),
        ([(b"x-number", b"5"), (b"x-number", b"6")], [("header", "/X-Number", "must be an integer")]),
        ([(b"x-number", b"\xff")], [("header", "/X-Number", "must be an integer")]),
    ],
)
def test_headers_are_checked_except_reserved_ones(headers, expected):
    faults = []
    arguments = {}
    HEADERS.read(headers, arguments, faults)

    assert [tuple(fault) for fault in faults] == expected
    assert arguments == {}  # as in Connexion


@pytest.mark.parametrize(
    "definition",
    [
        {"name": "p", "in": "query", "content": {"application/json": {"schema": {}}}},
        {"name": "p", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
        {"name": "p", "in": "query", "schema": {"type": "object"}, "style": "deepObject"},
        {"name": "p", "in": "query", "schema": {"type": "string"}, "style": "spaceDelimited"},
        {"name": "p", "in": "query", "schema": {"type": "string"}, "allowEmptyValue": True},
        {"name": "p", "in": "query", "schema": {"type": "string", "nullable": True}},
        {"name": "p", "in": "query", "schema": {"oneOf": [{"type": "string"}, {"type": "integer"}]}},
        {"name": "p", "in": "path", "required": True, "schema": {"type": "string"}, "style": "label"},
        {"name": "p", "in": "path", "required": True, "schema": {"type": "string", "format": "path"}},
        {"name": "p", "in": "cookie", "schema": {"type": "string"}},
    ],
)
def test_unsupported_parameters_are_left_to_stock(definition):
    with pytest.raises(Unsupported):
        Parameter(definition, {})


@pytest.mark.parametrize("pair", [b"x%d=1", b"p=%d", b"%%ff%d"], ids=["unknown", "repeated", "not UTF-8"])
def test_checking_stops_at_the_maximum_number_of_faults(pair):
    faults = []
    Query([parameter("string")], strict=True).read(b"&".join(pair % number for number in range(5000)), faults)

    assert len(faults) == MAX_ERRORS
