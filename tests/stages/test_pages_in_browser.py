"""The pages of an evaluation, a verdict and a diff in a real headless browser: read, opened, made narrow, printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from browser_case import PAPER, Browser, browser
from evaluate_case import add_model, go_live, make_digits
from passmuster.core.config import Config, CostsPolicy
from passmuster.core.config_file import render_config
from passmuster.core.records import GateResult, Release, Verdict
from passmuster.flows.diff import compare_bundles
from passmuster.stages.evaluate import Scope, evaluate
from passmuster.stages.release.page import with_verdict
from passmuster.store.store import Store

NAMES = ["a<b", "two & two", "a class with a very long name that goes on", *"3456789"]
NAME = "Shop <photos> & a name that is long"
N_BY_HAND = 12  # numbers that are opened by real mouse and keys
KINDS = ("report", "verdict", "changes")
SCREENS = ((1280, 900), (768, 1024), (390, 844), (320, 568))
SECTIONS = (
    "What it is good at", "Where it breaks", "On whom", "What is not known", "What an answer costs", "The numbers",
    "Against the live release", "Class by class", "Can you trust how sure it is?", "Are groups served alike?",
    "When things go wrong outside", "Does it withstand somebody who means harm?",
    "Does it notice what it does not know?", "The data behind it", "How it was learned", "How this was made",
)  # fmt: skip


@dataclass(frozen=True)
class Pages:
    """Where each of `KINDS` lies."""

    report: Path
    verdict: Path
    changes: Path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Of a project with costs, groups, a live release, copies in training and attacks: all that there is."""
    folder = tmp_path_factory.mktemp("pages")
    config = Config()
    config = replace(
        config,
        project=replace(config.project, modality="image", name=NAME),
        policy=replace(config.policy, costs=CostsPolicy(unit="EUR", wrong=2.0, when={"3": {"4": 10.0}}, abstain=0.5)),
        data=replace(config.data, group_columns=("region",)),
    )
    (folder / "muster.toml").write_text(render_config(config))
    digits = make_digits(Store.create(folder), n_twins=3, names=NAMES)
    go_live(digits.store, add_model(digits, n_fit=60, run="run-0"))
    new = add_model(digits)
    changes = compare_bundles(digits.store, new.digest).page
    result = evaluate(digits.store, scope=Scope(n_corrupted=20, n_fit=200, n_resamples=20, n_attacked=2))
    gates = tuple(
        GateResult(name, state, f"the {name} asks for what was not shown on this test: {why}", 0.5, 0.8, 0.05)
        for name, state, why in (
            ("accuracy.v1", "failed", "80 % right"), ("non_inferiority.v1", "insufficient", "more labels"),
            ("leakage.v1", "failed", "no twins"), ("ece.v1", "passed", ""),
        )
    )  # fmt: skip
    verdict = Verdict(new.digest, "r" * 64, "p" * 64, "HOLD", gates, None, 1, "2026-01-01T00:00:00+00:00")
    release = Release("r0002-abc", new.digest, "HOLD", "", "2026-01-01T00:00:00+00:00")
    judged = folder / "verdict.html"
    judged.write_text(with_verdict(result.path.read_text(encoding="utf-8"), release, verdict), encoding="utf-8")
    return Pages(result.path, judged, changes)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as page:
        yield page


@pytest.fixture
def screen(chromium: Browser) -> Iterator[Browser]:
    """The browser as somebody starts it, and afterwards without a complaint of its console."""
    chromium.complaints.clear()
    chromium.printed(False)
    chromium.dark(False)
    chromium.size(1280, 900)
    yield chromium
    assert chromium.complaints == []


def show(screen: Browser, path: Path) -> None:
    screen.open(path.as_uri())


def open_all(screen: Browser) -> None:
    """What stands behind a line that opens."""
    screen.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")


def beyond(screen: Browser, width: int) -> list[str]:
    """Elements of the page that reach beyond a width, but for what scrolls by itself."""
    script = f"""[...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll *, dialog:not([open])")
        && e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML.slice(0, 90))"""
    return list(screen.run(script))


def closed_up(text: str) -> str:
    """Without its spaces: an outline leaves out those where a heading goes on in another line."""
    return "".join(text.split())


