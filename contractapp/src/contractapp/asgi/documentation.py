"""Publishes the contract and Swagger UI; all files are served from this machine.

The files of Swagger UI are those of the package flask-swagger-ui; the folder `swagger_ui` has the page around them.
"""

import html
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import quote

from contractapp.answers import Answer, RawHeaders
from contractapp.asgi.codings import IDENTITY, encoded, preferred
from contractapp.compile.document import Published, as_json, as_yaml
from contractapp.preconditions import EntityTags
from contractapp.problems import MethodNotAllowed

_ALLOW = "GET, HEAD, OPTIONS"
_RELEASED = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_OWN = ("page.css", "theme.js", "initialize.js")
_OWN_FOLDER = Path(__file__).parent / "swagger_ui"
_MEDIA_TYPES = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".png": b"image/png",
}

# What depends on the prefix of a proxy or mount is kept for so many pages.
_MAX_PREFIXED = 64

# Everything is loaded from the same origin, except icons, which the style sheet contains as data: URLs. Styles need no
# 'unsafe-inline': React sets them through the DOM, to which the policy does not apply (tests/browser/).
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PROTECTED: RawHeaders = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_CROSS_ORIGIN: RawHeaders = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag"),
]
# Tools that request the contract may send headers of their own.
_PREFLIGHT: RawHeaders = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", b"*"),
]
# Caches may store the response, but must revalidate it before each use, so that a new release shows at once.
_REVALIDATED = (b"cache-control", b"no-cache")
# The name contains a hash of the content, which therefore never changes (RFC 8246).
_IMMUTABLE = (b"cache-control", b"public, max-age=31536000, immutable")
# A 304 has no content, and therefore does not describe it (RFC 9110, section 15.4.5).
_OF_CONTENT = {b"content-type", b"content-length", b"content-encoding"}


class Page:
    """One path of the documentation: its response to GET in each content coding."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers

    def answer(self, method: str, headers: RawHeaders) -> Answer:
        if method == "OPTIONS":
            return Answer(204, [(b"allow", _ALLOW.encode()), *_PREFLIGHT], b"")
        if method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(_ALLOW)
        answer = self._answers[preferred(headers, self._answers)]
        etag = next((value for key, value in answer.headers if key == b"etag"), b"")
        known = EntityTags.parse(b", ".join(v for k, v in headers if k == b"if-none-match").decode("latin-1"))
        if etag and known is not None and known.match_weakly(etag.decode()):
            return Answer(304, [(key, value) for key, value in answer.headers if key not in _OF_CONTENT], b"")
        return answer


class Documentation:
    """`openapi.json`, `openapi.yaml` and Swagger UI of one contract, below its base path; `paths` are their paths."""

    def __init__(
        self,
        document: Mapping[str, Any],
        base_path: str,
        *,
        json_path: str | None = "/openapi.json",
        ui_path: str | None = "/ui",
        landing: str | None = None,
    ) -> None:
        # How each page is made, from the prefix of a proxy or mount; and the paths of the pages that depend on it.
        makers: dict[str, Callable[[str], Page]] = dict(_contracts(document, base_path, json_path))
        self._prefixed = set(makers)
        if ui_path is not None and json_path is not None:
            ui = base_path + ui_path.rstrip("/")
            redirects = dict.fromkeys(filter(None, (ui, landing)), partial(_redirect, f"{ui}/"))
            self._prefixed.update(redirects)
            makers |= redirects | _swagger_ui(ui, _index(document, ui_path, json_path))
        self._makers = makers
        self.paths = frozenset(makers)
        self._made: dict[tuple[str, str], Page] = {}
        self._keeping = Lock()

    def made(self, path: str, root_path: str) -> Page | None:
        """The page at one of the paths, if it was made before."""
        return self._made.get(self._key(path, root_path))

    def make(self, path: str, root_path: str) -> Page:
        """Make the page at one of the paths, and keep it. This takes up to 0.2 s: call it in a thread."""
        page = self._makers[path](root_path)
        with self._keeping:
            self._made[self._key(path, root_path)] = page
            for key in [key for key in self._made if key[0] in self._prefixed][:-_MAX_PREFIXED]:
                del self._made[key]
        return page

    def _key(self, path: str, root_path: str) -> tuple[str, str]:
        return path, root_path if path in self._prefixed else ""


def _contracts(
    document: Mapping[str, Any], base_path: str, json_path: str | None
) -> Iterator[tuple[str, Callable[[str], Page]]]:
    """How the contract is made at each of its paths."""
    if json_path is not None:
        published = cache(partial(Published, document, as_json))
        yield base_path + json_path, partial(_contract, published, b"application/json", base_path)
    if json_path is not None and json_path.endswith("json"):
        published = cache(partial(Published, document, as_yaml))
        path = base_path + json_path.removesuffix("json") + "yaml"
        yield path, partial(_contract, published, b"application/yaml", base_path)


def _contract(published: Callable[[], Published], media_type: bytes, base_path: str, root_path: str) -> Page:
    body, hashed = published().at(root_path + base_path)
    return _page(body, media_type, hashed, [_REVALIDATED, *_CROSS_ORIGIN])


def _redirect(to: str, root_path: str) -> Page:
    location = quote(root_path + to).encode()
    return Page({IDENTITY: Answer(307, [(b"location", location), (b"content-length", b"0")], b"")})


def _swagger_ui(ui: str, index: bytes) -> dict[str, Callable[[str], Page]]:
    """How each page of Swagger UI is made."""
    files = {f"{ui}/{file.name}": partial(_file, file, _IMMUTABLE) for file in _files().values()}
    page = partial(_file, _File("index.html", index), _REVALIDATED)
    return {f"{ui}/": page, f"{ui}/index.html": page, **files}


def _index(document: Mapping[str, Any], ui_path: str, json_path: str) -> bytes:
    title = html.escape(str(document.get("info", {}).get("title", "API")))
    contract = "../" * ui_path.rstrip("/").count("/") + json_path[1:]
    template = (_OWN_FOLDER / "index.html").read_text("utf-8")
    return template.format(title=title, contract=html.escape(contract), files=_files()).encode()


class _File(NamedTuple):
    """A file of Swagger UI. Its name contains a hash of its content."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


