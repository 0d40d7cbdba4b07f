"""The desk in a real Chromium, with a real Kafka behind it."""

import html
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from tests.conftest import Trained
from tests.desk.alerts import NEWS, new_alert
from tests.desk.processes import DeskProcess, desk_settings, publish
from tests.desk.test_web import HOSTILE
from tests.kafka.processes import wait_for
from tests.missing import skip_or_fail
from worker.demo.local_kafka import LocalKafka
from worker.kafka.follow import read
from worker.messages.alert import Model
from worker.messages.label import decode_label
from worker.settings import Settings

CHROMIUM = shutil.which("chromium")
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        skip_or_fail("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Setup:
    """A desk of its own, and alerts that are published to it.

    Attributes:
        errors: what the browser's console has complained of.
    """

    def __init__(self, settings: Settings, folder: Path, browser: Browser) -> None:
        self.settings, self.folder, self.browser = settings, folder, browser
        self.desk = DeskProcess(settings, folder / "desk.log")
        self.desk.wait_until_ready()
        self.errors: list[str] = []
        self._contexts: list[Any] = []

    def page(self, path: str = "/", **options: Any) -> Page:
        context = self.browser.new_context(**options)
        context.set_default_timeout(60_000)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("dialog", lambda dialog: self.errors.append(f"dialog: {dialog.message}"))
        page.goto(self.desk.url + path)
        return page

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def publish(self, *texts: str, **values: Any) -> None:
        now = datetime.now(UTC)
        publish(self.settings, [new_alert(t, **{"at": now} | values) for t in texts])

    def publish_all(self) -> None:
        start = datetime.now(UTC) - timedelta(minutes=len(NEWS))
        alerts = [
            new_alert(text, at=start + timedelta(minutes=n), probability=0.6 + n / 20)
            for n, text in enumerate(NEWS)
        ]
        publish(self.settings, alerts)

    def labels(self) -> list[tuple[str, str, str]]:
        """Return text, label and person of each label in the topic."""
        said = [
            decode_label(r.value or b"") for r in read(self.settings, self.settings.labels_topic)
        ]
        return [(label.text, label.label, label.by) for label in sorted(said, key=lambda s: s.at)]

    def restart(self) -> None:
        """Kill the desk, and start it anew at the same address."""
        port = int(self.desk.url.rsplit(":", 1)[1])
        self.desk.kill()
        settings = msgspec.structs.replace(self.settings, desk_port=port)
        self.desk = DeskProcess(settings, self.folder / "desk.log")

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        self.desk.kill()


@pytest.fixture
def setup(
    kafka: LocalKafka, tmp_path: Path, browser: Browser, request: pytest.FixtureRequest
) -> Iterator[Setup]:
    name = re.sub(r"[^a-z]+", "-", request.node.name)[:60]
    setup = Setup(desk_settings(kafka, name, tmp_path), tmp_path, browser)
    yield setup
    setup.close()
    assert setup.errors == []


def rows(page: Page) -> Any:
    return page.locator(".incident")


def test_alerts_appear_grow_and_are_labelled_by_key(setup: Setup) -> None:
    page = setup.page()
    expect(page.get_by_role("heading", name="No alerts yet")).to_be_visible()
    setup.publish(NEWS[0])
    expect(rows(page)).to_have_count(1)
    page.keyboard.press("j")  # the focus stays where it is while the list changes
    expect(page.get_by_role("link", name=NEWS[0])).to_be_focused()
    setup.publish(f"RT @a: {NEWS[0]}", NEWS[1])
    expect(rows(page)).to_have_count(2)
    expect(rows(page).filter(has_text=NEWS[0]).locator(".size")).to_have_text(
        re.compile("2.*alerts")
    )
    expect(page.get_by_role("link", name=NEWS[0])).to_be_focused()

    page.goto(f"{setup.desk.url}/label")
    first = page.locator("#tweet").inner_text()
    page.keyboard.press("r")
    expect(page.locator(".said")).to_contain_text("relevant")
    second = page.locator("#tweet").inner_text()
    assert {first, second} == {NEWS[0], NEWS[1]}
    page.keyboard.press("n")
    expect(page.locator(".said")).to_contain_text("not relevant")
    expect(page.locator("#tweet")).to_contain_text("RT @a")  # the rest of a labelled incident
    page.keyboard.press("s")
    expect(page.get_by_role("heading", name="Nothing to label")).to_be_visible()
    page.keyboard.press("u")  # the skipped one comes back
    expect(page.locator("#tweet")).to_contain_text("RT @a")
    page.keyboard.press("u")
    expect(page.locator("#tweet")).to_have_text(second)
    assert [label for _, label, _ in setup.labels()] == [
        "relevant",
        "not-relevant",
        "skip",
        "withdrawn",
        "withdrawn",
    ]
    page.goto(f"{setup.desk.url}/labels")
    expect(page.get_by_role("row").filter(has_text="LSTM 1")).to_contain_text("100")


@pytest.mark.slow
def test_two_people_label_different_tweets_and_see_each_other_s(setup: Setup) -> None:
    setup.publish_all()
    pages = []
    for name in ("Mei", "Jon"):
        page = setup.page("/sign-in?next=/label")
        page.get_by_label("Name").fill(name)
        page.get_by_role("button", name="Continue").click()
        expect(page.locator("#tweet")).to_be_visible()
        pages.append(page)
    texts = [page.locator("#tweet").inner_text() for page in pages]
    assert texts[0] != texts[1]
    for page in pages:
        page.keyboard.press("r")
        expect(page.locator(".said")).to_be_visible()
    assert set(setup.labels()) == {(texts[0], "relevant", "Mei"), (texts[1], "relevant", "Jon")}
    pages[0].goto(f"{setup.desk.url}/labels")
    expect(pages[0].locator("ol.labels li")).to_have_count(2)
    expect(pages[0].locator("ol.labels")).to_contain_text("Jon")


@pytest.mark.slow
def test_filters_search_and_pages_by_keyboard(setup: Setup) -> None:
    setup.publish_all()
    page = setup.page()
    expect(rows(page)).to_have_count(len(NEWS))
    page.keyboard.press("/")
    expect(page.get_by_label("Search")).to_be_focused()
    page.keyboard.type("flood")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"\?q=flood"))
    expect(rows(page)).to_have_count(1)
    page.goto(f"{setup.desk.url}/")
    expect(rows(page)).to_have_count(len(NEWS))
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Probability from").fill("0.7")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"probability=0\.7"))
    expect(rows(page)).to_have_count(3)
    page.reload()  # the address has it all
    expect(rows(page)).to_have_count(3)
    page.keyboard.press("j")
    expect(page.get_by_role("link", name=NEWS[-1])).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(NEWS[-1])


