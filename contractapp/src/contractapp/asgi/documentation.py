"""Publishes the contract and Swagger UI; all files are served from this machine."""

import mimetypes
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from contractapp.answers import Answer, RawHeaders
from contractapp.compile.document import Published, as_json, as_yaml
from contractapp.problems import MethodNotAllowed

_ALLOW = "GET, HEAD, OPTIONS"
_ASSETS = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-16x16.png", "favicon-32x32.png")

# Everything is loaded from the same origin, except icons, which the style sheet contains as data: URLs. Styles need no
# 'unsafe-inline': React sets them through the DOM, to which the policy does not apply (tests/browser/).
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_INDEX = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="swagger-ui.css">
<link rel="stylesheet" href="narrow.css">
<link rel="icon" type="image/png" href="favicon-32x32.png" sizes="32x32">
</head>
<body>
<div id="swagger-ui"></div>
<script src="swagger-ui-bundle.js"></script>
<script src="initialize.js"></script>
</body>
</html>
"""

# Swagger UI's tables of responses, with their column of links, are wider than a phone: there the cells are stacked.
_NARROW = """@media (max-width: 640px) {
  .swagger-ui .wrapper { padding: 0 8px; }
  .swagger-ui .opblock-body .responses-table > thead { display: none; }
  .swagger-ui .opblock-body .responses-table,
  .swagger-ui .opblock-body .responses-table > tbody,
  .swagger-ui .opblock-body .responses-table > tbody > tr,
  .swagger-ui .opblock-body .responses-table > tbody > tr > td { display: block; max-width: 100%; width: auto; }
  .swagger-ui .opblock-body .responses-table > tbody > tr > td { padding: 8px 0 0; }
  .swagger-ui .operation-link pre, .swagger-ui .headerline { overflow-wrap: anywhere; white-space: pre-wrap; }
}
"""

_INITIALIZE = """window.ui = SwaggerUIBundle({{
  url: "{url}",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  presets: [SwaggerUIBundle.presets.apis],
  validatorUrl: null
}});
"""


class Page:
    """One path of the documentation, made once. Its response to GET depends on where the application is mounted."""

    def __init__(self, get: Callable[[str], Answer]) -> None:
        self._get = get

    def answer(self, method: str, headers: RawHeaders, root_path: str) -> Answer:
        if method == "OPTIONS":
            return Answer(204, [(b"allow", _ALLOW.encode()), *_PREFLIGHT], b"")
        if method not in {"GET", "HEAD"}:
            raise MethodNotAllowed(_ALLOW)
        page = self._get(root_path)
        etag = next((value for key, value in page.headers if key == b"etag"), b"")
        known = {tag.strip().removeprefix(b"W/") for k, v in headers if k == b"if-none-match" for tag in v.split(b",")}
        if etag and (etag in known or b"*" in known):
            kept = [(k, v) for k, v in page.headers if k not in {b"content-type", b"content-length"}]
            return Answer(304, kept, b"")
        return page


class Documentation:
    """`openapi.json`, `openapi.yaml` and Swagger UI of one contract, below its base path.

    `paths` are the paths of all pages; `made` are the pages that were made so far. `make` takes milliseconds and reads
    files: call it in a thread.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        base_path: str,
        *,
        json_path: str | None = "/openapi.json",
        ui_path: str | None = "/ui",
        landing: str | None = None,
    ) -> None:
        self._document = document
        self._base_path = base_path
        self._json_path = json_path
        self._yaml_path = json_path.removesuffix("json") + "yaml" if json_path and json_path.endswith("json") else None
        self._ui_path = ui_path.rstrip("/") if ui_path and json_path else None
        self._landing = landing
        self.paths = frozenset(self._all_paths())
        self.made: dict[str, Page] = {}

    @property
    def ui_path(self) -> str | None:
        """The full path of Swagger UI, or None if it is switched off."""
        return None if self._ui_path is None else f"{self._base_path}{self._ui_path}/"

    def make(self, path: str) -> Page:
        """Make the page of one of the paths, and keep it in `made`."""
        page = self.made[path] = Page(self._make(path))
        return page

    def _all_paths(self) -> Iterator[str]:
        for path in (self._json_path, self._yaml_path):
            if path is not None:
                yield self._base_path + path
        if self._ui_path is not None:
            if self._landing is not None:
                yield self._landing
            for asset in ("", "/", "/index.html", "/initialize.js", "/narrow.css", *(f"/{name}" for name in _ASSETS)):
                yield self._base_path + self._ui_path + asset

    def _make(self, path: str) -> Callable[[str], Answer]:
        name = path[len(self._base_path) :]
        if path == self._landing or name == self._ui_path:
            return partial(_redirect, to=f"{self._base_path}{self._ui_path}/")
        if name in {self._json_path, self._yaml_path}:
            is_json = name == self._json_path
            published = Published(self._document, as_json if is_json else as_yaml)
            media_type = b"application/json" if is_json else b"application/yaml"
            return partial(_contract, published=published, media_type=media_type, base_path=self._base_path)
        page = self._page(name[len(self._ui_path or "") :])
        return lambda _: page

    def _page(self, asset: str) -> Answer:
        if asset in {"/", "/index.html"}:
            title = str(self._document.get("info", {}).get("title", "API")).replace("&", "&amp;").replace("<", "&lt;")
            return _page(_INDEX.format(title=title).encode(), b"text/html; charset=utf-8")
        if asset == "/initialize.js":
            depth = (self._ui_path or "").count("/")
            script = _INITIALIZE.format(url="../" * depth + (self._json_path or "")[1:])
            return _page(script.encode(), b"text/javascript; charset=utf-8")
        if asset == "/narrow.css":
            return _page(_NARROW.encode(), b"text/css; charset=utf-8")
        kind = mimetypes.guess_type(asset)[0] or "application/octet-stream"
        return _page((_assets() / asset[1:]).read_bytes(), kind.encode())


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


def _redirect(root_path: str, to: str) -> Answer:
    return Answer(307, [(b"location", quote(root_path + to).encode()), (b"content-length", b"0")], b"")


def _contract(root_path: str, published: Published, media_type: bytes, base_path: str) -> Answer:
    body, hashed = published.at(root_path + base_path)
    return _cached(body, hashed, media_type, _CROSS_ORIGIN)


def _page(body: bytes, media_type: bytes) -> Answer:
    return _cached(
        body,
        sha256(body).hexdigest(),
        media_type,
        [
            (b"content-security-policy", _POLICY.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        ],
    )


def _cached(body: bytes, hashed: str, media_type: bytes, more: RawHeaders) -> Answer:
    """An answer that caches may store but must revalidate before each use, so that a new release shows at once."""
    headers = [
        (b"content-type", media_type),
        (b"content-length", b"%d" % len(body)),
        (b"etag", b'"%b"' % hashed[:32].encode()),
        (b"cache-control", b"no-cache"),
    ]
    return Answer(200, headers + more, body)


def _assets() -> Path:
    """The folder in which the package flask-swagger-ui has the files of Swagger UI; the package is not imported."""
    spec = find_spec("flask_swagger_ui")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("Swagger UI needs the package flask-swagger-ui.")
    return Path(next(iter(spec.submodule_search_locations))) / "dist"
