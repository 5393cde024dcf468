"""Values that operations refuse for the same reasons, each with the reason."""

NOT_AN_INTEGER = "must be an integer"
NOT_A_LINE = "must not contain control characters, or begin or end with a space or no-break space"
NOT_A_CURSOR = "is not a cursor of this list"
NUL = "must not contain the character U+0000"

# Texts that are not plain decimal numbers, although int() accepts some of them.
_NOT_PLAIN_DIGITS = ["", "+1", "01", "-0x1", "1_0", " 1", "1 ", "1\n", "1.0", "1e1", "one", "٣", "1\0", "9" * 5000]

LIMITS_REFUSED = [
    ("0", "must be at least 1"),
    ("-1", "must be at least 1"),
    ("101", "must be at most 100"),
    (str(2**31), "must be at most 100"),
    (str(2**64), "must be at most 100"),
    *((text, NOT_AN_INTEGER) for text in _NOT_PLAIN_DIGITS),
]

IDS_REFUSED = [
    ("0", "must be at least 1"),
    ("-1", "must be at least 1"),
    (str(2**53), f"must be at most {2**53 - 1}"),
    (str(2**64), f"must be at most {2**53 - 1}"),
    *((text, NOT_AN_INTEGER) for text in _NOT_PLAIN_DIGITS),
]

CURSORS_REFUSED = [
    ("", "must have at least 1 character"),
    ("a" * 129, "must have at most 128 characters"),
    ("a b", NOT_A_CURSOR),
    ("MQ==", NOT_A_CURSOR),
    ("a\n", NOT_A_CURSOR),
    *(
        (text, NOT_A_CURSOR)
        for text in ("1", "MQ", "a", "_", "a" * 128)  # not base64, and base64 of other contents
    ),
]

LINES_REFUSED = [
    ("", "must have at least 1 character"),
    (" ", NOT_A_LINE),
    (" ann", NOT_A_LINE),
    ("ann ", NOT_A_LINE),
    ("\u00a0ann", NOT_A_LINE),  # a no-break space
    ("ann\n", NOT_A_LINE),
    ("an\nn", NOT_A_LINE),
    ("an\tn", NOT_A_LINE),
    ("an\0n", NOT_A_LINE),
    ("an\x7fn", NOT_A_LINE),
    ("an\x85n", NOT_A_LINE),
    ("an\x9fn", NOT_A_LINE),
]

NOT_TEXTS = [1, 1.5, True, None, [], ["a"], {}, {"a": "b"}]

LINES = [
    "a",
    "a b",
    "Zoë 李",
    "👩‍👩‍👧",
    "e\u0301",
    "\u00e9",
    "'; DROP TABLE users; --",
    "<b>&amp;</b>",
    "100 %",
    "\\0",
    '"',
    "NULL",
]