def wider_than_shown(screen: Browser, selector: str) -> int:
    """How many elements hold more than they show from left to right."""
    found = f"[...document.querySelectorAll({json.dumps(selector)})].filter(e => e.clientWidth)"
    return int(screen.run(f"{found}.filter(e => e.scrollWidth > e.clientWidth + 1).length"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dark", [False, True])
def test_no_screen_scrolls_sideways(screen: Browser, pages: Pages, kind: str, dark: bool) -> None:
    screen.dark(dark)
    show(screen, getattr(pages, kind))
    open_all(screen)
    ground = screen.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 28)" if dark else "rgb(251, 250, 247)")
    for width, height in SCREENS:
        screen.size(width, height)
        assert screen.run("document.documentElement.scrollWidth") <= width
        assert beyond(screen, width) == []


def test_the_first_screen_is_whole(screen: Browser, pages: Pages) -> None:
    """With costs, a live release, copies and groups declared: nothing of the summary is below the edge, or cut."""
    show(screen, pages.report)
    seen = screen.run(
        "[...document.querySelectorAll('.masthead *, .words *')].map(e => e.getBoundingClientRect().bottom)"
    )
    assert len(seen) > 40
    assert max(seen) <= 900
    assert screen.text(".masthead .cost").startswith("What it costs when wrong: An answer costs")
    for kind in ("good", "breaks", "whom", "unknown"):
        assert len(screen.text(f".words .{kind} li")) > 20, kind
    assert wider_than_shown(screen, ".words *") == 0


def test_every_number_opens_its_items_by_mouse_and_by_key_and_closes(screen: Browser, pages: Pages) -> None:
    show(screen, pages.report)
    open_all(screen)
    sets = json.loads(screen.run("document.getElementById('sets').textContent"))
    screen.run("document.querySelectorAll('[data-set]').forEach((e, i) => { e.id = `opener-${i}`; })")
    openers = screen.run("[...document.querySelectorAll('[data-set]')].map(e => e.dataset.set)")
    assert set(openers) == set(sets)
    assert len(openers) > N_BY_HAND
    shown = """(() => { const d = document.querySelector('dialog[open]'); return d && [
        document.getElementById('drawer-title').textContent, document.querySelectorAll('#drawer-items > li').length,
        d.getBoundingClientRect().bottom <= innerHeight]; })()"""
    by_script = (
        "(i => { document.getElementById(`opener-${i}`).click(); const found = " + shown + "; "
        "document.querySelector('dialog').close(); return found; })"
    )
    for i, number in enumerate(openers):  # each by script, which is quick, and some by real mouse and keys
        expected = [sets[number]["title"], len(sets[number]["shown"]), True]
        assert screen.run(f"{by_script}({i})") == expected, i
        if i % (len(openers) // N_BY_HAND) and i != len(openers) - 1:
            continue
        screen.click_at(f"#opener-{i}")
        assert screen.run(shown) == expected, i
        screen.click_at("dialog [aria-label=Close]")
        assert screen.run(shown) is None, i
        screen.run(f"document.getElementById('opener-{i}').focus()")
        screen.press("Enter" if i % 2 else "Space")
        assert screen.run(shown) == expected, i
        screen.press("Escape")
        assert screen.run(shown) is None, i
        assert screen.run("document.activeElement.id") == f"opener-{i}"  # whoever reads by keys goes on from there
    screen.press("Enter")
    screen.click_place(4, 450)  # beside the list
    assert screen.run(shown) is None


def test_openers_are_reached_by_tab_and_their_focus_is_seen(screen: Browser, pages: Pages) -> None:
    show(screen, pages.report)
    first = screen.run("[...document.querySelectorAll('[data-set]')].slice(0, 4).map(e => e.textContent)")
    for text in first:
        screen.press("Tab")
        assert screen.run("document.activeElement.textContent") == text
        assert screen.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_list_of_items_fits_a_phone(screen: Browser, pages: Pages) -> None:
    screen.size(320, 568, mobile=True)
    show(screen, pages.report)
    screen.click_at(".big")
    box = screen.run(
        "(r => [r.left, r.right, r.top, r.bottom])(document.querySelector('dialog[open]').getBoundingClientRect())"
    )
    assert 0 <= box[0] < box[1] <= 320
    assert 0 <= box[2] < box[3] <= 568
    assert beyond(screen, 320) == []


@pytest.mark.parametrize("kind", KINDS)
def test_it_prints_with_every_heading_and_nothing_beyond_the_paper(screen: Browser, pages: Pages, kind: str) -> None:
    """Of the printed document its outline is read, and the page as it is styled for paper is measured."""
    path = getattr(pages, kind)
    show(screen, path)
    headings = screen.run("[...document.querySelectorAll('main h1, main h2, main h3')].map(e => e.textContent.trim())")
    printed = screen.pdf()
    assert sorted(closed_up(title) for title, _ in printed.headings) == sorted(map(closed_up, headings))
    if kind != "changes":
        expected = {*SECTIONS, *(("How it was judged", "HOLD") if kind == "verdict" else ())}
        assert set(map(closed_up, expected)) <= {closed_up(title) for title, _ in printed.headings}
    screen.printed(True)
    screen.size(PAPER, 1020)
    assert beyond(screen, PAPER) == []
    assert screen.run("document.documentElement.scrollWidth") <= PAPER
    closed = "[...document.querySelectorAll('details > :not(summary)')].filter(e => !e.getBoundingClientRect().height)"
    assert screen.run(f"{closed}.length") == 0  # what opens on a screen is open on paper
    assert wider_than_shown(screen, ".scroll") == 0


@pytest.mark.parametrize("kind", ["report", "verdict"])
def test_the_first_printed_page_is_the_summary_alone(screen: Browser, pages: Pages, kind: str) -> None:
    show(screen, getattr(pages, kind))
    printed = screen.pdf()
    first = [closed_up(title) for title, page in printed.headings if page == 1]
    summary = ["What it is good at", "Where it breaks", "On whom", "What is not known"]
    expected = [NAME, *summary, *(["HOLD"] if kind == "verdict" else [])]
    assert sorted(first) == sorted(map(closed_up, expected))
    assert 4 < printed.n_pages < 40
