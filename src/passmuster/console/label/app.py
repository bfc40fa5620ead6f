"""The endpoints of the label page. All that is said is about one place: a tab of the browser, by a name of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from passmuster.console.label.contents import describe
from passmuster.console.label.door import HEADERS, Door, answering, field, keys_of, told
from passmuster.core.errors import NotFoundError
from passmuster.flows.label_facts import Turn
from passmuster.flows.label_session import LabelSession
from passmuster.flows.labelling import Suggestion

PRELOADED = 12  # items that a page holds; at a second each, longer than any fetch
RECENT = 30  # turns that a page lists
GRID = 24
MAX_GRID = 100
PAGE_FILES = {"": ("label.html", "text/html"), "label.css": ("label.css", "text/css"),
              "label.js": ("label.js", "text/javascript")}  # fmt: skip


def build_app(session: LabelSession, token: str, port: int) -> Door:
    """The ASGI application behind its door."""
    page = Page(session)
    posts = {
        "next": page.next,
        "state": page.state,
        "answer": page.answer,
        "skip": page.skip,
        "undo": page.undo,
        "more": page.more,
        "grid": page.grid,
        "leave": page.leave,
        "bye": page.bye,
    }
    routes = [Route(f"/{name}", answering(handler), methods=["POST"]) for name, handler in posts.items()]
    routes += [Route(f"/{name}", page_file(*found)) for name, found in PAGE_FILES.items()]
    return Door(Starlette(routes=routes, exception_handlers={HTTPException: no_such_address}), token, port)


class Page:
    """Handlers: a JSON object in, one out. What touches the disk runs in a thread."""

    def __init__(self, session: LabelSession) -> None:
        self.session = session

    async def next(self, body: Mapping[str, Any]) -> Any:
        """Items to show. `held` are those that the page has; `recent` asks for what was done here, too."""
        place, held = field(body, "place", str), keys_of(body, "held")
        return await asyncio.to_thread(self._next, place, held, field(body, "recent", bool, False))

    def _next(self, place: str, held: Sequence[str], recent: bool) -> dict[str, Any]:
        shown = self.session.take(PRELOADED, place)
        answer = {"items": self._described([s for s in shown if s.key not in held]), **self._state(place, held)}
        return {**answer, "recent": self._recent(place)} if recent else answer

    async def state(self, body: Mapping[str, Any]) -> Any:
        """How far it is; also the sign of life that the page asks for."""
        return await asyncio.to_thread(self._state, field(body, "place", str), keys_of(body, "held"))

    async def answer(self, body: Mapping[str, Any]) -> Any:
        """Record a label; `new` makes its classes. What is answered is on disk."""
        place, keys, label = field(body, "place", str), keys_of(body), field(body, "label", str)
        held, new = keys_of(body, "held"), field(body, "new", bool, False)

        def work() -> dict[str, Any]:
            name = self.session.add_classes(label) if new else label
            said = self.session.answer(keys, name, place) if keys else None
            others = {who: other for by in (said.others.values() if said else ()) for who, other in by.items()}
            return {"label": name, "others": others, **self._state(place, held)}

        return await asyncio.to_thread(work)

    async def skip(self, body: Mapping[str, Any]) -> Any:
        """Leave an item aside."""
        place, key, held = field(body, "place", str), field(body, "key", str), keys_of(body, "held")

        def work() -> dict[str, Any]:
            self.session.skip(key, place)
            return self._state(place, held)

        return await asyncio.to_thread(work)

    async def undo(self, body: Mapping[str, Any]) -> Any:
        """Take back what was done last at this place; its items come back."""
        place = field(body, "place", str)

        def work() -> dict[str, Any]:
            turn = self.session.undo(place)
            items = self._described([self.session.guessed(s) for s in turn.items])
            return {"items": items, "label": turn.label, **self._state(place, [])}

        return await asyncio.to_thread(work)

    async def more(self, body: Mapping[str, Any]) -> Any:
        """Ask for more labels than were wanted at first."""
        place, n = field(body, "place", str), field(body, "n", int)
        self.session.more(max(1, min(n, 10_000)))
        return await asyncio.to_thread(self._state, place, [])

    async def grid(self, body: Mapping[str, Any]) -> Any:
        """Pictures that the model takes for one class."""
        place, label = field(body, "place", str), field(body, "label", str)
        n = max(1, min(field(body, "n", int, GRID), MAX_GRID))

        def work() -> dict[str, Any]:
            found, n_free = self.session.grid(label, n, place)
            return {"items": self._described(found, thumbnail=True), "n_free": n_free, **self._state(place, [])}

        return await asyncio.to_thread(work)

    async def leave(self, body: Mapping[str, Any]) -> Any:
        """Pictures of a grid that were neither confirmed nor marked are free for others."""
        place, keys = field(body, "place", str), keys_of(body)
        self.session.leave_grid(keys)
        return await asyncio.to_thread(self._state, place, [])

    async def bye(self, body: Mapping[str, Any]) -> Any:
        """The page was closed: what it holds is asked elsewhere."""
        await asyncio.to_thread(self.session.release, field(body, "place", str))
        return {}

    def _described(self, suggestions: Sequence[Suggestion], *, thumbnail: bool = False) -> list[dict[str, Any]]:
        items = self.session.items([s.key for s in suggestions])
        self.session.drop([s.key for s in suggestions if s.key not in items])
        return [
            describe(self.session.store, s, items[s.key], thumbnail=thumbnail) for s in suggestions if s.key in items
        ]

    def _state(self, place: str, held: Sequence[str]) -> dict[str, Any]:
        session = self.session
        session.hear(place)
        turns = session.turns(place)
        guesses = {
            key: [guess.label, round(guess.confidence, 4)] for key in held if (guess := session.guesses.get(key))
        }
        return {
            "project": session.store.config.project.name,
            "modality": session.store.config.project.modality,
            "task": session.task,
            "n_labels": session.n_labels(),
            "who": session.who,
            "n": session.n,
            "n_done": session.n_done,
            "classes": session.classes,
            "counts": session.counts(),
            "has_model": session.has_model,
            "guessed": session.guessed_counts() if session.store.config.project.modality == "image" else {},
            "guesses": guesses,
            "gone": session.gone(held, place),
            "choosing": session.choosing,
            "n_elsewhere": session.n_elsewhere(place),
            "problem": str(session.problem) if session.problem else "",
            "can_undo": bool(turns),
        }

    def _recent(self, place: str) -> list[dict[str, Any]]:
        turns: list[Turn] = self.session.turns(place)[-RECENT:]
        return [
            {"label": turn.label, "items": self._described(turn.items[:1], thumbnail=True), "n": len(turn.items)}
            for turn in turns
        ]


def page_file(name: str, kind: str) -> Any:
    """An endpoint that gives one of the page's files."""
    content = files("passmuster.console.label").joinpath("page", name).read_text(encoding="utf-8")

    async def endpoint(request: Request) -> Response:
        return Response(content, headers=HEADERS, media_type=kind)

    return endpoint


async def no_such_address(request: Request, error: Exception) -> Response:
    """404 and 405 in the form of every other error."""
    assert isinstance(error, HTTPException)
    answer = told(NotFoundError("http.path", "there is no such address", value=f"{request.method} {request.url.path}"))
    answer.status_code = error.status_code
    return answer
