"""The HTTP application: its endpoints in one table, from which routes and the OpenAPI description are made."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from passmuster import __version__
from passmuster.core.clock import now
from passmuster.core.codec import to_plain
from passmuster.core.errors import MusterError, NotFoundError, ResourceError, UsageError
from passmuster.core.label_sets import classes_in
from passmuster.core.records import FeedbackRecord, Payload
from passmuster.stages.serve import inference_protocol as oip
from passmuster.stages.serve import responses as sent
from passmuster.stages.serve.answering import Answered, Asked
from passmuster.stages.serve.batcher import Batcher
from passmuster.stages.serve.decoding import Decoder, Field
from passmuster.stages.serve.door import JSON, Door, Handler, error_response, json_response
from passmuster.stages.serve.fleet import Fleet, Lane
from passmuster.stages.serve.meters import CONTENT_TYPE, Meters
from passmuster.stages.serve.openapi import KEY_HEADER, describe
from passmuster.stages.serve.requests import (
    FeedbackRequest,
    PredictRequest,
    feedback_label,
    read_feedback,
    read_predict,
)
from passmuster.store.store import Store
from passmuster.store.traffic import TrafficWriter
from passmuster.store.traffic_reader import TrafficReader

# What is larger is read in a thread, so that one image does not hold up everybody.
SMALL_BODY_BYTES, SMALL_PIXELS = 32_768, 262_144
NEVER = threading.Event()
Method = Literal["GET", "POST"]


@dataclass(frozen=True)
class Endpoint:
    """One address. `works` marks those that answer about items: refused while not ready, full or draining.

    `answers` are the shapes that its answer may have; without one it is of the type `media`.
    """

    method: Method
    path: str
    handler: Handler
    summary: str
    answers: tuple[type, ...] = ()
    works: bool = False
    body: Any = None
    media: str = JSON


class Service:
    """Handlers, and what they share."""

    def __init__(
        self, store: Store, fleet: Fleet, batcher: Batcher, writer: TrafficWriter, door: Door, meters: Meters
    ) -> None:
        self.store, self.config, self.fleet, self.batcher = store, store.config, fleet, batcher
        self.writer, self.door, self.meters = writer, door, meters
        self.reader = TrafficReader(store.traffic_folder)
        self.trying = asyncio.Lock()
        self.decoder = Decoder(store.config.serve)
        self.model = store.config.project.name

    def endpoints(self) -> list[Endpoint]:
        """Every address of the server."""
        model, version, said = (
            "/v2/models/{model}",
            "/v2/models/{model}/versions/{version}",
            (sent.Answer, sent.Answers),
        )
        facts = FeedbackRequest | list[FeedbackRequest]
        is_ready = "A release is served, new work is taken, and records can be kept"
        return [
            Endpoint("POST", "/v1/predict", self.predict, "Answer one item or a list", said, True, PredictRequest),
            Endpoint("POST", "/v1/feedback", self.feedback, "Say what was true", (sent.Accepted,), True, facts),
            Endpoint("POST", "/invocations", self.predict, "The same as /v1/predict", said, True, PredictRequest),
            Endpoint("GET", "/ping", self.ready, "The same as /readyz", (sent.Ready,)),
            Endpoint("GET", "/livez", self.live, "The process runs", (sent.Live,)),
            Endpoint("GET", "/readyz", self.ready, is_ready, (sent.Ready,)),
            Endpoint("GET", "/healthz", self.health, "What is served, by channel", (sent.Health,)),
            Endpoint("GET", "/metrics", self.metrics, "Counters for Prometheus", media=CONTENT_TYPE),
            Endpoint("GET", "/openapi.json", self.openapi, "This description"),
            Endpoint("GET", "/v2", self.server_metadata, "Server metadata", (sent.ServerMetadata,)),
            Endpoint("GET", "/v2/health/live", self.oip_live, "The process runs", (sent.Live,)),
            Endpoint("GET", "/v2/health/ready", self.oip_ready, "New work is taken", (sent.Ready,)),
            Endpoint("GET", model, self.model_metadata, "Model metadata", (sent.ModelMetadata,)),
            Endpoint("GET", version, self.model_metadata, "Model metadata", (sent.ModelMetadata,)),
            Endpoint("GET", f"{model}/ready", self.model_ready, "The model answers", (sent.ModelReady,)),
            Endpoint("GET", f"{version}/ready", self.model_ready, "The model answers", (sent.ModelReady,)),
            Endpoint("POST", f"{model}/infer", self.infer, "Tensors in, tensors out", (sent.InferResponse,), True,
                     oip.InferRequest),
            Endpoint("POST", f"{version}/infer", self.infer, "Of one release", (sent.InferResponse,), True,
                     oip.InferRequest),
        ]  # fmt: skip

    async def predict(self, request: Request) -> Response:
        body = await self.door.body(request)
        asked = read_predict(body, request.headers.get(KEY_HEADER, ""), self.config.serve.max_items)
        modality, config = self.main.predictor.modality, self.config.data
        fields = [
            Field("item" if asked.single else f"items[{i}]", partial(modality.open_json, item, config))
            for i, item in enumerate(asked.items)
        ]
        payloads = await self.decoded(fields, len(body), request)
        answers = [a.as_dict() for a in await self.answers(payloads, asked.key, "", request)]
        return json_response(answers[0] if asked.single else {"predictions": answers})

    async def feedback(self, request: Request) -> Response:
        facts = read_feedback(await self.door.body(request), self.config.serve.max_items)
        unknown_labels, read_as = await asyncio.to_thread(self.keep_feedback, facts)
        self.meters.feedback.inc(len(facts))
        return json_response({"accepted": len(facts), "unknown_labels": unknown_labels, "read_as": read_as})

    def keep_feedback(self, facts: Sequence[FeedbackRequest]) -> tuple[list[str], dict[str, str]]:
        """Keep all of the facts, or none where an id is unknown; returns labels that are no class of what is served,
        and the class that another spelling was taken for."""
        found = self.reader.predictions([fact.id for fact in facts])
        if missing := next((fact.id for fact in facts if fact.id not in found), None):
            raise NotFoundError(
                "feedback.unknown_id",
                "there is no prediction of that id",
                value=missing[:80],
                next="send an id from an answer of /v1/predict",
            )
        at, task = now(), self.main.predictor.task
        classes = oip.classes_of(self.main.predictor)
        read = [feedback_label(fact, task, classes) for fact in facts]
        self.writer.append([FeedbackRecord(f.id, label, f.who, at) for f, (label, _) in zip(facts, read, strict=True)])
        said = {name for label, _ in read for name in classes_in(label, task)}
        return sorted(said - set(classes)), {name: known for _, meant in read for name, known in meant.items()}

    async def infer(self, request: Request) -> Response:
        lanes = self.find_model(request)
        body = await self.door.body(request)
        modality, header_key = self.main.predictor.modality, request.headers.get(KEY_HEADER, "")
        if "inference-header-content-length" in request.headers:
            raise UsageError("request.binary", "binary tensor data are not taken", next="send the tensor as JSON")
        asked, fields, key = await in_thread_if(
            len(body) > SMALL_BODY_BYTES,
            lambda: oip.read_infer(
                body, header_key, modality, self.config.data, self.config.serve.max_items, lanes[0].predictor.task
            ),
        )
        payloads = await self.decoded(fields, len(body), request)
        version = request.path_params.get("version", "")
        answers = await self.answers(payloads, key, version, request)
        classes = oip.classes_of(lanes[0].predictor)
        task = lanes[0].predictor.task
        return json_response(oip.infer_answer(asked, answers, self.model, lanes[0].release.id, classes, task))

    async def decoded(self, fields: Sequence[Field], n_bytes: int, request: Request) -> list[Payload]:
        """The payloads of a request whose body had `n_bytes`; what may take long is done in a thread while wanted."""
        opened = self.decoder.open(fields, NEVER) if n_bytes <= SMALL_BODY_BYTES else None
        if opened is not None and sum(pending.n_pixels for pending in opened) <= SMALL_PIXELS:
            return self.decoder.load(fields, opened, NEVER)

        def work(gone: threading.Event) -> list[Payload]:
            return self.decoder.load(fields, opened or self.decoder.open(fields, gone), gone)

        async with wanted(request) as gone:
            return await asyncio.to_thread(work, gone)

    async def answers(self, payloads: Sequence[Payload], key: str, release: str, request: Request) -> list[Answered]:
        """Answers to decoded items, once they are kept."""
        arrived = request.scope["muster.arrived"]
        return await self.batcher.submit([Asked(payload, key, release, arrived) for payload in payloads])

    @property
    def main(self) -> Lane:
        """The lane that answers."""
        main = self.fleet.lanes.main
        if main is None:
            raise ResourceError("serve.not_ready", "no release is being served", next="muster approve")
        return main

    def find_model(self, request: Request) -> list[Lane]:
        """The lanes a path speaks of: every one, or the one of that version."""
        model, version = request.path_params["model"], request.path_params.get("version", "")
        if model != self.model:
            raise NotFoundError(
                "model.none",
                "there is no such model",
                value=model,
                limit=self.model,
                next=f"ask /v2/models/{self.model}",
            )
        lanes = [lane for lane in self.fleet.lanes.all() if version in ("", lane.release.id)]
        if not lanes and version:
            loaded = ", ".join(lane.release.id for lane in self.fleet.lanes.all())
            raise NotFoundError(
                "model.version",
                "this release is not being served",
                value=version,
                limit=loaded,
                next="name one that is, or none",
            )
        return lanes or [self.main]

    async def model_metadata(self, request: Request) -> Response:
        lanes = self.find_model(request)
        versions = [lane.release.id for lane in lanes]
        return json_response(oip.describe_model(self.model, versions, lanes[0].predictor))

    async def model_ready(self, request: Request) -> Response:
        self.find_model(request)
        return self.told_ready(await self.is_ready(), name=self.model)

    async def server_metadata(self, request: Request) -> Response:
        return json_response({"name": "muster", "version": __version__, "extensions": []})

    async def oip_live(self, request: Request) -> Response:
        return json_response({"live": True})

    async def oip_ready(self, request: Request) -> Response:
        return self.told_ready(await self.is_ready())

    async def live(self, request: Request) -> Response:
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:
        return self.told_ready(await self.is_ready())

    async def is_ready(self) -> bool:
        """Whether new work would be answered. While the disk is full, each look tries it again, one at a time.

        Nothing else would: whoever balances load sends no request that could find out.
        """
        if not self.batcher.keeps and not self.trying.locked():
            async with self.trying:
                await asyncio.to_thread(self.batcher.try_to_keep)
        return self.door.ready and self.batcher.keeps

    def told_ready(self, ready: bool, **more: Any) -> Response:
        why = {} if self.batcher.keeps else {"why": "records cannot be kept: see the server's log"}
        return json_response({**more, "ready": ready, **why}, status=200 if ready else 503)

    async def health(self, request: Request) -> Response:
        channels = {
            lane.channel.name: {
                "release": lane.release.id,
                "bundle": lane.release.bundle,
                "mode": lane.channel.mode,
                "share": lane.channel.share,
                "generation": lane.channel.generation,
                **({} if lane.asker.failing is None else {"failing": to_plain(lane.asker.failing)}),
            }
            for lane in self.fleet.lanes.all()
        }
        content = {"draining": self.door.draining, "channels": channels, "version": __version__}
        return self.told_ready(await self.is_ready(), **content)

    async def metrics(self, request: Request) -> Response:
        return Response(self.meters.render(), media_type=CONTENT_TYPE)

    async def openapi(self, request: Request) -> Response:
        return json_response(describe(self.endpoints()))


def build_app(service: Service) -> Starlette:
    """The ASGI application."""
    routes = []
    for endpoint in service.endpoints():
        wrap = service.door.working if endpoint.works else service.door.looking
        routes.append(Route(endpoint.path, wrap(endpoint.path, endpoint.handler), methods=[endpoint.method]))
    return Starlette(routes=routes, exception_handlers={HTTPException: no_such_address})


async def no_such_address(request: Request, error: Exception) -> Response:
    """404 and 405 in the form of every other error."""
    assert isinstance(error, HTTPException)
    kind: type[MusterError] = NotFoundError if error.status_code == 404 else UsageError
    code = "http.path" if error.status_code == 404 else "http.method"
    value = f"{request.method} {request.url.path}"
    what = "there is no such address" if error.status_code == 404 else "this address takes another method"
    told = error_response(kind(code, what, value=value, next="see /openapi.json"), request.url.path)
    told.status_code = error.status_code
    for name, text in (error.headers or {}).items():
        told.headers[name] = text
    return told


@contextlib.asynccontextmanager
async def wanted(request: Request) -> AsyncIterator[threading.Event]:
    """An event for a thread to look at: it is set when the caller hangs up, and when this block is left in any way."""
    gone = threading.Event()

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.set()

    listening = asyncio.create_task(listen())
    try:
        yield gone
    finally:
        gone.set()
        listening.cancel()


async def in_thread_if(large: bool, work: Callable[[], Any]) -> Any:
    """`work()`, in a thread where it may take long."""
    return await asyncio.to_thread(work) if large else work()
