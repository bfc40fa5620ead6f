"""Digits on the label page, in a real browser by real keys: no answer but the one that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser_case import KEYS, Browser, browser, label_server
from label_case import dark_and_light, said, texts
from label_sets_case import multi

READY = "document.querySelector('#content .text') && document.querySelectorAll('#classes button').length"
SAVED = "document.querySelector('#status').textContent === 'saved'"
SHOWN = (
    "[...document.querySelectorAll('#classes button')].map((e) => [...e.childNodes].map((part) => part.textContent))"
)
MONTHS = tuple(str(i) for i in range(1, 13))
GRADES = tuple(f"grade {i}" for i in range(12))
SEVENTY_SEVEN = tuple(f"{'bcdfghklmnp'[i // 7]}{'aeiouyw'[i % 7]} topic" for i in range(77))


def keys(page: Browser) -> dict[str, str]:
    """The key that shows on each class that has one."""
    return {name: key for key, name in page.run(SHOWN) if key}


def answered(page: Browser, n: int) -> None:
    page.wait(f"document.querySelector('#count').textContent.startsWith('{n} of')")
    page.wait(SAVED)


def typed(page: Browser) -> str:
    return str(page.run("document.querySelector('#filter').value"))


def hold_down(page: Browser, name: str, n: int = 6) -> None:
    """A key that is held down: it comes again and again without being let go."""
    key, code, number, text = KEYS.get(name, (name, "", ord(name[0]), name))
    for i in range(n):
        facts = {"key": key, "code": code, "windowsVirtualKeyCode": number, "text": text, "autoRepeat": i > 0}
        page.call("Input.dispatchKeyEvent", type="keyDown", **facts)
    page.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=code, windowsVirtualKeyCode=number)


@pytest.mark.parametrize(
    ("classes", "meant", "presses"),
    [(MONTHS, "12", "12"), (MONTHS, "2", "2"), (GRADES, "grade 1", "grade 1"), (GRADES, "grade 11", "11")],
)
def test_classes_with_numbers_are_typed_whole(new_store, tmp_path: Path, classes, meant: str, presses: str) -> None:
    store = texts(new_store("text"), tmp_path, n=40, classes=classes)
    with browser() as page, label_server(store.folder, "--for", "train", "--n", "4", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        assert [name for _, name in page.run(SHOWN)] == list(classes)  # 2 before 10
        assert keys(page) == {}
        first = page.text("#name")
        page.press(*presses)
        assert typed(page) == presses
        assert page.text("#name") == first  # nothing is answered while it is typed
        assert said(store, "ana") == {}
        assert keys(page) == {meant: "enter"}
        page.press("Enter")
        answered(page, 1)
        assert said(store, "ana") == {first: meant}
        assert typed(page) == ""
        assert page.complaints == []


def test_among_seventy_seven_classes_a_digit_is_the_class_it_shows_on(new_store, tmp_path: Path) -> None:
    store = texts(new_store("text"), tmp_path, n=120, classes=SEVENTY_SEVEN)
    with browser() as page, label_server(store.folder, "--for", "train", "--n", "8", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        expected: dict[str, str] = {}
        shown = sorted(SEVENTY_SEVEN)
        assert keys(page) == dict(zip(shown[:10], "1234567890", strict=True))
        first = page.text("#name")
        page.press("2")
        expected[first] = shown[1]
        answered(page, 1)

        second = page.text("#name")
        page.press("n", "2")  # half a name, and a slip: the digit belongs to what is typed
        assert typed(page) == "n2"
        assert said(store, "ana") == expected
        page.press("Backspace", "i", "Enter")
        expected[second] = "ni topic"
        answered(page, 2)

        assert keys(page) == dict(zip(shown[:10], "1234567890", strict=True))  # and digits are keys again
        third = page.text("#name")
        page.press("0")
        expected[third] = shown[9]
        answered(page, 3)

        fourth = page.text("#name")
        page.press("/", *"3rd party")  # a new class whose name begins with a digit
        assert page.text("#name") == fourth
        assert keys(page) == {}
        page.press("ArrowDown", "Enter")
        expected[fourth] = "3rd party"
        answered(page, 4)
        assert keys(page) == {}  # from here on a digit may be the beginning of a name

        fifth = page.text("#name")
        page.press("3")
        assert page.text("#name") == fifth
        page.press("Enter")
        expected[fifth] = "3rd party"
        answered(page, 5)
        assert said(store, "ana") == expected
        assert page.complaints == []


def test_of_names_with_one_digit_each_the_digit_is_the_key(new_store, tmp_path: Path) -> None:
    store = texts(new_store("text"), tmp_path, classes=("class 0", "class 1", "class 2"))
    with browser() as page, label_server(store.folder, "--for", "train", "--n", "4", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        assert keys(page) == {"class 0": "0", "class 1": "1", "class 2": "2"}
        first = page.text("#name")
        page.press("1")
        answered(page, 1)
        assert said(store, "ana") == {first: "class 1"}


def test_a_key_held_down_answers_once(new_store, tmp_path: Path) -> None:
    store = texts(new_store("text"), tmp_path)
    with browser() as page, label_server(store.folder, "--for", "train", "--n", "8", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        hold_down(page, "1")
        answered(page, 1)
        assert len(said(store, "ana")) == 1
        page.press("h")
        hold_down(page, "Enter")
        answered(page, 2)
        assert len(said(store, "ana")) == 2
        hold_down(page, "Backspace")
        answered(page, 1)
        assert len(said(store, "ana")) == 1


def test_of_sets_numbers_are_typed_whole_too(new_store, tmp_path: Path) -> None:
    store = texts(multi(new_store), tmp_path, n=40, classes=MONTHS)
    chosen = "[...document.querySelectorAll('#classes [aria-pressed=true] span')].map((e) => e.textContent)"
    with browser() as page, label_server(store.folder, "--n", "6", "--for", "train", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)
        first = page.text("#name")
        for name in page.run(chosen):  # a quick look's guess, if any
            page.press(*name, "Enter")
        page.press("1", "2")
        assert page.run(chosen) == []
        page.press("Enter", "2", "Enter")
        assert page.run(chosen) == ["2", "12"]
        assert page.text("#name") == first
        page.press("Enter")
        answered(page, 1)
        assert said(store, "ana") == {first: '["12","2"]'}
        assert page.complaints == []


def tab_to(page: Browser, selector: str, limit: int = 16) -> int:
    """Press Tab until an element that fits has the focus; how often that was."""
    for count in range(1, limit + 1):
        page.press("Tab")
        if page.run(f"Boolean(document.activeElement.closest({selector!r}))"):
            return count
    raise AssertionError(f"{selector} is more than {limit} stops away")


def test_the_grid_by_real_keys(new_store, tmp_path: Path) -> None:
    """Into the grid, to the other class, confirm, back, and an earlier answer changed: no mouse, no script."""
    store = dark_and_light(new_store("image"), tmp_path, 160)  # more of each class than the grid shows at once
    pictures = "document.querySelectorAll('#pictures button').length"
    title = "document.querySelector('#grid-title').textContent"
    with browser() as page, label_server(store.folder, "--for", "train", "--n", "30", "--who", "ana") as server:
        page.open(server.url)
        page.wait("document.querySelector('#content img') && document.querySelector('#guess button')")
        page.wait("!document.querySelector('#mode-grid').disabled")
        tab_to(page, "#mode-grid")
        page.press("Enter")
        page.wait(f"{pictures} > 5 && document.activeElement.closest('#pictures')")
        of_first = page.run("document.querySelector('#grid-label').value")
        page.press("Tab", modifiers=8)
        assert page.run("document.activeElement.id") == "grid-label"
        for key, step in (("ArrowDown", 1), ("ArrowUp", 0), ("ArrowDown", 1)):  # the choice keeps the focus
            page.press(key)
            page.wait(
                f"{title}.includes('Are these') && document.querySelector('#grid-label').selectedIndex === {step}"
            )
            page.wait(f"{title}.includes(document.querySelector('#grid-label').value)")
            assert page.run("document.activeElement.id") == "grid-label"
        of_second = page.run("document.querySelector('#grid-label').value")
        assert {of_first, of_second} == {"dark", "light"}
        tab_to(page, "#pictures", limit=1)
        page.press("Space", "ArrowRight")
        n = page.run(pictures)
        page.press("Enter")
        answered(page, n - 1)
        assert set(said(store, "ana").values()) == {of_second}

        page.wait(f"{pictures} > 0 && document.activeElement.closest('#pictures')")  # the next ones
        page.press("Escape")
        page.press("d")  # the next key is already the page's own
        first = page.text("#name")  # the marked one, at once: an answer is to what shows
        assert first
        assert typed(page) == "d"
        page.press("Escape")
        page.press("1")
        answered(page, n)
        page.wait("document.querySelector('#content img')")
        second = page.text("#name")
        page.press("1")
        answered(page, n + 1)
        tab_to(page, "#recent")
        page.run("new Promise((done) => setTimeout(done, 4500))")  # a sign of life draws the list anew
        page.press("ArrowDown")
        assert page.run("document.activeElement.textContent").endswith(first)
        page.press("Enter")
        page.wait(f"document.querySelector('#name').textContent === '{first}'")
        page.press("2")
        page.wait(f"document.querySelector('#name').textContent !== '{first}'")
        page.wait(SAVED)
        assert said(store, "ana")[first] == "light"
        assert said(store, "ana")[second] == "dark"
        assert page.complaints == []