@pytest.mark.slow
def test_hostile_texts_are_shown_and_do_nothing(setup: Setup) -> None:
    alerts = [new_alert(text, author=text[:200], at=datetime.now(UTC)) for text in HOSTILE]
    publish(setup.settings, alerts)
    page = setup.page()
    pages = [f"{setup.desk.url}/incidents/{alert.alert_id}" for alert in alerts]
    wait_for(lambda: all(page.request.get(url).ok for url in pages))
    for alert, url in zip(alerts, pages, strict=True):
        page.goto(url)
        shown = html.unescape(re.sub(r"[\u202a-\u202e\u2066-\u2069]", "", alert.tweet.text))
        expect(page.locator("main")).to_contain_text(shown)
    page.set_viewport_size({"width": 400, "height": 800})
    for url in (*(setup.desk.url + path for path in ("/", "/label", "/labels")), *pages):
        answer = page.goto(url)
        assert answer is not None
        assert answer.ok
        for summary in page.locator(".long summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.slow
def test_it_goes_on_by_itself_after_the_desk_was_killed(setup: Setup) -> None:
    setup.publish(NEWS[0])
    page = setup.page()
    expect(rows(page)).to_have_count(1)
    queue = setup.page("/label")
    setup.desk.kill()
    expect(page.locator("#state")).to_have_text("Connection lost, trying again")
    queue.keyboard.press("r")
    expect(queue.locator("#problem")).to_contain_text("Not saved")
    setup.restart()
    setup.publish(NEWS[1])
    expect(rows(page)).to_have_count(2)
    expect(page.locator("#state")).to_have_text("Live")
    queue.keyboard.press("r")
    expect(queue.locator(".said")).to_be_visible()
    wait_for(lambda: (NEWS[0], "relevant") in [said[:2] for said in setup.labels()])
    assert all("ERR_" in e or "Failed to load" in e for e in setup.errors)
    setup.errors.clear()


@pytest.mark.slow
def test_it_says_so_while_kafka_is_away_and_goes_on_after(
    own_kafka: LocalKafka, tmp_path: Path, browser: Browser
) -> None:
    setup = Setup(desk_settings(own_kafka, "away", tmp_path), tmp_path, browser)
    try:
        setup.publish(NEWS[0])
        page = setup.page()
        expect(rows(page)).to_have_count(1)
        queue = setup.page("/label")
        own_kafka.kill_broker(1)
        expect(page.locator("#trouble")).to_be_visible(timeout=60_000)
        assert setup.desk.status("/readyz") == 503
        assert setup.desk.status("/healthz") == 200
        queue.keyboard.press("r")
        expect(queue.locator("#problem")).to_contain_text("Not saved", timeout=60_000)
        own_kafka.start_broker(1)
        own_kafka.wait_for_broker(1)
        expect(page.locator("#trouble")).to_be_hidden(timeout=60_000)
        setup.publish(NEWS[1])
        expect(rows(page)).to_have_count(2)
        queue.keyboard.press("r")
        expect(queue.locator(".said")).to_be_visible(timeout=60_000)
        assert all("503" in error for error in setup.errors)
    finally:
        setup.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_behind_a_score_follow_the_page(
    trained: Trained, kafka: LocalKafka, tmp_path: Path, browser: Browser, scheme: str
) -> None:
    settings = desk_settings(kafka, f"words-{scheme}", tmp_path)
    settings = msgspec.structs.replace(settings, registry=trained.registry.url)
    setup = Setup(settings, tmp_path, browser)
    try:
        version = trained.registry.resolve("production")
        model = Model(version.manifest.name, version.number, version.digest)
        unknown = Model("LSTM", 9, "9" * 64)
        setup.publish(NEWS[0], model=model)
        setup.publish(NEWS[1], model=unknown)
        page = setup.page(color_scheme=scheme)
        expect(rows(page)).to_have_count(2)
        held: list[Route] = []
        hold = True

        def is_held() -> bool:
            page.evaluate("0")  # Playwright hands requests over only while it is asked something
            return bool(held)

        page.route("**/words/*", lambda route: held.append(route) if hold else route.continue_())
        page.get_by_role("link", name=NEWS[0]).click()
        words = page.locator("#words")
        expect(words).to_have_attribute("aria-busy", "true")
        expect(words).to_contain_text("without each word")
        found = {"waiting": violations(page)}
        wait_for(is_held)
        held.pop().abort()  # as when the desk is restarted
        expect(words).to_contain_text("tries again by itself")
        wait_for(is_held)
        hold = False
        held.pop().continue_()
        expect(words.locator("li").first).to_contain_text("without it")
        assert words.get_attribute("aria-busy") is None
        found["words"] = violations(page)

        page.goto(f"{setup.desk.url}/")
        page.get_by_role("link", name=NEWS[1]).click()
        expect(words).to_contain_text("The model is not available")
        found["unavailable"] = violations(page)
        assert {name: text for name, text in found.items() if text} == {}

        plain = setup.page(java_script_enabled=False)
        plain.get_by_role("link", name=NEWS[0]).click()
        expect(plain.locator("#words li").first).to_contain_text("without it")
        assert all("ERR_FAILED" in error for error in setup.errors)
    finally:
        setup.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_mend(setup: Setup, scheme: str) -> None:
    empty = setup.page("/", color_scheme=scheme)
    found = {"empty": violations(empty)}
    setup.publish_all()
    page = setup.page("/label", color_scheme=scheme)
    page.reload()
    page.keyboard.press("r")
    expect(page.locator(".said")).to_be_visible()
    found["card"] = violations(page)
    for name, path in (
        ("list", "/?probability=0.1&size=bad"),
        ("nothing", "/?q=nothing"),
        ("precision", "/labels"),
        ("name", "/sign-in"),
    ):
        page.goto(setup.desk.url + path)
        found[name] = violations(page)
    page.goto(setup.desk.url)
    page.locator(".incident a").first.click()
    expect(page.locator(".tweet")).to_have_count(1)
    found["incident"] = violations(page)
    page.set_viewport_size({"width": 400, "height": 800})
    found["phone"] = violations(page)
    assert {name: text for name, text in found.items() if text} == {}


def violations(page: Page) -> str:
    results = Axe().run(page)
    return str(results.generate_report()) if results.violations_count else ""
