"""The page: nothing from outside, everything escaped, every number opens what it says, and no picture without words."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from evaluate_case import add_model, go_live, make_digits
from passmuster.core.config import Config
from passmuster.core.config_file import render_config
from passmuster.stages.evaluate import EvaluateResult, Scope, evaluate
from passmuster.stages.evaluate.page.cards import chosen_keys, set_title
from passmuster.stages.evaluate.page.charts import faults_chart, reliability_chart, risk_coverage_chart
from passmuster.store.store import Store

NASTY = "</script><img src=x onerror=alert(1)>"
NAMES = [
    NASTY,
    "one & only",
    "two's",
    '"three"',
    "four",
    "five",
    "six",
    "a class with a very long name",
    "eight",
    "nine",
]


class Page(HTMLParser):
    """What matters of a page: elements with attributes, ids, text of scripts, and whether all elements are closed."""

    VOID = frozenset({"meta", "img", "br", "input", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)

    def having(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> EvaluateResult:
    folder = tmp_path_factory.mktemp("page")
    config = Config()
    config = replace(config, project=replace(config.project, modality="image", name=f"Shop {NASTY}"))
    (folder / "muster.toml").write_text(render_config(config))
    digits = make_digits(Store.create(folder), n_twins=3, names=NAMES)
    go_live(digits.store, add_model(digits, n_fit=60, run="run-0"))
    add_model(digits)
    rungs = [
        {"rung": NASTY, "quote": {"seconds": 900.0}, "left_out": "time: needs 900.0 s of 55.0 left"},
        {"rung": "pixels.v1", "quote": {"seconds": 8.0}, "seconds": 9.0, "log_loss": 0.22, "log_loss_se": 0.03,
         "accuracy": 0.9, "gain": 0.19, "chosen": True},
    ]  # fmt: skip
    (digits.store.runs_folder / "run-1" / "rungs.json").write_text(json.dumps(rungs))
    return evaluate(digits.store, scope=Scope(n_corrupted=20, n_fit=200, n_resamples=20))


@pytest.fixture(scope="module")
def text(result: EvaluateResult) -> str:
    return result.path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def sets_of(page: Page) -> dict[str, dict]:
    return json.loads(next(s for s in page.scripts if s.startswith("{")))


def test_it_is_one_whole_document(page: Page) -> None:
    assert page.open == []
    assert page.unbalanced == []


def test_nothing_comes_from_outside(page: Page, text: str) -> None:
    for attribute in ("src", "href", "xlink:href", "action", "srcset", "data", "poster"):
        for value in page.having(attribute):
            assert value.startswith(("data:", "#")), f"{attribute}={value[:60]}"
    assert not re.findall(r"url\(\s*['\"]?(?!#|data:)", text)
    assert "@import" not in text
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, "names of formats, not requests"
    assert not {tag for tag, _ in page.elements} & {"link", "iframe", "object", "embed", "base", "audio", "video"}


def test_the_browser_is_told_to_fetch_nothing_and_run_one_script(page: Page) -> None:
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:;")
    code = next(s for s in page.scripts if "use strict" in s)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_names_from_the_data_are_text_and_nothing_else(page: Page, text: str) -> None:
    assert "<img src=x" not in text
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert text.count("</script>") == 2
    assert "&lt;img src=x" in text
    assert any(NASTY in entry["title"] for entry in sets_of(page).values())


def test_every_number_opens_its_items(page: Page, result: EvaluateResult) -> None:
    sets = sets_of(page)
    opened = page.having("data-set")
    assert set(opened) == set(sets)
    assert len(opened) > 60
    cards = {a["id"] for tag, a in page.elements if tag == "template"}
    for entry in sets.values():
        assert entry["n"] > 0
        assert entry["title"]
        assert len(entry["shown"]) <= min(entry["n"], 24)
        assert {f"i{i}" for i in entry["shown"]} <= cards
    titles = {entry["title"] for entry in sets.values()}
    for name in ("test", "changed", "negative_flips", "leakage", "leakage=clean", "corrupted"):
        assert set_title(name) in titles, name


def test_every_set_that_can_be_opened_shows_something(page: Page) -> None:
    assert all(entry["shown"] for entry in sets_of(page).values())


def test_pictures_and_charts_have_words(page: Page) -> None:
    images = [a for tag, a in page.elements if tag == "img"]
    assert images
    assert all(a.get("alt") and a["src"].startswith("data:image/png;base64,") for a in images)
    charts = [a for tag, a in page.elements if tag == "svg"]
    assert len(charts) == 3
    assert all(a.get("role") == "img" and len(a["aria-label"]) > 30 for a in charts)


def test_the_first_screen_says_it_in_words(text: str) -> None:
    first = text[: text.index("The numbers</h2>")]
    for heading in ("What it is good at", "Where it breaks", "What is not known"):
        assert heading in first
    assert "3 test items have a copy in training" in first
    assert "without the 3 copied test items" in first


def test_twins_stand_side_by_side(text: str, page: Page) -> None:
    assert sum(a.get("aria-label") == "a pair of copies" for _, a in page.elements) == 3
    assert "3 of 3 pairs shown" in text


def test_rungs_are_listed_with_the_chosen_one_marked(text: str) -> None:
    row = re.search(r"<tr class=chosen><td>pixels.v1</td>.*?</tr>", text)
    assert row
    for cell in ("8 s", "9 s", "0.220 ± 0.030", "90.0\u00a0%", "+0.190 nats", "chosen"):
        assert f">{cell}</td>" in row[0]
    assert "time: needs 900.0 s of 55.0 left" in text  # why a rung was left out is said


def test_colours_come_from_the_page(text: str) -> None:
    drawn = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(drawn) == 3
    for svg in drawn:
        assert not re.findall(r'(?:fill|stroke)="#', svg)
        used = set(re.findall(r"var\((--[a-z0-9-]+)\)", svg))
        assert used
        assert all(f"{name}:" in text for name in used)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(scheme: str) -> None:
    """WCAG 2.1 AA: 4.5 to 1 between text and what lies behind it."""
    import passmuster.stages.evaluate.page as here

    style = (Path(here.__file__).parent / "page.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)[0 if scheme == "light" else 1]
    colour = dict(re.findall(r"--([a-z0-9-]+):\s*(#[0-9a-f]{6})", block))

    def luminance(value: str) -> float:
        parts = np.array([int(value[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def contrast(a: str, b: str) -> float:
        light, dark = sorted((luminance(colour[a]), luminance(colour[b])), reverse=True)
        return (light + 0.05) / (dark + 0.05)

    pairs = [(ink, ground) for ink in ("ink", "soft", "brand", "good", "bad", "open") for ground in ("paper", "panel")]
    pairs += [("good", "good-wash"), ("bad", "bad-wash"), ("open", "open-wash"), ("brand", "brand-wash")]
    pairs += [(f"series-{i}", "paper") for i in range(1, 9)]
    assert {pair: contrast(*pair) for pair in pairs if contrast(*pair) < 4.5} == {}


def test_previews_are_limited_and_what_matters_comes_first() -> None:
    sets = {"test": [f"t{i}" for i in range(500)], "negative_flips": ["t400", "t401"], "class=a": ["t300"]}
    chosen = chosen_keys(sets, Scope(n_previews=10, n_shown=9))
    assert len(chosen) == 10
    assert chosen[:2] == ["t400", "t401"]
    assert "t300" in chosen


def test_charts_say_in_words_what_they_show() -> None:
    share = {"value": 0.4, "low": 0.2, "high": 0.6, "n": 10}
    assert "50% sure: 40% right of 10 items" in reliability_chart([{"confidence": 0.5, "accuracy": share}])
    curve = {"coverage": [0.5, 1.0], "risk": [0.0, 0.1]}
    assert "10.0% are wrong; answering the surer half, 0.0%" in risk_coverage_chart(curve)
    rows = [{"corruption": "a.v1", "severity": s, "accuracy": {**share, "value": 1 - s / 5}} for s in range(1, 6)]
    drawn = faults_chart({"clean": {"value": 1.0}, "rows": rows}, ["a.v1"], ["a & b"])
    assert "a &amp; b: 0%" in drawn
