"""Web: the desk's pages, one function each."""

import asyncio
import contextlib
import csv
import io
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prometheus_client import generate_latest
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from shared.bundle.quality import Figure
from shared.errors import DependencyError
from worker.desk import queries, view
from worker.desk.access import (
    Access,
    RateLimit,
    SecurityHeaders,
    clean_name,
    csrf_token,
    is_own_request,
    session_key,
)
from worker.desk.estimate import WINDOW_DAYS, estimates
from worker.desk.feed import Feed
from worker.desk.labelling import Labelling, is_verdict
from worker.desk.live import MOST_VIEWERS, Live
from worker.desk.metrics import Metrics
from worker.desk.store import Store
from worker.desk.words import Explainer
from worker.messages.alert import decode_alert
from worker.settings import Settings

log = logging.getLogger("triage")

_FOLDER = Path(__file__).parent
_MOST_EXPORTED = 100_000
_KEPT = 1.0
"""Seconds that a list is cached for identical requests."""
_MOST_KEPT = 256
_READERS = 4
"""Threads that read the store for pages; more would only wait for each other."""
_PATIENCE = 10.0
"""Seconds after which a page asks again for the words that drove a score."""
_PARTS = ("/list", "/events", "/words/", "/export")
"""What pages load by themselves: errors are plain text, and nothing leads to the sign-in."""
_MEASURE_SECONDS = 15
"""Seconds for which the metrics of precision and recall are kept."""
_LONGEST_FORM = 16 << 10
_SESSION = 14 * 24 * 3600
_COLUMNS = (
    "incident", "alert_id", "scored_at", "created_at", "probability", "threshold", "model",
    "author", "text", "lang", "place", "latitude", "longitude", "link", "label", "labelled_by",
)  # fmt: skip

Handler = Callable[[Request], Awaitable[Response]]
Read = TypeVar("Read")


class _Lists(msgspec.Struct, frozen=True):
    """A list as it is shown, and what its filters can be set to."""

    text: str
    models: list[str]
    langs: list[str]


