"""The desk's pages over HTTP: what they show, whom they refuse, what they never do."""

import asyncio
import csv
import html
import io
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from shared.errors import UnavailableError, UsageError
from shared.model.occlusion import Word
from shared.secret import Secret
from tests.conftest import ROOT
from tests.deploy.dashboard import queries
from tests.desk.alerts import NEWS, NOON, added, new_alert, new_label, reviewed
from tests.kafka.processes import wait_for
from worker.desk.access import Access, RateLimit
from worker.desk.index import IncidentIndex
from worker.desk.labelling import Labelling
from worker.desk.metrics import Metrics
from worker.desk.store import Store
from worker.desk.view import local_path, page_of_alert, words_of_alert
from worker.desk.web import Desk
from worker.desk.words import Explainer
from worker.kafka.records import Message
from worker.messages.alert import Alert, Model, decode_alert
from worker.messages.label import decode_label
from worker.settings import Settings

TOKEN = "a token that is long enough"
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }} {% raw %}",
    "\u202egnp.exe\u202c \u2066x fire",
    "javascript:alert(1) http://x\"onmouseover='a()' fire",
    "A" * 25_000,
    "&lt;script&gt;alert(2)&lt;/script&gt; fire",
    '=HYPERLINK("http://evil";"fire")',
)


class Feed:
    """Stands for the thread that reads Kafka."""

    failed: str | None = None
    waiting: str | None = None

    def not_ready(self) -> str | None:
        return self.failed or self.waiting


class Published(Labelling):
    """Labels that are kept in a list in place of a topic."""

    def __init__(self, settings: Settings, store: Store) -> None:
        super().__init__(settings, store)
        self.sent: list[Message] = []
        self.away = False

    def _publish(self, message: Message) -> list[tuple[int, int]]:
        if self.away:
            raise UnavailableError("Kafka is away")
        self.sent.append(message)
        return [(0, len(self.sent))]


class Setup:
    """A desk with a store, without Kafka."""

    def __init__(self, folder: Path, explainer: Explainer | None = None, **values: Any) -> None:
        self.settings = Settings(**values)
        self.store = Store(folder / "desk.sqlite3")
        self.feed = Feed()
        self.labelling = Published(self.settings, self.store)
        self.metrics = Metrics()
        self.explainer = explainer or Explainer(f"file:{folder / 'registry'}", folder, self.metrics)
        desk = Desk(
            self.settings,
            self.store,
            self.feed,  # type: ignore[arg-type]
            self.labelling,
            self.explainer,
            self.metrics,
        )
        self.desk, self.app = desk, desk.app

    def client(self, **options: Any) -> TestClient:
        given: dict[str, Any] = {"base_url": "http://127.0.0.1:8484", "follow_redirects": False}
        return TestClient(self.app, **given | options)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Setup]]:
    made = []

    def make(**values: Any) -> Setup:
        made.append(Setup(tmp_path, **values))
        return made[-1]

    yield make
    for each in made:
        each.explainer.close()
        each.store.close()


@pytest.fixture
def setup(make: Callable[..., Setup]) -> Setup:
    return make()


def csrf_of(page: str) -> str:
    (token,) = re.findall(r'<meta name="csrf" content="([^"]+)">', page)
    return str(token)


def label(client: TestClient, alert_id: str, verdict: str = "relevant", **form: str) -> Any:
    given = {"csrf": csrf_of(client.get("/label").text), "alert_id": alert_id, "label": verdict}
    return client.post("/label", data=given | form)


def test_every_answer_keeps_the_browser_from_loading_or_running_anything_foreign(
    setup: Setup,
) -> None:
    setup.store.add(added(*(new_alert(text) for text in NEWS)))
    client = setup.client()
    for path in ("/", "/label", "/labels", "/list", "/sign-in", "/nowhere", "/static/desk.js"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        if "html" in answer.headers["content-type"]:
            assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=", answer.text)
            assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text)


@pytest.mark.parametrize("text", HOSTILE)
def test_an_alert_is_shown_as_text_whatever_it_says(setup: Setup, text: str) -> None:
    alert = new_alert(text, author=text[:500], probability=0.9)
    setup.store.add(added(alert), labels=[(0, 0, new_label(alert, "relevant", "<b>mei"))])
    client = setup.client()
    for path in ("/", f"/incidents/{alert.alert_id}", "/label", "/labels"):
        page = client.get(path).text
        assert "<script>alert" not in page
        assert "<img src" not in page
        assert "<b>mei" not in page
        assert not re.search(r"<[^>]*\sonmouseover=", page)
        assert 'href="javascript:' not in page
        assert not set("\u202e\u2066") & set(page)
        assert len(page) < 200_000


