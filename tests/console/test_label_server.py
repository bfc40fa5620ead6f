"""The label server over HTTP: who gets in, what is refused, and that what it acknowledged is on disk."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from browser_case import LabelServer, label_server
from label_case import dark_and_light, said, texts
from passmuster.core.errors import ResourceError
from passmuster.flows.label_leases import LEASE_S
from passmuster.flows.label_session import LabelSession
from passmuster.flows.verify import verify
from passmuster.stages.govern import add, n_unpinned
from passmuster.stages.serve.port import take_port
from passmuster.store.items import standing_labels
from passmuster.store.store import Store


@pytest.fixture
def store(new_store, tmp_path: Path) -> Store:
    return texts(new_store("text"), tmp_path)


@contextlib.contextmanager
def asking(server: LabelServer) -> Iterator[Any]:
    """A function that posts as the page does."""
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:

        def post(name: str, **body: Any) -> Any:
            answer = client.post(name, json={"place": "tab", "held": [], **body})
            assert answer.status_code == 200, answer.text
            return answer.json()

        yield post


def some(post: Any) -> list[dict[str, Any]]:
    """Items, once they are chosen."""
    while True:
        answer = post("next")
        if answer["items"] or not answer["choosing"]:
            return answer["items"]


def test_the_door(store: Store) -> None:
    with label_server(store.folder) as server, httpx.Client(timeout=60, trust_env=False) as client:
        root = f"http://127.0.0.1:{server.port}"
        token = server.url.removeprefix(root).strip("/")
        assert len(token) >= 32
        for path in ("/", "/state", f"/{token[:-1]}/", f"/{token}x/label.js", "/%ff/"):
            answer = client.get(root + path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "label.forbidden"), path
        page = client.get(server.url)
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "no-referrer"
        assert client.get(f"{root}/{token}").status_code == 307
        assert client.get(server.url, headers={"host": f"evil.example:{server.port}"}).status_code == 403
        assert client.get(server.url, headers={"host": f"localhost:{server.port}"}).status_code == 200
        body = {"place": "x", "held": []}
        assert (
            client.post(server.url + "state", json=body, headers={"origin": "http://evil.example"}).status_code == 403
        )
        assert client.post(server.url + "state", json=body, headers={"origin": root}).status_code == 200
        assert client.get(server.url + "nothing").status_code == 404
        assert client.get(server.url + "answer").status_code == 405


BAD_BODIES = [
    (b"x" * 300_000, "application/json", 413, "request.too_large"),
    (b"{", "application/json", 400, "request.json"),
    (b"[]", "application/json", 400, "request.json"),
    (b"{}", "text/plain", 400, "request.json"),
    (b"{}", "application/json", 400, "request.field"),
    (b'{"place":"t","held":[],"keys":[1],"label":"ham"}', "application/json", 400, "request.field"),
    (b'{"place":"t","held":[],"keys":["f"],"label":"ham"}', "application/json", 404, "label.not_shown"),
    (b'{"place":"t","held":[],"keys":["f"],"label":"other"}', "application/json", 400, "label.class"),
    (
        b'{"place":"t","held":[],"keys":[],"label":"%s","new":true}' % (b"x" * 1000),
        "application/json",
        422,
        "label.name",
    ),
]


def test_bad_bodies(store: Store) -> None:
    with label_server(store.folder) as server, httpx.Client(timeout=60, trust_env=False) as client:
        for body, kind, status, code in BAD_BODIES:
            answer = client.post(server.url + "answer", content=body, headers={"content-type": kind})
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), body[:80]


def test_answers_skips_undo_and_pins_at_the_end(store: Store) -> None:
    with label_server(store.folder, "--for", "train", "--n", "6", "--who", "ana") as server, asking(server) as post:
        items = some(post)
        assert len(items) == 6
        assert "<b>of</b>" in items[0]["text"]
        answer = post("answer", keys=[items[0]["key"]], label="ham")
        assert (answer["n_done"], answer["n"]) == (1, 6)
        assert said(store, "ana")[items[0]["id"]] == "ham"  # on disk when acknowledged
        post("answer", keys=[items[0]["key"]], label="ham")  # sent again, because its receipt was lost
        assert post("state")["n_done"] == 1
        post("answer", keys=[items[1]["key"]], label="odd", new=True)
        post("skip", key=items[2]["key"])
        undone = post("undo")
        assert [item["key"] for item in undone["items"]] == [items[2]["key"]]
        assert post("undo")["label"] == "odd"
        assert post("undo")["label"] == "ham"
        assert not post("state")["can_undo"]
        assert said(store, "ana") == {}
        assert [item["key"] for item in post("next")["items"]][:3] == [items[i]["key"] for i in (0, 1, 2)]
        post("answer", keys=[items[0]["key"]], label="spam")
        assert n_unpinned(store) == 1
        assert server.stop() == 0
    assert n_unpinned(store) == 0
    assert said(store, "ana") == {items[0]["id"]: "spam"}
    assert verify(store).whole


def test_no_guess_for_the_test_and_no_item_at_two_places(new_store, tmp_path: Path) -> None:
    store = dark_and_light(new_store("image"), tmp_path)
    with label_server(store.folder, "--n", "20") as server, asking(server) as post:
        while post("state")["choosing"]:
            pass
        first, second = post("next", place="one")["items"], post("next", place="two")["items"]
        assert not {item["key"] for item in first} & {item["key"] for item in second}
        everything = first + second
        assert len(everything) == 20
        assert {item["role"] for item in everything} == {"train", "test"}
        assert all((item["guess"] in ("dark", "light")) == (item["role"] == "train") for item in everything)
        held = post("state", held=[item["key"] for item in everything])
        assert set(held["guesses"]) == {item["key"] for item in everything if item["role"] == "train"}


def test_a_page_that_is_closed_gives_back_what_it_held(store: Store) -> None:
    """Twelve items wait for a tab; closed or silent, it must not keep them from the next."""
    with label_server(store.folder, "--for", "train", "--n", "14", "--who", "ana") as server, asking(server) as post:
        first = some(post)
        assert len(first) == 12
        assert len(post("next", place="two")["items"]) == 2
        held = [item["key"] for item in first]
        assert post("bye") == {}
        taken = [item["key"] for item in post("next", place="two")["items"]]
        assert taken[2:] == held[:10]  # in their order, before anything else
        assert post("state", held=held)["gone"] == held[:10]
        post("answer", place="two", keys=[held[0]], label="ham")
        answer = post("answer", keys=[held[1]], label="spam")  # from a page that came back: it counts
        assert held[1] not in {item["key"] for item in post("next", place="two")["items"]}
        assert answer["n_done"] == 2
    assert list(said(store, "ana").values()) == ["ham", "spam"]


def test_a_place_that_is_silent_for_long_gives_back_what_it_held(store: Store) -> None:
    """A browser that crashed sends no good-bye."""
    now = [0.0]
    session = LabelSession(store, n=14, role="train", who="ana", clock=lambda: now[0])
    session.wait()
    held = [s.key for s in session.take(12, "crashed")]
    now[0] = LEASE_S
    session.hear("crashed")
    assert len(session.take(12, "two")) == 2
    now[0] = 2 * LEASE_S + 1
    assert [s.key for s in session.take(12, "two")][2:] == held[:10]
    assert session.gone(held, "crashed") == held[:10]
    session.close()


def test_guesses_follow_the_labels(new_store, tmp_path: Path) -> None:
    """All that is dark is called night by hand: soon the model says so, too."""
    store = dark_and_light(new_store("image"), tmp_path)
    with label_server(store.folder, "--for", "train", "--n", "20") as server, asking(server) as post:
        while post("state")["choosing"]:
            pass
        items = post("next")["items"]
        assert {item["guess"] for item in items} == {"dark", "light"}
        dark = [item for item in items if item["guess"] == "dark"]
        for item in dark[:-1]:
            post("answer", keys=[item["key"]], label="night", new=True)
        while post("state")["choosing"]:
            pass
        assert post("state", held=[dark[-1]["key"]])["guesses"][dark[-1]["key"]][0] == "night"


def test_an_item_that_is_gone_meanwhile(store: Store) -> None:
    with label_server(store.folder, "--for", "train") as server, asking(server) as post:
        first, second = some(post)[:2]
        with store.note() as db:
            db.exec_driver_sql("DELETE FROM snapshot_items WHERE key = ?", (first["key"],))
        body = {"place": "tab", "held": [], "keys": [first["key"]], "label": "ham"}
        answer = httpx.post(server.url + "answer", json=body, timeout=60, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "label.unknown_item")
        assert first["key"] not in {item["key"] for item in post("next")["items"]}
        post("answer", keys=[second["key"]], label="ham")


def test_two_servers_on_one_project_never_ask_the_same(store: Store) -> None:
    with (
        label_server(store.folder, "--who", "ana", "--for", "train") as one,
        label_server(store.folder, "--who", "ben", "--for", "train") as two,
        asking(one) as ana,
        asking(two) as ben,
    ):
        asked: dict[str, list[str]] = {"ana": [], "ben": []}
        for _ in range(4):
            for who, post in (("ana", ana), ("ben", ben)):
                (first, *_) = some(post)
                asked[who].append(first["key"])
                assert post("answer", keys=[first["key"]], label="ham")["others"] == {}
        hers = [item["key"] for item in some(ana)]
        assert hers
        assert not {*asked["ana"], *hers} & {*asked["ben"], *(item["key"] for item in some(ben))}
        os.kill(one.process.pid, signal.SIGKILL)  # what she was shown is free again
        one.process.wait()
        seen: set[str] = set()
        while (items := some(ben)) and not set(hers) <= seen:
            seen |= {item["key"] for item in items}
            ben("answer", keys=[items[0]["key"]], label="spam")
        assert set(hers) <= seen
        assert two.stop() == 0
    assert sum(label == "ham" for label in said(store, "ana").values()) == 4
    assert n_unpinned(store) == 0
    assert verify(store).whole


def test_two_people_may_contradict_each_other_where_an_item_was_shown_to_both(store: Store) -> None:
    with label_server(store.folder, "--who", "ana", "--for", "train") as one, asking(one) as ana:
        (first, *_) = some(ana)
        ana("bye")
        with label_server(store.folder, "--who", "ben", "--for", "train") as two, asking(two) as ben:
            assert first["key"] in [item["key"] for item in some(ben)]
            ana("answer", keys=[first["key"]], label="ham")  # sent late, from the page that was closed
            assert ben("answer", keys=[first["key"]], label="spam")["others"] == {"ana": "ham"}
            assert two.stop() == 0
        assert one.stop() == 0
    with store.read() as db:
        facts = standing_labels(db, keys=[first["key"]])[first["key"]]
    assert [(fact.who, fact.label) for fact in facts] == [("ana", "ham"), ("ben", "spam")]
    assert verify(store).whole


def test_after_kill_9_all_that_was_acknowledged_is_there(store: Store) -> None:
    kept = {}
    for _ in range(2):
        with label_server(store.folder, "--for", "train", "--who", "ana") as server, asking(server) as post:
            for item in some(post)[:4]:
                post("answer", keys=[item["key"]], label="spam")
                kept[item["id"]] = "spam"
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait()
    assert len(kept) == 8
    assert said(store, "ana") == kept
    assert verify(store).whole


def test_a_port_in_use_is_told(store: Store) -> None:
    with take_port("127.0.0.1", 0) as taken, pytest.raises(ResourceError) as caught:
        take_port("127.0.0.1", taken.getsockname()[1], verb="muster label --serve")
    assert (caught.value.code, caught.value.next) == ("port.in_use", "muster label --serve --port 0")


def test_data_may_be_added_while_somebody_labels(store: Store, tmp_path: Path) -> None:
    with label_server(store.folder, "--for", "train", "--who", "ana") as server, asking(server) as post:
        items = some(post)
        (tmp_path / "more.csv").write_text("id,text\nnew1,a letter that came later\n")
        add(store, tmp_path / "more.csv")
        post("answer", keys=[items[0]["key"]], label="ham")
        assert server.stop() == 0
    assert said(store, "ana") == {items[0]["id"]: "ham"}
    assert n_unpinned(store) == 0


def test_no_torch_in_the_process() -> None:
    script = "import sys, passmuster.console.label.server; print([n for n in ('torch', 'sklearn') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