class Desk:
    """The web application and its parts.

    Args:
        feed: reads the topics into the store; its state is shown.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        feed: Feed,
        labelling: Labelling,
        explainer: Explainer,
        metrics: Metrics,
    ) -> None:
        self._settings, self._store, self._feed = settings, store, feed
        self._labelling, self.explainer, self._metrics = labelling, explainer, metrics
        self._access = Access(settings)
        self._lists: dict[str, tuple[float, int, asyncio.Task[_Lists]]] = {}
        self._readers = ThreadPoolExecutor(_READERS, "reader")
        self._reads, self._writes = RateLimit(240), RateLimit(120)
        self._logins = RateLimit(10)
        self._measured = 0.0
        self.live = Live(self._status)
        metrics.viewers.set_function(lambda: self.live.viewers)
        metrics.ready.set_function(lambda: feed.not_ready() is None)
        templates = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        templates.filters |= view.FILTERS
        templates.globals["page_of_alert"] = view.page_of_alert
        templates.globals["words_of_alert"] = view.words_of_alert
        self._templates = templates
        https = (settings.desk_url or "").startswith("https:")
        self.app = Starlette(
            routes=[
                Route("/", self._page(self._incidents)),
                Route("/list", self._page(self._list)),
                Route("/incidents/{alert_id:path}", self._page(self._incident)),
                Route("/words/{alert_id:path}", self._page(self._words)),
                Route("/label", self._page(self._queue)),
                Route("/label", self._change(self._label), methods=["POST"]),
                Route("/undo", self._change(self._undo), methods=["POST"]),
                Route("/labels", self._page(self._labels)),
                Route("/export.csv", self._page(self._export)),
                Route("/export.jsonl", self._page(self._export)),
                Route("/events", self._page(self._events)),
                Route("/sign-in", self._sign_in, methods=["GET", "POST"]),
                Route("/sign-out", self._change(self._sign_out), methods=["POST"]),
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._prometheus),
                Mount("/static", StaticFiles(directory=_FOLDER / "static")),
            ],
            middleware=[
                Middleware(SecurityHeaders),
                Middleware(
                    SessionMiddleware,
                    secret_key=session_key(store.path.parent, settings),
                    session_cookie="triage-desk",
                    max_age=_SESSION,
                    same_site="lax",
                    https_only=https,
                ),
            ],
            exception_handlers={HTTPException: self._http_error, Exception: self._fault},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(self.live.run())
        try:
            yield
        finally:
            task.cancel()
            self._readers.shutdown(cancel_futures=True)

    async def _read(self, read: Callable[..., Read], *arguments: Any) -> Read:
        """Call what reads the store in one of the threads for this."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, read, *arguments)

    # What every page and every change goes through

    def _page(self, answer: Handler) -> Handler:
        async def checked(request: Request) -> Response:
            self._check(request, self._reads)
            if self._access.user(request) is None:
                self._refused("login")
                if request.url.path.startswith(_PARTS):
                    raise HTTPException(401, "Sign in first.")
                return RedirectResponse(f"/sign-in?{urlencode({'next': _path(request)})}", 303)
            started = time.perf_counter()
            try:
                return await answer(request)
            finally:
                page = answer.__name__.removeprefix("_")
                self._metrics.request_seconds.labels(page).observe(time.perf_counter() - started)

        return checked

    def _change(self, answer: Handler) -> Handler:
        async def checked(request: Request) -> Response:
            self._check(request, self._writes)
            if self._access.user(request) is None:
                self._refused("login")
                raise HTTPException(401, "Sign in first.")
            await self._check_form(request)
            return await answer(request)

        return checked

    def _check(self, request: Request, limit: RateLimit) -> None:
        if not self._access.is_expected_host(request):
            self._refused("host")
            raise HTTPException(
                421, "This desk serves only its own machine: open it as http://127.0.0.1 …"
            )
        client = request.client.host if request.client else ""
        if not limit.allow(f"{client} {self._access.user(request)}"):
            self._refused("rate")
            raise HTTPException(429, "Too many requests. Wait a moment, then try again.")

    async def _check_form(self, request: Request) -> None:
        length = request.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > _LONGEST_FORM:
            raise HTTPException(413, "The form is too long.")
        form = await request.form(max_files=0, max_fields=20)
        given = request.headers.get("x-csrf-token") or str(form.get("csrf", ""))
        if not is_own_request(request, given):
            self._refused("csrf")
            raise HTTPException(403, "This page is too old. Go back, reload it, and try again.")

    def _refused(self, reason: str) -> None:
        self._metrics.refused.labels(reason).inc()

    def _user(self, request: Request) -> str:
        user = self._access.user(request)
        assert user is not None  # noqa: S101  # _page and _change have asked
        return user

    def _render(
        self, request: Request, template: str, status: int = 200, **values: Any
    ) -> Response:
        text = self._templates.get_template(template).render(
            csrf=csrf_token(request),
            user=self._access.user(request),
            can_sign_out="name" in request.session,
            path=request.url.path,
            here=_path(request),
            trouble=self._feed.not_ready(),
            **values,
        )
        return HTMLResponse(text, status)

    # Incidents

    async def _incidents(self, request: Request) -> Response:
        wanted, problems = view.read_filter(request.query_params)
        after = request.query_params.get("after")
        listed = await self._list_of(request)
        return self._render(
            request,
            "incidents.html",
            body=listed.text,
            query=view.query_of(request.query_params),
            given=request.query_params,
            wanted=wanted,
            problems=problems,
            first=after is None,
            models=listed.models,
            langs=listed.langs,
        )

    async def _list(self, request: Request) -> Response:
        return HTMLResponse((await self._list_of(request)).text)

    async def _list_of(self, request: Request) -> _Lists:
        """Return the list's part of the page, made once for all who ask for it within a second.

        After a change it is made again: a page that was told of it would not ask another time.
        """
        key = urlencode(sorted(request.query_params.items()))
        now, version = time.monotonic(), self.live.version
        kept = self._lists.get(key)
        if kept is None or now - kept[0] >= _KEPT or kept[1] != version:
            if len(self._lists) >= _MOST_KEPT:
                self._lists.clear()
            making = asyncio.create_task(self._read(self._make_list, request.query_params))
            kept = self._lists[key] = (now, version, making)
        return await asyncio.shield(kept[2])

    def _make_list(self, parameters: Any) -> _Lists:
        db = self._store.reader()
        wanted, _ = view.read_filter(parameters)
        after = parameters.get("after")
        page = queries.find_incidents(db, self._store.index, wanted, after)
        until = wanted.until or self._store.index.newest or int(time.time() * 1000)
        since = wanted.since or until - 24 * 3600 * 1000
        text = self._templates.get_template("list.html").render(
            page=page,
            line=view.draw(queries.time_line(db, since, until)),
            query=view.query_of(parameters),
            after=after,
            filtered=view.is_filtered(wanted),
            search=wanted.search,
            alerts=queries.alert_count(db),
            newest_first=wanted.sort == "newest",
        )
        return _Lists(text, queries.choices(db, "model"), queries.choices(db, "lang"))

    async def _incident(self, request: Request) -> Response:
        def find() -> dict[str, Any] | None:
            db = self._store.reader()
            incident = queries.find_incident(db, request.path_params["alert_id"])
            if incident is None:
                return None
            alerts, after = queries.find_alerts(
                db, incident["id"], request.query_params.get("after")
            )
            line = queries.time_line(db, incident["first"], incident["last"], incident["id"])
            return {
                "incident": incident,
                "clearest": queries.published_alert(db, incident["clearest"]),
                "alerts": alerts,
                "after": after,
                "line": view.draw(line),
            }

        found = await self._read(find)
        if found is None:
            raise HTTPException(
                404, "There is no such incident: Kafka has removed it, or the address is wrong."
            )
        clearest = decode_alert(found["clearest"])
        explained = self.explainer.explain(clearest)
        return self._render(
            request,
            "incident.html",
            **found
            | {"clearest": clearest, "why": explained.result() if explained.done() else None},
        )

    async def _words(self, request: Request) -> Response:
        """Answer with the words that drove a score, or with 202 if they are not known yet."""
        alert_id = request.path_params["alert_id"]
        found = await self._read(lambda: queries.find_tweet(self._store.reader(), alert_id))
        if found is None:
            raise HTTPException(404, "The tweet no longer exists.")
        alert = decode_alert(found["value"])
        explained = asyncio.wrap_future(self.explainer.explain(alert))
        why = None
        with contextlib.suppress(TimeoutError):
            why = await asyncio.wait_for(explained, _PATIENCE)
        if why is None:
            return Response(status_code=202)
        return self._render(request, "words.html", clearest=alert, why=why)

    # Labels

    async def _queue(self, request: Request) -> Response:
        return await self._next(request, said=None)

    async def _next(
        self, request: Request, said: str | None, chosen: tuple[str, ...] = ()
    ) -> Response:
        user = self._user(request)
        now = int(time.time() * 1000)
        alert = await run_in_threadpool(self._store.lease, user, now, chosen)
        template = "card.html" if "x-csrf-token" in request.headers else "label.html"
        return self._render(request, template, alert=alert, said=said)

    async def _label(self, request: Request) -> Response:
        form = await request.form()
        alert_id, verdict = str(form.get("alert_id", "")), str(form.get("label", ""))
        if not is_verdict(verdict):
            raise HTTPException(400, "Expected relevant, not-relevant or skip.")
        label = await self._publish(self._labelling.label, alert_id, verdict, self._user(request))
        if label is None:
            raise HTTPException(404, "The tweet no longer exists.")
        self._metrics.labelled.labels(verdict).inc()
        self.live.notify()
        if back := view.local_path(str(form.get("back", ""))):
            return RedirectResponse(back, 303)
        said = {"relevant": "relevant", "not-relevant": "not relevant", "skip": "skipped"}[verdict]
        return await self._next(request, said)

    async def _undo(self, request: Request) -> Response:
        label = await self._publish(self._labelling.undo, self._user(request))
        if label is None:
            return await self._next(request, "nothing to undo")
        self._metrics.labelled.labels("withdrawn").inc()
        self.live.notify()
        return await self._next(request, "undone", (label.alert_id,))

    async def _publish(self, publish: Callable[..., Any], *arguments: str) -> Any:
        try:
            async with asyncio.timeout(20):
                return await run_in_threadpool(publish, *arguments)
        except (DependencyError, TimeoutError) as error:
            log.warning("a label was not published: %s", error)
            raise HTTPException(
                503, "Not saved: Kafka cannot be reached. Nothing is lost; try again in a moment."
            ) from error

    async def _labels(self, request: Request) -> Response:
        def find() -> dict[str, Any]:
            db = self._store.reader()
            return {
                "totals": queries.totals(db, self._store.index),
                "by_model": queries.precision(db, "model"),
                "by_day": queries.precision(db, "day"),
                "sampled_by_model": estimates(db, "model"),
                "sampled_by_day": estimates(db, "day"),
                "labels": queries.newest_labels(db),
            }

        return self._render(request, "labels.html", **await self._read(find))

    def _measure_worth(self) -> None:
        """Set the metrics of precision and recall, or NaN if they are not known; every 15 s."""
        now = time.time()
        if now - self._measured < _MEASURE_SECONDS:
            return
        self._measured = now
        db = self._store.reader()
        model = queries.newest_model(db)
        since = int(1000 * (now - WINDOW_DAYS * 24 * 3600))
        found = estimates(db, "model", model, since) if model else []
        precision = found[0].precision if found else None
        recall = found[0].recall if found else None
        for gauge, figure in ((self._metrics.precision, precision), (self._metrics.recall, recall)):
            known = figure or Figure(math.nan, math.nan, math.nan)
            gauge.labels("estimate").set(known.value)
            gauge.labels("low").set(known.low)
            gauge.labels("high").set(known.high)

    # Export and live updates

    async def _export(self, request: Request) -> Response:
        wanted, problems = view.read_filter(request.query_params)
        if problems:
            raise HTTPException(400, " ".join(problems))

        def found() -> Iterator[Any]:
            with contextlib.closing(self._store.reader_of_its_own()) as db:
                yield from queries.export(db, self._store.index, wanted, _MOST_EXPORTED)

        rows = found()
        name = request.url.path.removeprefix("/")
        if name.endswith(".csv"):
            lines, kind = _as_csv(rows), "text/csv; charset=utf-8"
        else:
            lines, kind = (bytes(row["value"]) + b"\n" for row in rows), "application/x-ndjson"
        headers = {"Content-Disposition": f'attachment; filename="alerts{name[6:]}"'}
        return StreamingResponse(_chunks(lines), media_type=kind, headers=headers)

    async def _events(self, _: Request) -> Response:
        if self.live.viewers >= MOST_VIEWERS:
            self._refused("rate")
            raise HTTPException(503, "Too many pages are open.")
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(
            self.live.stream(), media_type="text/event-stream", headers=headers
        )

    def _status(self) -> dict[str, Any]:
        return {"trouble": self._feed.not_ready()}

    # Signing in

    async def _sign_in(self, request: Request) -> Response:
        if not self._access.is_expected_host(request):
            self._refused("host")
            raise HTTPException(421, "This desk serves only its own machine.")
        back = view.local_path(request.query_params.get("next", "")) or "/"
        problem = None
        if request.method == "POST":
            await self._check_form(request)
            form = await request.form()
            client = request.client.host if request.client else ""
            if not self._logins.allow(client):
                self._refused("rate")
                raise HTTPException(429, "Too many attempts. Wait a minute, then try again.")
            name = clean_name(str(form.get("name", "")))
            if not name:
                problem = "Enter your name: labels say who gave them."
            elif self._access.token is not None and not self._access.is_token(
                str(form.get("token", ""))
            ):
                self._refused("login")
                log.warning("somebody at %s tried to sign in with a wrong token", client)
                problem = "The token is wrong. Ask whoever runs the desk for it."
            else:
                # A whole team may sign in from one address. Only failures count.
                self._logins.give_back(client)
                request.session["name"] = name
                return RedirectResponse(back, 303)
        return self._render(
            request,
            "sign_in.html",
            401 if problem else 200,
            problem=problem,
            back=back,
            needs_token=self._access.token is not None,
        )

    async def _sign_out(self, request: Request) -> Response:
        request.session.clear()
        return RedirectResponse("/sign-in", 303)

    # For machines

    async def _healthz(self, _: Request) -> Response:
        return _verdict(self._feed.failed)

    async def _readyz(self, _: Request) -> Response:
        return _verdict(self._feed.not_ready())

    async def _prometheus(self, _: Request) -> Response:
        await run_in_threadpool(self._measure_worth)
        text = await run_in_threadpool(generate_latest, self._metrics.registry)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    # Errors

    async def _http_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  # it is registered for these
        if "x-csrf-token" in request.headers or request.url.path.startswith(_PARTS):
            return PlainTextResponse(error.detail, error.status_code)
        if "session" not in request.scope:
            return PlainTextResponse(error.detail, error.status_code)
        detail = {
            404: "There is no such page.",
            405: "This cannot be done with that address.",
        }.get(error.status_code, error.detail)
        if error.status_code == 404 and error.detail != "Not Found":
            detail = error.detail
        return self._render(request, "error.html", error.status_code, problem=detail)

    async def _fault(self, _: Request, error: Exception) -> Response:
        log.error("a page failed", exc_info=error)
        return PlainTextResponse("The desk has a fault: its log says which.", 500)


def _path(request: Request) -> str:
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def _verdict(reason: str | None) -> Response:
    return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200)


def _as_csv(rows: Iterator[Any]) -> Iterator[bytes]:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for row in rows:
        values = {
            "incident": row["incident_key"],
            "scored_at": view.iso(row["time"]),
            "created_at": view.iso(row["created"]),
        }
        writer.writerow(_inert(values[name] if name in values else row[name]) for name in _COLUMNS)
        yield out.getvalue().encode()
        out.seek(0)
        out.truncate()
    yield out.getvalue().encode()  # the head, if there were no rows


def _inert(value: Any) -> Any:
    """Keep a spreadsheet from reading a text as a formula."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value


async def _chunks(lines: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield lines in chunks. SQLite runs in threads, not in the event loop."""
    piece = bytearray()
    async for line in iterate_in_threadpool(lines):
        piece += line
        if len(piece) > 1 << 16:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
