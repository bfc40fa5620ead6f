"""`muster serve`: answer over HTTP with what a channel points at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from passmuster.cli.options import ChannelNamed
from passmuster.cli.session import session_of

if TYPE_CHECKING:
    from passmuster.stages.serve.server import Serving


def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on; 0 takes a free one.")] = None,
    channel: ChannelNamed = "live",
) -> None:
    """Serve the live release over HTTP, keep every answer, and follow the channel when it moves."""
    import logging
    import sys

    from passmuster.core.codec import to_plain
    from passmuster.stages.serve.server import serve as run
    from passmuster.store.approvals import approval_lines

    session = session_of(context)
    store = session.store()
    if session.dry_run:
        from passmuster.stages.serve.fleet import pointed_at

        with store.read() as db:
            release = pointed_at(db, channel).release
        session.done({"would": f"serve {channel}"}, [f"would serve {release} ({channel})"], "muster serve")
        return
    level = logging.ERROR if session.quiet else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("muster").setLevel(level)

    def tell(serving: Serving) -> None:
        with store.read() as db:
            approvals = approval_lines(db, store.config.policy.approval_days)
        lines = [f"serving {serving.release} ({serving.channel}) on {serving.url}", *approvals]
        session.done({**to_plain(serving), "approvals": approvals}, lines, "muster watch")
        sys.stdout.flush()  # whoever started this process may be waiting for the address

    run(store, host=host, port=port, channel=channel, on_ready=tell)
