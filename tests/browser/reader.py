"""Reads and operates Swagger UI in a browser."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml
from playwright.sync_api import Locator, Page

ROOT = Path(__file__).parents[2]
CONTRACT = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text())

# The path prefix of the service behind the reverse proxy.
PREFIX = "/community/v1"


class Shown(NamedTuple):
    """The parts of a response that Swagger UI shows."""

    url: str
    status: int
    headers: dict[str, str]
    body: Any


class SwaggerUI:
    """Swagger UI in a page; records the errors that the page does not show."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.origin = re.match(r"\w+://[^/]+", url)[0]
        self.requested: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def visit(self) -> None:
        self.policy = self.page.goto(self.url).headers["content-security-policy"]
        self.page.locator(".opblock").first.wait_for()

    def operation(self, name: str) -> Locator:
        return self.page.locator(f".opblock[id$='-{name}']")

    def expand(self, name: str) -> Locator:
        operation = self.operation(name)
        operation.locator(".opblock-summary-control").click()
        operation.locator(".responses-table").first.wait_for()
        return operation

    def execute(self, name: str, body: Any = None, **parameters: object) -> Shown:
        """Expand an operation, try it out, fill it in, execute it, and leave it as it was found."""
        operation = self.expand(name)
        operation.get_by_role("button", name="Try it out").click()
        for key, value in parameters.items():
            operation.locator(f"tr[data-param-name='{key}'] input").fill(str(value))
        if body is not None:
            operation.locator("textarea.body-param__text").fill(orjson.dumps(body).decode())
        operation.get_by_role("button", name="Execute").click()
        shown = self.shown(operation)
        operation.get_by_role("button", name="Clear").click()
        operation.get_by_role("button", name="Cancel").click()
        operation.locator(".opblock-summary-control").click()
        return shown

    def shown(self, operation: Locator) -> Shown:
        """The response that is shown below an operation."""
        answer = operation.locator(".live-responses-table .response")
        answer.wait_for()
        lines = answer.locator(".headerline").all_text_contents()
        return Shown(
            url=operation.locator(".request-url pre").text_content(),
            status=int(answer.locator(".response-col_status").text_content()),
            headers={name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)},
            body=orjson.loads(answer.locator("pre:has(code)").first.text_content()),
        )

    def _hear(self, message: Any) -> None:
        # Chromium reports error responses, which a test may have caused on purpose; the page shows them as well.
        asked_for = re.match(r"Failed to load resource: the server responded with a status of 4\d\d", message.text)
        if message.type in {"error", "warning"} and not asked_for:
            self.complaints.append(message.text)
