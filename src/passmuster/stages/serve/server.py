"""The server process: takes the port, loads what the channel points at, answers, follows, drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn

from passmuster.core.clock import now
from passmuster.core.errors import MusterError, ResourceError
from passmuster.stages.serve.app import Service, build_app
from passmuster.stages.serve.batcher import Batcher
from passmuster.stages.serve.door import Door
from passmuster.stages.serve.fleet import Fleet
from passmuster.stages.serve.meters import Meters
from passmuster.stages.serve.port import take_port
from passmuster.store.store import Store
from passmuster.store.traffic import TrafficWriter, expire_inputs

MAX_WORKERS = 64
EXPIRE_EVERY_S = 3_600.0

log = logging.getLogger("muster.serve")


@dataclass(frozen=True)
class Serving:
    """What is told once requests are taken."""

    url: str
    host: str
    port: int
    channel: str
    release: str
    bundle: str
    worker: str


def serve(
    store: Store,
    *,
    host: str | None = None,
    port: int | None = None,
    channel: str = "live",
    on_ready: Callable[[Serving], None] = lambda serving: None,
) -> None:
    """Serve a channel until SIGTERM or SIGINT; `on_ready` is called when requests are taken.

    On the signal readiness becomes 503, new work is refused, what is under way is answered, and the call returns. A
    second signal does not wait.

    Parameters
    ----------
    host, port : where to listen; the configuration's when None, any free port when 0

    Raises
    ------
    ResourceError
        ``port.in_use``, ``port.denied``.
    NotFoundError, IntegrityError
        As `Fleet.start`: nothing is served that is not whole.
    """
    host = store.config.serve.host if host is None else host
    taken = take_port(host, store.config.serve.port if port is None else port)
    meters = Meters()
    fleet = Fleet(store, meters, main=channel)
    try:
        fleet.start()
        with _writing(store) as writer, _expiring(store, meters):
            main = fleet.lanes.main
            assert main is not None, "start() loads it or raises"
            with store.act("serve.start") as act:
                act.payload.update(channel=channel, release=main.release.id, bundle=main.release.bundle)
            number = taken.getsockname()[1]
            url = f"http://{f'[{host}]' if ':' in host else host}:{number}"
            serving = Serving(url, host, number, channel, main.release.id, main.release.bundle, writer.worker)
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(_run(store, fleet, writer, meters, taken, host, lambda: on_ready(serving)))
    finally:
        fleet.stop()
        taken.close()


async def _run(
    store: Store,
    fleet: Fleet,
    writer: TrafficWriter,
    meters: Meters,
    taken: socket.socket,
    host: str,
    on_ready: Callable[[], None],
) -> None:
    config = store.config.serve
    door = Door(config, meters, lambda: fleet.lanes.main is not None, host)
    batcher = Batcher(fleet, writer, meters, config, store.keyed)
    batcher.start()
    app = build_app(Service(store, fleet, batcher, writer, door, meters))
    server = _Server(
        uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=None)
    )
    draining = asyncio.Event()

    def stop() -> None:
        if draining.is_set():  # asked twice
            server.force_exit = server.should_exit = True
        draining.set()

    _on_signals(stop)

    async def drain() -> None:
        await draining.wait()
        door.draining = True
        log.info("draining: %d requests under way", door.n_inside)
        await door.idle.wait()
        server.should_exit = True

    waiting = asyncio.create_task(drain())
    announcing = asyncio.create_task(_announce(server, on_ready))
    try:
        await server.serve(sockets=[taken])
    finally:
        announcing.cancel()
        waiting.cancel()
        await asyncio.to_thread(batcher.stop)
    if announcing.done() and not announcing.cancelled() and (problem := announcing.exception()):
        raise problem


async def _announce(server: _Server, on_ready: Callable[[], None]) -> None:
    while not server.started:
        await asyncio.sleep(0.005)
    on_ready()


class _Server(uvicorn.Server):
    """uvicorn, but signals drain first, and do not end the process a second time."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _on_signals(stop: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if threading.current_thread() is not threading.main_thread():
            return  # a server in a thread is stopped by its owner
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@contextlib.contextmanager
def _writing(store: Store) -> Iterator[TrafficWriter]:
    """The first worker name that no other server of this project holds."""
    for number in range(MAX_WORKERS):
        try:
            writer = TrafficWriter(store.traffic_folder, f"w{number:02d}")
        except ResourceError as error:
            if error.code != "traffic.worker_taken":
                raise
            continue
        try:
            yield writer
        finally:
            writer.close()
        return
    raise ResourceError("traffic.workers", "too many servers write traffic of this project", limit=MAX_WORKERS)


@contextlib.contextmanager
def _expiring(store: Store, meters: Meters) -> Iterator[None]:
    """Erase inputs whose retention has passed, now and every hour."""
    stop = threading.Event()

    def run() -> None:
        while True:
            try:
                n = expire_inputs(
                    store.traffic_folder, keep_days=store.config.policy.traffic.keep_inputs_days, now=now()
                )
                if n:
                    meters.expired.inc(n)
                    with store.act("traffic.expire") as act:
                        act.payload["n_inputs"] = n
            except MusterError as error:
                log.error("inputs past their retention could not be erased: %s", error)
            if stop.wait(EXPIRE_EVERY_S):
                return

    thread = threading.Thread(target=run, name="muster-expire", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
