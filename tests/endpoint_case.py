"""A real HTTP server on this machine that answers as models behind addresses do, well and badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from train_case import TOPICS


def topic_of(text: str) -> str:
    """The topic with the most words in a text, as a model would say it."""
    return max(TOPICS, key=lambda name: sum(word in TOPICS[name].split() for word in text.split()))


@dataclass
class Served:
    """A server: its address, and every request it had (path, headers, body)."""

    url: str
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)


def chat(body: Any, said: Callable[[str], str] = topic_of) -> Any:
    """An answer in the form of OpenAI's chat."""
    text = body["messages"][-1]["content"]
    content = said(text)
    usage = {"prompt_tokens": 100, "completion_tokens": 2}
    return {"choices": [{"message": {"role": "assistant", "content": content}}], "usage": usage}


@contextmanager
def serve(answer: Callable[[Any], Any], *, wait_s: float = 0.0, port: int = 0) -> Iterator[Served]:
    """Serve `answer`: of a request's body the JSON, or (status, JSON), or bytes as they are."""
    served = Served("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            served.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            time.sleep(wait_s)
            found = answer(body)
            status, found = found if isinstance(found, tuple) else (200, found)
            data = found if isinstance(found, bytes) else json.dumps(found).encode()
            try:
                self.send_response(status)  # headers and body leave together: see wbufsize
                self.send_header("content-length", str(len(data)))
                if 300 <= status < 400:
                    self.send_header("location", "/elsewhere")
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):  # whoever asked gave up
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
