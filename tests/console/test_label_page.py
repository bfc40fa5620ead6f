"""The label page in a real browser, by keyboard alone: what a person sees, types and gets saved."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from browser_case import browser, label_server
from label_case import dark_and_light, said, texts
from passmuster.flows.verify import verify
from passmuster.stages.govern import n_unpinned
from passmuster.store.store import Store

READY = "document.querySelector('#content .text, #content img') && document.querySelectorAll('#classes button').length"
SAVED = "document.querySelector('#status').textContent === 'saved'"
WORDS = (
    "account bill card cash change cheque coin cost debit fee fraud gift limit loan lost pin rate refund top transfer"
)
MANY = tuple(f"topic {word}" for word in WORDS.split())

THREE_HUNDRED = tuple(f"class {chr(97 + i // 26)}l{chr(97 + i % 26)}" for i in range(300))


def names(page: object) -> list[str]:
    return page.run("[...document.querySelectorAll('#classes span')].map((e) => e.textContent)")  # type: ignore[attr-defined]


def current(page: object) -> str:
    return page.text("#name")  # type: ignore[attr-defined]


def test_a_whole_session_by_keyboard(new_store, tmp_path: Path) -> None:
    store: Store = texts(new_store("text"), tmp_path)
    expected: dict[str, str] = {}
    with browser() as page, label_server(store.folder, "--n", "6", "--for", "train", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        assert "<b>of</b>" in page.text("#content")  # shown as text, not as markup
        assert page.run("document.querySelectorAll('#content b').length") == 0
        assert "no model yet" in page.text("#guess") or page.text("#guess button")  # a quick look may guess, too
        assert names(page) == ["ham", "spam"]

        first = current(page)
        page.press("2")  # the second class
        page.wait(f"document.querySelector('#name').textContent !== '{first}'")
        page.wait(SAVED)
        assert said(store, "ana") == {first: "spam"}  # "saved" shows when it is on disk
        assert page.text("#count") == "1 of 6"

        second = current(page)
        page.press("h", "Enter")  # by the first letter
        page.wait(f"document.querySelector('#name').textContent !== '{second}'")
        page.wait(SAVED)
        assert said(store, "ana")[second] == "ham"

        page.press("Backspace")  # undo
        page.wait(f"document.querySelector('#name').textContent === '{second}'")
        assert second not in said(store, "ana")
        page.press("Space")  # skip
        page.wait(f"document.querySelector('#name').textContent !== '{second}'")

        third = current(page)
        page.press(*"odd one", "Enter")  # nothing is highlighted, so a slip of the finger makes no class
        assert current(page) == third
        page.press("ArrowDown", "Enter")  # down to "add", and accept
        page.wait(f"document.querySelector('#name').textContent !== '{third}'")
        page.wait(SAVED)
        assert said(store, "ana")[third] == "odd one"
        assert names(page) == ["ham", "spam", "odd one"]

        fourth = current(page)
        page.press("ArrowDown", "ArrowDown", "ArrowUp", "Enter")
        page.wait(f"document.querySelector('#name').textContent !== '{fourth}'")
        page.wait(SAVED)
        assert said(store, "ana")[fourth] in names(page)

        page.run("document.querySelector('#recent button').click()")  # the latest, to change one's mind
        page.wait(f"document.querySelector('#name').textContent === '{fourth}'")
        page.press("3")
        page.wait(f"document.querySelector('#name').textContent !== '{fourth}'")
        page.wait(SAVED)
        expected = {first: "spam", third: "odd one", fourth: "odd one"}
        assert said(store, "ana") == expected

        for count in (4, 5, 6):
            page.wait(READY)
            page.press("1")
            page.wait(f"document.querySelector('#count').textContent === '{count} of 6'")
        page.wait("document.querySelector('#content h1')")
        assert "6 labels" in page.text("#content")
        page.open(server.url)  # loaded anew, it knows what was done
        page.wait("document.querySelectorAll('#recent button').length >= 6")
        assert page.complaints == []
        assert server.stop() == 0
    assert len(said(store, "ana")) == 6
    assert expected.items() <= said(store, "ana").items()
    assert n_unpinned(store) == 0
    assert verify(store).whole


def test_many_classes_are_found_by_typing(new_store, tmp_path: Path) -> None:
    store = texts(new_store("text"), tmp_path, n=60, classes=MANY)
    with browser() as page, label_server(store.folder, "--for", "train", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        assert len(names(page)) == 20
        page.press(*"re")
        assert names(page) == ["topic refund"]
        page.press("Escape")
        page.press(*"c")
        assert names(page)[:3] == ["topic card", "topic cash", "topic change"]
        first = current(page)
        page.press("ArrowDown", "Enter")  # the second of what is left
        page.wait(f"document.querySelector('#name').textContent !== '{first}'")
        page.wait(SAVED)
        assert said(store, "ana") == {first: "topic cash"}
        assert page.run("document.querySelector('#filter').value") == ""


def test_thousands_of_classes_are_neither_drawn_nor_lost(new_store, tmp_path: Path) -> None:
    """A hundred buttons at most; what is typed is looked for among all, and the guess is always among those shown."""
    store = texts(new_store("text"), tmp_path, n=330, classes=THREE_HUNDRED)
    with browser() as page, label_server(store.folder, "--for", "train", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        assert len(names(page)) == 100
        assert "200 more classes are not shown" in page.text("#found")
        assert page.run("document.querySelectorAll('#counts li').length") == 101
        page.press(*"klk")
        assert names(page) == ["class klk"]
        first = current(page)
        page.press("Enter")
        page.wait(f"document.querySelector('#name').textContent !== '{first}'")
        page.wait(SAVED)
        assert said(store, "ana") == {first: "class klk"}


def test_a_closed_tab_gives_its_items_to_the_next(new_store, tmp_path: Path) -> None:
    store = texts(new_store("text"), tmp_path)
    with label_server(store.folder, "--for", "train", "--n", "12") as server, browser() as left:
        left.open(server.url)
        left.wait(READY)
        first = current(left)
        left.open("about:blank")  # leaving the page is what a browser does on closing a tab, too
        with browser() as page:  # the first goes on: one that is killed may not get to say that the page was left
            page.open(server.url)
            page.wait(READY)
            assert current(page) == first


def test_what_another_tab_holds_is_not_called_done(new_store, tmp_path: Path) -> None:
    store: Store = texts(new_store("text"), tmp_path)
    with (
        browser() as first,
        browser() as second,
        label_server(store.folder, "--n", "3", "--for", "train", "--who", "ana") as server,
    ):
        first.open(server.url)
        first.wait(READY)
        second.open(server.url)
        second.wait("document.querySelector('#content h1')")
        assert second.text("#content h1") == "The rest is open elsewhere."
        assert "3 items are shown in another tab" in second.text("#content p")
        assert "muster train" not in second.text("#content")
        first.open("about:blank")  # closed: what it held is asked here, without a reload
        second.wait(READY)


def test_when_the_server_dies_the_page_says_so_and_keeps_the_answer(new_store, tmp_path: Path) -> None:
    store = texts(new_store("text"), tmp_path)
    with browser() as page, label_server(store.folder, "--for", "train", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        first = current(page)
        page.press("1")
        page.wait(f"document.querySelector('#name').textContent !== '{first}'")
        page.wait(SAVED)
        second = current(page)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        page.press("2")
        page.wait("!document.querySelector('#alarm').hidden")
        assert "does not answer" in page.text("#alarm")
        assert "“spam” is not saved" in page.text("#alarm")
        assert page.text("#status") == "not saved"
        assert current(page) == second  # what is not saved stays on the screen
        assert page.text("#classes .on").endswith("spam")
        page.press("1")  # and nothing more is taken
        assert current(page) == second
        assert said(store, "ana") == {first: "ham"}
        with label_server(store.folder, "--for", "train", "--who", "ana", "--port", str(server.port)) as anew:
            page.click("#retry")
            page.wait("document.querySelector('#alarm').textContent.includes('started anew')")
            page.open(anew.url)
            assert page.dialogs == ["beforeunload"]  # leaving an answer that is not saved asks first
            page.wait(READY)
            assert current(page) != first
            page.press("2")
            page.wait(SAVED)
            assert len(said(store, "ana")) == 2


def test_a_server_that_only_stopped_for_a_while_gets_the_answer(new_store, tmp_path: Path) -> None:
    store = texts(new_store("text"), tmp_path)
    with browser() as page, label_server(store.folder, "--for", "train", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        first = current(page)
        # Offline for the page alone: the server lives, and no request comes through.
        page.call("Network.enable")
        offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        page.call("Network.emulateNetworkConditions", offline=True, **offline)
        page.press("2")
        page.wait("!document.querySelector('#alarm').hidden")
        assert said(store, "ana") == {}
        page.call("Network.emulateNetworkConditions", offline=False, **offline)
        page.wait("document.querySelector('#alarm').hidden")  # it tries again by itself
        page.wait(SAVED)
        assert said(store, "ana") == {first: "spam"}


def test_guesses_and_the_grid_of_pictures(new_store, tmp_path: Path) -> None:
    store = dark_and_light(new_store("image"), tmp_path)
    with browser() as page, label_server(store.folder, "--for", "train", "--n", "9", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        page.wait("document.querySelector('#guess button')")
        guess, first = page.text("#guess button span"), current(page)
        assert page.text("#classes .on").endswith(guess)
        page.press("Enter")  # accepts the guess
        page.wait(f"document.querySelector('#name').textContent !== '{first}'")
        page.wait(SAVED)
        assert said(store, "ana") == {first: guess}

        page.run("document.querySelector('#mode-grid').click()")
        page.wait("document.querySelectorAll('#pictures button').length > 5")
        label = page.run("document.querySelector('#grid-label').value")
        n = page.run("document.querySelectorAll('#pictures button').length")
        page.press("ArrowRight", "Space", "ArrowRight", "Space", "Space")  # the second is odd, the third is not
        assert page.run("document.querySelectorAll('#pictures [aria-pressed=true]').length") == 1
        page.press("Enter")
        page.wait(SAVED)
        page.wait("document.querySelector('#recent button')")
        by_grid = {k: v for k, v in said(store, "ana").items() if k != first}
        assert len(by_grid) == n - 1
        assert set(by_grid.values()) == {label}

        page.press("Backspace")  # one undo takes the whole grid back
        page.wait("!document.querySelector('#one').hidden")
        assert said(store, "ana") == {first: guess}
        assert page.complaints == []


def test_the_page_holds_at_every_size(new_store, tmp_path: Path) -> None:
    store = texts(new_store("text"), tmp_path, n=60, classes=MANY)
    with browser() as page, label_server(store.folder, "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        for width, height in ((1280, 900), (640, 450), (390, 844), (320, 568)):
            page.size(width, height)
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), f"wider than {width}"
        unnamed = (
            "[...document.querySelectorAll('button, input, select, progress')].filter((e) => e.checkVisibility() && "
            "!(e.innerText || e.ariaLabel || e.labels?.length)).map((e) => e.outerHTML)"
        )
        assert page.run(unnamed) == []
        page.press("Tab")
        assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