def _file(file: _File, caching: tuple[bytes, bytes], _root_path: str) -> Page:
    media_type = _MEDIA_TYPES[Path(file.name).suffix]
    return _page(file.content, media_type, sha256(file.content).hexdigest(), [caching, *_PROTECTED])


def _page(body: bytes, media_type: bytes, hashed: str, more: RawHeaders) -> Page:
    """The page in each coding that makes it smaller. Each has an ETag of its own (RFC 9110, section 8.8.3.3)."""
    contents = encoded(body)
    vary: RawHeaders = [(b"vary", b"accept-encoding")] if len(contents) > 1 else []
    answers = {}
    for coding, content in contents.items():
        suffix = "" if coding == IDENTITY else f"-{coding}"
        described: RawHeaders = [
            (b"content-type", media_type),
            (b"content-length", b"%d" % len(content)),
            (b"etag", f'"{hashed[:32]}{suffix}"'.encode()),
        ]
        coded: RawHeaders = [] if coding == IDENTITY else [(b"content-encoding", coding.encode())]
        answers[coding] = Answer(200, [*described, *coded, *vary, *more], content)
    return Page(answers)


@cache
def _files() -> dict[str, _File]:
    """The files that the page of Swagger UI links, by their names without hash."""
    paths = [*(_released_folder() / name for name in _RELEASED), *(_OWN_FOLDER / name for name in _OWN)]
    return {path.name: _hashed(path.stem, path.suffix, path.read_bytes()) for path in paths}


def _hashed(stem: str, suffix: str, content: bytes) -> _File:
    return _File(f"{stem}.{sha256(content).hexdigest()[:16]}{suffix}", content)


def _released_folder() -> Path:
    """The folder in which the package flask-swagger-ui has the files of Swagger UI; the package is not imported."""
    spec = find_spec("flask_swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("Swagger UI needs the package flask-swagger-ui.")
    return Path(next(iter(spec.submodule_search_locations))) / "dist"
