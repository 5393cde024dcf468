"""What the reader sees of Swagger UI, measured in a real browser: at two widths, in light and dark."""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
import yaml
from playwright.sync_api import expect

from tests.browser.reader import CONTRACT

MEASURES = Path(__file__).with_name("measures.js").read_text()
GALLERY = yaml.safe_load(Path(__file__).with_name("gallery.yaml").read_text())

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])

# The greatest sizes of a first and of a second visit, in bytes on the wire.
FIRST_VISIT = 450_000
NEXT_VISIT = 1_500


def measure(page, name):
    return page.evaluate(f"() => {MEASURES}.{name}()")


def click_all(page, selector):
    """Click in the page, which is faster than one click after the other from outside."""
    page.evaluate("selector => document.querySelectorAll(selector).forEach((element) => element.click())", selector)


def still(page):
    """Wait until everything is loaded and has its colour: Swagger UI fades in what it shows."""
    expect(page.locator(".loading-container")).to_have_count(0)
    page.evaluate("Promise.all(document.getAnimations().map(({ finished }) => finished.catch(() => null)))")


class Walk:
    """Opens one operation after the other, then all schemas, and measures the page at each."""

    def __init__(self, page, *, executes):
        self.page = page
        self.executes = executes
        self.layout = {name: {} for name in ("sticking", "cutSelects", "touchingCells", "holes")}
        self.overflow = set()
        self.low_contrast = {}
        self.resets = 0
        self.text = ""
        for operation in page.locator(".opblock").all():
            self.try_out(operation)
        click_all(page, "section.models .model-box-control[aria-expanded=false]")
        self.note_contrast()

    def try_out(self, operation):
        name = operation.get_attribute("id")
        operation.locator(".opblock-summary-control").click()
        operation.locator(".responses-table").first.wait_for()
        self.note_contrast()
        operation.locator(".try-out__btn").click()
        for editor in operation.locator("textarea.body-param__text").all():
            editor.fill(editor.input_value() + " ")
        if self.executes:
            operation.locator(".execute").click()
            operation.locator(".live-responses-table .response").wait_for()
        self.resets += operation.locator(".reset").count()
        self.note_contrast()
        for measured, found in self.layout.items():
            found[name] = measure(self.page, measured)
        self.overflow.add(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))
        click_all(self.page, ".tablinks[data-name=model]")
        self.note_contrast()
        self.text += operation.inner_text()
        operation.locator(".opblock-summary-control").click()
        operation.locator(".responses-table").first.wait_for(state="detached")

    def note_contrast(self):
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            expect_scheme(self.page, scheme)
            still(self.page)
            self.low_contrast |= {f"{scheme}: {key}": text for key, text in measure(self.page, "lowContrast").items()}