def test_a_filter_that_makes_no_sense_is_named_and_left_out(setup: Setup) -> None:
    setup.store.add(added(new_alert(NEWS[0])))
    page = setup.client().get("/?since=<b>x&probability=7&size=0&after=a-b-c&sort=odd").text
    assert page.count("is left out: expected") == 3
    assert "&lt;b&gt;x" in page
    assert NEWS[0] in page


class CountingIndex(IncidentIndex):
    """Counts how often it is asked."""

    asked = 0

    def find(self, *arguments: Any) -> list[tuple[int, int]]:
        self.asked += 1
        return super().find(*arguments)


def test_a_list_is_made_again_once_pages_were_told_of_a_change(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.desk.web._KEPT", 60.0)
    with setup.client() as client:
        assert NEWS[0] not in client.get("/list").text
        setup.store.add(added(new_alert(NEWS[0])))
        before = setup.desk.live.version
        setup.desk.live.notify()
        wait_for(lambda: setup.desk.live.version > before)
        assert NEWS[0] in client.get("/list").text


def test_a_list_is_made_once_for_all_who_ask_at_the_same_time(setup: Setup) -> None:
    setup.store.index = index = CountingIndex()
    setup.store.add(added(new_alert(NEWS[0])))
    transport = httpx2.ASGITransport(app=setup.app)

    async def ask() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8484"
        ) as client:
            paths = ["/list", "/?sort=largest"] * 10
            return await asyncio.gather(*(client.get(path) for path in paths))

    answers = asyncio.run(ask())
    assert all(NEWS[0] in answer.text for answer in answers)
    assert index.asked == 2


def test_a_search_whose_newest_matches_do_not_fit_leads_to_older_ones(setup: Setup) -> None:
    rare = new_alert("flood: the dam of Karo has burst", lang="id")
    setup.store.add(added(rare))
    many = (new_alert("flood again", at=NOON + timedelta(hours=8)) for _ in range(2000))
    setup.store.add(added(*many))
    client = setup.client()
    page = client.get("/?q=flood&lang=id").text
    assert "None of the newest 2,000 alerts" in page
    (path,) = re.findall(r'rel="next" href="([^"]+)"', page)
    assert "the dam of Karo" in client.get(html.unescape(path)).text


def test_an_alert_s_address_leads_to_its_incident(setup: Setup) -> None:
    alert = new_alert(NEWS[0], alert_id="tweets.raw-0-5:1764500000000/2")
    setup.store.add(added(alert))
    client = setup.client()
    (path,) = re.findall(r'href="(/incidents/[^"]+)"', client.get("/").text)
    answer = client.get(path)
    assert answer.status_code == 200
    assert NEWS[0] in answer.text
    assert client.get("/incidents/none").status_code == 404


