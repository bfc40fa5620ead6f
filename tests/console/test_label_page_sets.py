"""The label page where items carry sets of classes: toggled by keys, saved with Enter, in a real browser."""

from __future__ import annotations

from pathlib import Path

from browser_case import browser, label_server
from label_case import said, texts
from label_sets_case import multi
from passmuster.flows.verify import verify

READY = "document.querySelector('#content .text') && document.querySelectorAll('#classes button').length"
SAVED = "document.querySelector('#status').textContent === 'saved'"
CHOSEN = "[...document.querySelectorAll('#classes [aria-pressed=true] span')].map((e) => e.textContent)"


def test_a_set_is_toggled_and_saved_by_keyboard(new_store, tmp_path: Path) -> None:
    store = texts(multi(new_store), tmp_path)
    with browser() as page, label_server(store.folder, "--n", "6", "--for", "train", "--who", "ana") as server:
        page.open(server.url)
        page.wait(READY)

        def gone(name: str) -> None:
            page.wait(f"document.querySelector('#name').textContent !== '{name}'")
            page.wait(SAVED)

        first = page.text("#name")
        for name in page.run(CHOSEN):  # a quick look's guess, if any
            page.press({"ham": "1", "spam": "2"}[name])
        page.press("2", "1")
        assert page.run(CHOSEN) == ["ham", "spam"]
        assert page.text("#save").endswith("Save: ham + spam")
        assert page.text("#name") == first  # choosing does not save
        page.press("Enter")
        gone(first)
        assert said(store, "ana") == {first: '["ham","spam"]'}

        second = page.text("#name")
        for name in page.run(CHOSEN):
            page.press({"ham": "1", "spam": "2"}[name])
        page.press("Enter")  # nothing is chosen: a slip of the finger is no answer
        assert "none of the classes" in page.text("#guess")
        assert page.text("#name") == second
        page.press("Enter")
        gone(second)
        assert said(store, "ana")[second] == "[]"

        page.press("Backspace")  # undo
        page.wait(f"document.querySelector('#name').textContent === '{second}'")
        assert second not in said(store, "ana")

        page.press(*"odd one", "ArrowDown", "Enter")  # a new class among the others
        assert "odd one" in page.run(CHOSEN)
        page.press("1")
        page.press("Enter")
        gone(second)
        assert said(store, "ana")[second] == '["ham","odd one"]'
        assert "ham + odd one" in page.text("#recent")
        assert page.complaints == []
        assert server.stop() == 0
    assert verify(store).whole
