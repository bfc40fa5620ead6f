"""A real headless Chromium, driven over its own debugging pipe: no driver, no package, no port."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
WAIT_S = 60.0
A4 = (8.27, 11.69)  # inches
PAPER = 717  # pixels of CSS between the margins of 0.4 inches that a browser leaves on A4
KEYS = {  # name -> (key, code, Windows key code, text)
    "Enter": ("Enter", "Enter", 13, "\r"),
    "Backspace": ("Backspace", "Backspace", 8, ""),
    "Escape": ("Escape", "Escape", 27, ""),
    "Tab": ("Tab", "Tab", 9, ""),
    "ArrowDown": ("ArrowDown", "ArrowDown", 40, ""),
    "ArrowUp": ("ArrowUp", "ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", "ArrowRight", 39, ""),
    "ArrowLeft": ("ArrowLeft", "ArrowLeft", 37, ""),
    "Space": (" ", "Space", 32, " "),
}


@dataclass(frozen=True)
class Pdf:
    """What a printed document's outline says: how many pages, and each heading with the page that it is on, from 1."""

    n_pages: int
    headings: tuple[tuple[str, int], ...]


def read_pdf(data: bytes) -> Pdf:
    """Pages and outline, which Chromium writes uncompressed; the text itself is in fonts of its own, and not read."""
    assert data.startswith(b"%PDF-")
    pages = [int(number) for number in re.findall(rb"(\d+) 0 obj\n<</Type /Page\n", data)]  # written in their order
    found = re.findall(rb"/Title (\((?:[^()\\]|\\.)*\)|<[0-9A-Fa-f]+>)\n/Dest \[(\d+) 0 R", data, flags=re.DOTALL)
    return Pdf(len(pages), tuple((pdf_text(title), 1 + pages.index(int(page))) for title, page in found))


def pdf_text(title: bytes) -> str:
    """A string of a PDF: in hex with a byte-order mark, or in brackets."""
    if title.startswith(b"<"):
        return bytes.fromhex(title[1:-1].decode()).decode("utf-16")
    plain = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), title[1:-1])
    plain = re.sub(rb"\\(.)", rb"\1", plain)
    return plain.decode("utf-16") if plain.startswith(b"\xfe\xff") else plain.decode("latin-1")


class Browser:
    """One page. `complaints` collects what its console and its security policy had to say."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive, self._buffer, self._last, self._session = send, receive, b"", 0, ""
        self.complaints: list[str] = []
        self.dialogs: list[str] = []  # kinds of those that opened; each was accepted
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.size(1280, 900)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol and its result."""
        asked = self._write(method, parameters)
        end = time.monotonic() + WAIT_S
        while True:
            answer = self._read(end)
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(answer["params"]))
            if answer.get("method") == "Page.javascriptDialogOpening":
                self.dialogs.append(answer["params"]["type"])
                self._write("Page.handleJavaScriptDialog", {"accept": True})
            if answer.get("id") == asked:
                assert "error" not in answer, answer
                return answer["result"]

    def _write(self, method: str, parameters: dict[str, Any]) -> int:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        return self._last

    def _read(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._receive], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._receive, 1 << 20)
            assert part, "the browser ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, once its promise is kept."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, condition: str, within_s: float = WAIT_S) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + within_s
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"{condition} did not come true; the page says: {self.text('body')[:1500]}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """What a person reads in the first element that fits; "" where none does or it is hidden."""
        return str(self.run(f"(document.querySelector({json.dumps(selector)})?.innerText ?? '').trim()"))

    def press(self, *keys: str, modifiers: int = 0) -> None:
        """Press keys one after the other: names as in `KEYS`, or single characters."""
        for name in keys:
            key, code, number, text = KEYS.get(name, (name, "", ord(name.upper()[0]), name))
            facts = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
            self.call(
                "Input.dispatchKeyEvent", type="keyDown", **facts, **({"text": text} if text and not modifiers else {})
            )
            self.call("Input.dispatchKeyEvent", type="keyUp", **facts)

    def click(self, selector: str) -> None:
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def click_at(self, selector: str) -> None:
        """Scroll the first element that fits into view, and press the mouse where its first line is."""
        place = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center'}); const r = e.getClientRects()[0]; "
            "return [r.left + r.width / 2, r.top + r.height / 2]; })()"
        )
        self.click_place(*place)

    def click_place(self, x: float, y: float) -> None:
        """Press the mouse at a place of the window, in pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def printed(self, on: bool) -> None:
        """Style the page as on paper."""
        self.call("Emulation.setEmulatedMedia", media="print" if on else "")

    def pdf(self) -> Pdf:
        """The page as it prints on A4, with an outline of its headings."""
        asked = {"paperWidth": A4[0], "paperHeight": A4[1], "printBackground": True}
        made = self.call("Page.printToPDF", **asked, generateDocumentOutline=True, generateTaggedPDF=True)
        return read_pdf(base64.b64decode(made["data"]))

    def size(self, width: int, height: int, *, scale: float = 1.0, mobile: bool = False) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)

    def dark(self, on: bool) -> None:
        value = "dark" if on else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def picture(self, path: Path) -> None:
        """Save what is on the screen."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser; skips, saying so, where none is installed."""
    program = next((found for name in NAMES if (found := shutil.which(name))), "")
    if not program:
        pytest.skip("no Chromium on this machine: the test in a real browser was not run")
    to_child, send = os.pipe()
    receive, from_child = os.pipe()
    # Chromium reads from 3 and writes to 4; those numbers may be taken here, so the ends move out of the way first.
    ends = [fcntl.fcntl(number, fcntl.F_DUPFD, 10) for number in (to_child, from_child)]

    def place_ends() -> None:
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run",
            "--no-default-browser-check", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
            "--no-sandbox", "--hide-scrollbars", "--font-render-hinting=none",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=place_ends, pass_fds=(3, 4)
        )
        for number in (to_child, from_child, *ends):
            os.close(number)
        try:
            yield Browser(send, receive)
        finally:
            process.kill()
            process.wait()
            os.close(send)
            os.close(receive)


class LabelServer:
    """`muster label --serve` as a process of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        command = [sys.executable, "-m", "passmuster", "-C", str(folder), "--json", "label", "--serve", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the server did not start"
        told = json.loads(line)
        assert told["ok"], told
        self.url, self.port = told["data"]["url"], told["data"]["port"]

    def stop(self) -> int:
        """End it as Ctrl-C does; its exit code."""
        self.process.terminate()
        return self.process.wait(WAIT_S)


@contextlib.contextmanager
def label_server(folder: Path, *words: str) -> Iterator[LabelServer]:
    server = LabelServer(folder, *words)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        if server.process.stdout:
            server.process.stdout.close()