class Asked(Explainer):
    """Answers nothing by itself. It notes what is asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Future[list[Word] | str | None]] = {}

    def explain(self, alert: Alert) -> Future[list[Word] | str | None]:
        return self.answers.setdefault(alert.tweet.text, Future())

    def close(self) -> None:
        """Do nothing."""


def test_no_page_waits_for_the_words_behind_a_score(make: Callable[..., Setup]) -> None:
    explainer = Asked()
    setup = make(explainer=explainer)
    alert = new_alert(NEWS[0])
    setup.store.add(added(alert))
    client = setup.client()
    for path in ("/", "/label", "/labels"):
        assert client.get(path).status_code == 200
    assert not explainer.answers
    page = client.get(page_of_alert(alert.alert_id)).text
    assert list(explainer.answers) == [NEWS[0]]
    assert not explainer.answers[NEWS[0]].done()
    assert 'aria-busy="true"' in page
    assert f'data-source="{words_of_alert(alert.alert_id)}"' in page
    assert re.search(r"<noscript>.*<a href=\"/incidents/[^>]+>Reload this page", page)


def test_words_that_are_known_come_with_the_page(make: Callable[..., Setup]) -> None:
    explainer = Asked()
    setup = make(explainer=explainer)
    alert = new_alert(NEWS[0])
    setup.store.add(added(alert))
    words = [Word("<b>earthquake</b>", 4, 2.5, 0.125)]
    explainer.explain(alert).set_result(words)
    client = setup.client()
    page = client.get(page_of_alert(alert.alert_id)).text
    part = client.get(words_of_alert(alert.alert_id)).text
    assert "&lt;b&gt;earthquake&lt;/b&gt;" in part
    assert "0.12 without it" in part
    assert part in page
    assert "aria-busy" not in page
    assert "<html" not in part


def test_a_page_asks_again_for_words_that_are_not_known_yet(setup: Setup) -> None:
    alert, missed = new_alert(NEWS[0]), new_alert(NEWS[1])
    setup.store.add(added(alert), reviews=reviewed(missed))
    client = setup.client()
    for each in (alert, missed):
        answer = client.get(words_of_alert(each.alert_id))
        assert answer.status_code == 200
        assert "The model is not available: registry file:" in answer.text
    setup.explainer.close()
    later = new_alert(NEWS[2], model=Model("LSTM", 2, "2" * 64))
    setup.store.add(added(later))
    assert client.get(words_of_alert(later.alert_id)).status_code == 202
    gone = client.get(words_of_alert("none"))
    assert (gone.status_code, gone.text) == (404, "The tweet no longer exists.")


def test_a_label_is_published_by_the_tweet_s_source_and_the_next_tweet_comes(setup: Setup) -> None:
    alerts = [new_alert(text, at=NOON + timedelta(seconds=n)) for n, text in enumerate(NEWS[:2])]
    setup.store.add(added(*alerts))
    client = setup.client()
    assert NEWS[1] in client.get("/label").text
    answer = label(client, alerts[1].alert_id)
    assert NEWS[0] in answer.text
    (message,) = setup.labelling.sent
    assert message.topic == "tweets.labels"
    source = alerts[1].source
    assert message.key == f"{source.topic}-{source.partition}-{source.offset}".encode()
    said = decode_label(message.value or b"")
    assert (said.label, said.text, said.model) == ("relevant", NEWS[1], alerts[1].model)

    csrf = csrf_of(answer.text)
    undone = client.post("/undo", data={"csrf": csrf})
    assert NEWS[1] in undone.text
    assert decode_label(setup.labelling.sent[1].value or b"").label == "withdrawn"
    assert client.post("/undo", data={"csrf": csrf}).status_code == 200  # nothing to undo
    assert len(setup.labelling.sent) == 2


def test_a_label_that_kafka_does_not_take_is_not_shown_as_given(setup: Setup) -> None:
    alert = new_alert(NEWS[0])
    setup.store.add(added(alert))
    client = setup.client()
    setup.labelling.away = True
    answer = label(client, alert.alert_id)
    assert answer.status_code == 503
    assert "Not saved" in answer.text
    setup.labelling.away = False
    assert NEWS[0] in client.get("/label").text
    assert label(client, alert.alert_id).status_code == 200


@pytest.mark.parametrize(
    ("form", "headers", "status"),
    [
        ({"csrf": "wrong"}, {}, 403),
        ({"csrf": ""}, {}, 403),
        ({}, {"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, {"Sec-Fetch-Site": "same-site"}, 403),
        ({"label": "maybe"}, {}, 400),
        ({"label": "withdrawn"}, {}, 400),
        ({"alert_id": "tweets.raw-9-9"}, {}, 404),
        ({"text": "x" * 20_000}, {}, 413),
        ({}, {}, 200),
    ],
)
def test_changes_come_from_our_own_pages(
    setup: Setup, form: dict[str, str], headers: dict[str, str], status: int
) -> None:
    alert = new_alert(NEWS[0])
    setup.store.add(added(alert))
    client = setup.client()
    given = {
        "csrf": csrf_of(client.get("/label").text),
        "alert_id": alert.alert_id,
        "label": "relevant",
    }
    assert client.post("/label", data=given | form, headers=headers).status_code == status
    assert bool(setup.labelling.sent) == (status == 200)


@pytest.mark.parametrize(
    "path",
    ["//evil.org", "/\\evil.org", "https://evil.org", "evil", "", "/a\r\nb", "/%0a\x00", "/\\/x"],
)
def test_no_redirect_leads_elsewhere(path: str) -> None:
    assert local_path(path) is None


def test_a_redirect_leads_back(setup: Setup) -> None:
    alert = new_alert(NEWS[0])
    setup.store.add(added(alert))
    client = setup.client()
    back = f"/incidents/{alert.alert_id}?after=1-2"
    assert label(client, alert.alert_id, back=back).headers["location"] == back
    assert label(client, alert.alert_id, back="//evil.org").status_code == 200


@pytest.mark.parametrize(
    "values",
    [
        {"desk_address": "0.0.0.0"},  # noqa: S104
        {"desk_address": "::"},
        {"desk_address": "desk.example.org"},
    ],
)
def test_no_address_is_open_to_other_machines_without_a_sign_in(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="set TRIAGE_DESK_TOKEN_FILE"):
        Access(Settings(**values))
    Access(Settings(**values, desk_token=Secret(TOKEN)))


def test_a_foreign_name_for_this_machine_is_refused(setup: Setup) -> None:
    for host in ("evil.org", "127.0.0.1.evil.org", "evil.org:8484"):
        assert setup.client(base_url=f"http://{host}").get("/").status_code == 421
        assert setup.client(base_url=f"http://{host}").get("/sign-in").status_code == 421
    for host in ("localhost:8484", "127.0.0.1", "[::1]:8484"):
        assert setup.client(base_url=f"http://{host}").get("/").status_code == 200


def test_with_a_token_nothing_is_shown_before_the_sign_in(make: Callable[..., Setup]) -> None:
    setup = make(desk_token=Secret(TOKEN), desk_address="0.0.0.0")  # noqa: S104
    setup.store.add(added(new_alert(NEWS[0])))
    client = setup.client(base_url="http://desk.example.org")
    for path in ("/", "/label", "/labels", "/incidents/x"):
        answer = client.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in?next=")
    for path in ("/list", "/events", "/words/x", "/export.csv", "/export.jsonl"):
        answer = client.get(path)
        assert answer.status_code == 401
        assert NEWS[0] not in answer.text
    csrf = csrf_of(client.get("/sign-in").text)
    assert client.post("/label", data={"csrf": csrf}).status_code == 401

    form = {"csrf": csrf, "name": "Mei", "token": TOKEN + "x"}
    assert client.post("/sign-in", data=form).status_code == 401
    answer = client.post("/sign-in?next=/labels", data=form | {"token": TOKEN})
    assert answer.headers["location"] == "/labels"
    assert "httponly" in answer.headers["set-cookie"].lower()
    page = client.get("/").text
    assert "<bdi>Mei</bdi>" in page
    assert NEWS[0] in page
    client.post("/sign-out", data={"csrf": csrf_of(page)})
    assert client.get("/").status_code == 303

    program = setup.client(base_url="http://desk.example.org")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert NEWS[0] in program.get("/export.jsonl", headers=headers).text
    assert program.get("/export.jsonl", headers={"Authorization": "Bearer x"}).status_code == 401


def test_attempts_to_sign_in_are_limited(make: Callable[..., Setup]) -> None:
    setup = make(desk_token=Secret(TOKEN))
    client = setup.client()
    csrf = csrf_of(client.get("/sign-in").text)
    form = {"csrf": csrf, "name": "Mei", "token": "wrong"}
    answers = [client.post("/sign-in", data=form).status_code for _ in range(12)]
    assert answers == [401] * 10 + [429] * 2
    assert client.post("/sign-in", data=form | {"token": TOKEN}).status_code == 429


def test_only_a_trusted_proxy_names_the_user(make: Callable[..., Setup]) -> None:
    setup = make(
        desk_address="0.0.0.0",  # noqa: S104
        desk_user_header="X-Forwarded-User",
        desk_trusted_proxies="10.1.0.0/16,192.168.0.7",
    )
    named = {"X-Forwarded-User": "Mei <b>"}
    for peer, status in (("10.1.2.3", 200), ("192.168.0.7", 200), ("10.2.0.1", 303)):
        client = setup.client(client=(peer, 1))
        answer = client.get("/", headers=named)
        assert answer.status_code == status
        assert ("Mei &lt;b&gt;" in answer.text) == (status == 200)
        assert client.get("/").status_code == 303


def test_a_whole_team_signs_in_from_one_address(setup: Setup) -> None:
    for number in range(30):
        client = setup.client(client=("10.0.0.1", 1))
        form = {"csrf": csrf_of(client.get("/sign-in").text), "name": f"analyst {number}"}
        assert client.post("/sign-in", data=form).status_code == 303


def test_requests_are_limited_by_client(setup: Setup) -> None:
    client = setup.client(client=("10.0.0.1", 1))
    answers: set[int] = set()
    for _ in range(2000):  # a slow machine may send more than the limit before it is refused
        answers.add(client.get("/list").status_code)
        if 429 in answers:
            break
    assert answers == {200, 429}
    assert setup.client(client=("10.0.0.2", 1)).get("/list").status_code == 200


def test_a_limit_comes_back_with_time_and_remembers_few_clients() -> None:
    now = [0.0]
    limit = RateLimit(2, clients=2, clock=lambda: now[0])
    assert [limit.allow("a") for _ in range(3)] == [True, True, False]
    now[0] = 30
    assert [limit.allow("a") for _ in range(2)] == [True, False]
    for client in ("b", "c"):
        assert limit.allow(client)
    assert len(limit._left) == 2


def test_export_has_what_is_filtered(setup: Setup) -> None:
    alerts = [
        new_alert(text, author="=1+1", probability=0.5 + n / 10) for n, text in enumerate(NEWS)
    ]
    setup.store.add(added(*alerts), labels=[(0, 0, new_label(alerts[4], "relevant"))])
    client = setup.client()
    lines = client.get("/export.jsonl?probability=0.75").text.splitlines()
    assert {decode_alert(line.encode()).alert_id for line in lines} == {
        a.alert_id for a in alerts[3:]
    }
    assert json.loads(lines[0])["probability"] == 0.9
    answer = client.get("/export.csv?q=glasgow")
    assert answer.headers["content-disposition"] == 'attachment; filename="alerts.csv"'
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["text"], row["label"], row["labelled_by"]) == (NEWS[4], "relevant", "mei")
    assert row["author"] == "'=1+1"  # no formula
    assert client.get("/export.csv?q=nothing").text.count("\n") == 1
    assert client.get("/export.csv?size=x").status_code == 400


def test_pages_for_machines(setup: Setup) -> None:
    client = setup.client()
    assert [client.get(p).status_code for p in ("/healthz", "/readyz")] == [200, 200]
    setup.feed.waiting = "kafka: away"
    assert [client.get(p).status_code for p in ("/healthz", "/readyz")] == [200, 503]
    assert "kafka: away" in client.get("/").text
    setup.feed.failed = "a fault"
    assert client.get("/healthz").status_code == 503
    client.get("/label")
    text = client.get("/metrics").text
    assert "triage_desk_ready 0.0" in text
    assert 'triage_desk_request_seconds_count{page="queue"} 1.0' in text


def test_tweets_that_are_no_alerts_are_labelled_too(setup: Setup) -> None:
    missed = new_alert("<i>maybe a flood</i>", probability=0.2)
    setup.store.add(reviews=reviewed(missed, reason="new-words"))
    client = setup.client()
    page = client.get("/label").text
    assert "words new to the model" in page
    assert "no alert: below 0.50" in page
    assert "Its incident" not in page
    assert label(client, missed.alert_id).status_code == 200
    (message,) = setup.labelling.sent
    given = decode_label(message.value or b"")
    assert (given.queue, given.text, given.source) == (
        *("new-words", missed.tweet.text, missed.source),
    )
    assert "maybe a flood" in client.get("/labels").text
    assert page_of_alert(missed.alert_id) not in client.get("/labels").text
    assert "Nothing to label" in client.get("/label").text


def test_precision_and_recall_of_the_stream_are_shown_and_measured(setup: Setup) -> None:
    now = datetime.now(UTC)
    alerts = [
        new_alert(f"{NEWS[n % 5]} {n}", at=now, probability=0.9 if n < 20 else 0.1)
        for n in range(60)
    ]
    client = setup.client()
    assert 'triage_desk_live_precision{bound="high"} NaN' in client.get("/metrics").text
    setup.store.add(reviews=reviewed(*alerts))
    labels = [
        (0, n, new_label(alert, "relevant" if n % 20 < 10 else "not-relevant"))
        for n, alert in enumerate(alerts)
    ]
    setup.store.add(labels=labels)
    page = client.get("/labels").text
    assert "The whole stream" in page
    assert re.search(
        r"<b>50\u202f%</b> <span[^>]*>30\u202f% to 70\u202f%", page
    )  # Wilson, 10 of 20
    assert re.search(r"<b>33\u202f%</b>", page)
    setup.desk._measured = 0.0
    text = client.get("/metrics").text
    assert 'triage_desk_live_precision{bound="estimate"} 0.5' in text
    assert 'triage_desk_live_recall{bound="estimate"} 0.33' in text


def test_the_metrics_of_rules_and_panels_are_there(setup: Setup) -> None:
    text = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
    text += "".join(queries("1m").values())
    used = set(re.findall(r"\btriage_desk_\w+", text))
    assert len(used) >= 5
    client = setup.client()
    client.get("/")
    exposed = set(re.findall(r"^triage_desk_\w+", client.get("/metrics").text, re.MULTILINE))
    assert used <= exposed


def test_an_empty_desk_says_what_to_do(setup: Setup) -> None:
    client = setup.client()
    assert "No alerts yet" in client.get("/").text
    assert "Nothing matches" in client.get("/?q=x").text
    assert "Nothing to label" in client.get("/label").text
    assert "No labels yet" in client.get("/labels").text