@pytest.fixture(scope="session", params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def walk(request, chromium, server):
    """What was measured in the service's Swagger UI."""
    page = chromium.new_page(**request.param)
    page.goto(f"{server}/api/ui/")
    page.locator(".opblock").first.wait_for()
    yield Walk(page, executes=True)
    page.close()


@pytest.fixture
def gallery(visit, server):
    """Opens Swagger UI with a contract that has what the service's contract has not."""

    def open_gallery(**options):
        swagger = visit(server, **options)
        swagger.page.route("**/openapi.json", lambda route: route.fulfill(body=orjson.dumps(GALLERY)))
        swagger.visit()
        return swagger

    return open_gallery


@pytest.mark.parametrize(
    ("size", "operations"),
    [(DESKTOP, 8), (PHONE, 5), ({**PHONE, "viewport": {"width": 375, "height": 667}}, 3)],
    ids=["desktop", "phone", "small phone"],
)
def test_the_first_screen_shows_operations(visit, server, size, operations):
    swagger = visit(server, **size)

    assert measure(swagger.page, "onFirstScreen") >= operations
    expect(swagger.page.locator(".scheme-container")).to_be_hidden()  # there is only one server
    expect(swagger.page.get_by_role("button", name="Dark mode")).to_be_in_viewport()


def test_nothing_is_wider_than_the_screen(walk):
    assert walk.overflow == {0}


def test_every_button_field_and_text_is_inside_its_operation(walk):
    assert walk.resets > 0
    assert without_empty(walk.layout["sticking"]) == {}


def test_every_select_shows_its_options_in_full(walk):
    assert without_empty(walk.layout["cutSelects"]) == {}


def test_no_text_touches_the_text_beside_it(walk):
    assert without_empty(walk.layout["touchingCells"]) == {}


def test_no_response_has_a_hole(walk):
    tallest = {name: max(heights.values()) for name, heights in walk.layout["holes"].items()}

    assert len(tallest) == 12
    assert {name: height for name, height in tallest.items() if height > 150} == {}


def test_every_text_has_contrast_in_light_and_dark(walk):
    assert walk.low_contrast == {}


def test_schemas_show_their_members_in_full(walk):
    assert "maxLength: 80" in walk.text
    assert "[...]" not in walk.text


def without_empty(found):
    return {name: value for name, value in found.items() if value}


@SIZES
def test_another_contract_is_shown_as_well(gallery, size):
    page = gallery(**size).page
    walk = Walk(page, executes=False)

    assert walk.overflow == {0}
    assert without_empty(walk.layout["sticking"]) == {}
    assert without_empty(walk.layout["touchingCells"]) == {}
    assert walk.low_contrast == {}


@SCHEMES
def test_the_dialog_for_authorization_has_contrast(gallery, scheme):
    page = gallery(color_scheme=scheme, **DESKTOP).page
    page.get_by_role("button", name="Authorize").click()
    still(page)

    assert measure(page, "lowContrast") == {}


@SCHEMES
def test_a_contract_that_cannot_be_read_is_reported_with_contrast(visit, server, scheme):
    swagger = visit(server, color_scheme=scheme, **DESKTOP)
    swagger.page.route("**/openapi.json", lambda route: route.fulfill(body='{"openapi": "9.0.0"}'))
    swagger.page.reload()
    swagger.page.get_by_text("Unable to render this definition").wait_for()

    assert measure(swagger.page, "lowContrast") == {}


def test_the_box_of_servers_is_shown_where_there_is_a_choice(gallery):
    swagger = gallery(**DESKTOP)

    expect(swagger.page.locator(".servers select")).to_be_visible()
    expect(swagger.page.get_by_role("button", name="Authorize")).to_be_visible()


@pytest.mark.parametrize("name", ["list_users", "list_posts"])
def test_execute_sends_only_the_defaults_of_the_contract(swagger, name):
    sent = dict(parse_qsl(urlsplit(swagger.execute(name).url).query))
    limit = CONTRACT["components"]["parameters"]["limit"]

    assert sent == {"limit": str(limit["schema"]["default"])}


def expect_scheme(page, scheme):
    color = {"light": "rgb(255, 255, 255)", "dark": "rgb(28, 32, 34)"}[scheme]
    expect(page.locator("html")).to_have_css("background-color", color)


@SCHEMES
def test_the_page_is_as_dark_as_the_system_until_the_reader_chooses(visit, server, scheme):
    other = {"light": "dark", "dark": "light"}[scheme]
    page = visit(server, color_scheme=scheme, **DESKTOP).page

    expect_scheme(page, scheme)
    page.emulate_media(color_scheme=other)
    expect_scheme(page, other)
    page.emulate_media(color_scheme=scheme)
    expect_scheme(page, scheme)

    page.get_by_role("button", name=f"{other.title()} mode").click()
    expect_scheme(page, other)
    page.reload()
    page.locator(".opblock").first.wait_for()
    expect_scheme(page, other)

    page.get_by_role("button", name=f"{scheme.title()} mode").click()
    expect_scheme(page, scheme)
    page.emulate_media(color_scheme=other)
    expect_scheme(page, other)  # the choice was the system's: the page follows the system again
    page.reload()
    page.locator(".opblock").first.wait_for()
    expect_scheme(page, other)


def test_a_choice_holds_in_the_other_pages_of_the_browser(visit, server):
    page = visit(server, color_scheme="light", **DESKTOP).page
    other = page.context.new_page()
    other.goto(page.url)
    other.locator(".opblock").first.wait_for()
    page.get_by_role("button", name="Dark mode").click()

    expect(other.get_by_role("button", name="Light mode")).to_be_visible()
    expect_scheme(other, "dark")


def test_the_switch_works_where_the_browser_keeps_nothing(visit, server):
    swagger = visit(server, color_scheme="light", **DESKTOP)
    denied = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('', 'SecurityError'); } })"
    swagger.page.add_init_script(denied)
    swagger.visit()
    swagger.page.get_by_role("button", name="Dark mode").click()

    expect_scheme(swagger.page, "dark")


@SCHEMES
def test_the_title_is_shown_before_the_script_arrives(visit, server, scheme):
    swagger = visit(server, color_scheme=scheme, **DESKTOP)
    held = []
    swagger.page.route("**/swagger-ui-bundle.*", lambda route: held.append(route))  # noqa: PLW0108  # not a builtin
    swagger.page.reload(wait_until="commit")

    expect(swagger.page.get_by_role("heading", name=CONTRACT["info"]["title"])).to_be_visible()
    assert measure(swagger.page, "lowContrast") == {}
    expect_scheme(swagger.page, scheme)
    held[0].continue_()
    swagger.page.locator(".opblock").first.wait_for()


def test_without_javascript_the_page_links_the_contract(chromium, server):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{server}/api/ui/")
    page.get_by_role("link", name="../openapi.json").click()

    assert page.url == f"{server}/api/openapi.json"
    context.close()


def test_little_is_transferred_and_on_the_next_visit_almost_nothing(visit, server):
    page = visit(server, **DESKTOP).page
    session = page.context.new_cdp_session(page)
    sizes = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    session.send("Network.enable")
    session.send("Network.clearBrowserCache")

    transferred = []
    for _ in range(2):
        sizes.clear()
        page.goto(f"{server}/api/ui/", wait_until="networkidle")
        page.locator(".opblock").first.wait_for()
        transferred.append(sum(sizes))

    assert 100_000 < transferred[0] < FIRST_VISIT
    assert transferred[1] < NEXT_VISIT
