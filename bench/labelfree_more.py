"""More scenes of `labelfree.py`: shifts by time, group, rating, length and domain, and mixes of classes.

What may be tried on, and what is fresh: built after the estimator of 2026-11-28 had been reported, and not looked at
before the next one was frozen. They share no set but Amazon, of which development takes dvd and electronics and the
fresh scenes books and kitchen. Rows of tables are read as texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from labelfree_sets import N_DOMAIN, N_NEW, N_REFERENCE, Part, Scene

FEWEST_OF_DOMAIN = 100
TIME = "1m"


def more_development(data: Path, seed: int) -> Iterator[Scene]:
    """What may be tried on: Amazon dvd and electronics, Adult, Electricity, coloured clothes, AG News of few labels."""
    return (replace(scene, time=TIME) for scene in _development(data, seed))


def fresh(data: Path, seed: int) -> Iterator[Scene]:
    """What is only reported: bank marketing by year, CheckList, books and kitchen by rating and year, digits."""
    return (replace(scene, time=TIME) for scene in _fresh(data, seed))


def _development(data: Path, seed: int) -> Iterator[Scene]:
    reviews = amazon_table(data, ("dvd", "electronics"), seed)
    yield by(reviews, "amazon.extremes", "text", extreme(reviews), {"moderate": ~extreme(reviews)}, (1_100, 800))
    yield electricity(data, seed)
    yield coloured_fashion(data, seed)
    yield adult(data, seed)
    early = reviews["year"] < 2006
    yield by(reviews, "amazon.early", "text", early, {"late": ~early}, (500, 600))
    yield few(ag_news_titles(data, seed), "ag_news.few", 120)
    every = np.ones(len(early), dtype=bool)
    titles = by(reviews, "amazon.titles", "title", every, {}, (1_500, 1_000))
    rest = Part(reviews["text"][2_500:].tolist(), reviews["label"][2_500:])
    yield Scene(titles.name, "text", titles.train, titles.reference, titles.new, {"texts": rest.some(0, N_DOMAIN)})


def _fresh(data: Path, seed: int) -> Iterator[Scene]:
    yield bank(data, seed)
    books = amazon_table(data, ("books",), seed)
    yield by(books, "books.extremes", "text", extreme(books), {"moderate": ~extreme(books)}, (600, 600))
    kitchen = amazon_table(data, ("kitchen",), seed)
    early = kitchen["year"] < 2006
    yield by(kitchen, "kitchen.late", "text", ~early, {"early": early}, (700, 600))
    yield checklist(data, seed)
    yield digits(seed)


def by(
    table: dict[str, np.ndarray], name: str, column: str, home: np.ndarray, away: dict[str, np.ndarray],
    sizes: tuple[int, int],
) -> Scene:  # fmt: skip
    """A model of the rows at `home`, which are cut in three; rows elsewhere are its other domains."""
    n_train, n_reference = sizes

    def part(rows: np.ndarray, stop: int | None = None) -> Part:
        places = np.flatnonzero(rows)[:stop]
        return Part([str(text) for text in table[column][places]], table["label"][places])

    own = part(home)
    ends = (n_train, n_train + n_reference, n_train + n_reference + N_NEW)
    others = {key: part(rows, N_DOMAIN) for key, rows in away.items() if rows.sum() >= FEWEST_OF_DOMAIN}
    return Scene(name, "text", own.some(0, ends[0]), own.some(*ends[:2]), own.some(*ends[1:]), others)


def few(scene: Scene, name: str, n: int) -> Scene:
    """The same with a model that learnt from `n` items."""
    return Scene(name, scene.modality, scene.train.some(0, n), scene.reference, scene.new, scene.domains)


def amazon_table(data: Path, domains: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """Reviews of some domains, shuffled."""
    import polars as pl

    table = pl.read_parquet(data / "amazon_multidomain" / "amazon_multidomain.parquet")
    table = table.filter(pl.col("domain").is_in(domains)).sample(fraction=1.0, shuffle=True, seed=seed)
    return {
        "text": table["text"].to_numpy(), "title": table["title"].to_numpy(),
        "label": np.array([f"c{label}" for label in table["label"]]), "rating": table["rating"].to_numpy(),
        "year": table["date"].cast(pl.String).str.slice(0, 4).cast(pl.Int64).to_numpy(),
    }  # fmt: skip


def extreme(table: dict[str, np.ndarray]) -> np.ndarray:
    """One star or five."""
    return np.isin(table["rating"], (1.0, 5.0))


def rendered(table: Any, columns: Sequence[str]) -> np.ndarray:
    """Each row as words: the name of a column and what it holds."""
    return np.array([", ".join(f"{name} {row[name]}" for name in columns) for row in table.iter_rows(named=True)])


def adult(data: Path, seed: int) -> Scene:
    """Incomes of men under fifty; women, and people of fifty and more, are elsewhere.

    Values without their names: with them every row is nearly the same text.
    """
    import polars as pl

    table = pl.read_parquet(data / "adult_census" / "adult.parquet").sample(12_000, shuffle=True, seed=seed)
    left_out = ("class", "fnlwgt", "education-num", "capital-gain", "capital-loss", "native-country", "relationship")
    columns = [name for name in table.columns if name not in left_out]
    texts = np.array([", ".join(str(value) for value in row) for row in table.select(columns).iter_rows()])
    rows = {"text": texts, "label": _named(table["class"].is_in([">50K", ">50K."]), "over", "under")}
    man, old = (table["sex"] == "Male").to_numpy(), (table["age"] >= 50).to_numpy()
    away = {"women": ~man & ~old, "old": man & old}
    return by(rows, "adult.men", "text", man & ~old, away, (1_500, N_REFERENCE))


def electricity(data: Path, seed: int) -> Scene:
    """Up or down in the first fifth of two and a half years; later fifths are elsewhere."""
    import polars as pl

    table = pl.read_parquet(data / "electricity" / "electricity.parquet").with_row_index("at")
    table = table.with_columns(fifth=(pl.col("at") * 5 // table.height)).sample(fraction=1.0, shuffle=True, seed=seed)
    table = table.with_columns(pl.col(["nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"]).round(3))
    columns = ["period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"]
    table = table.with_columns(period=(pl.col("period") * 47).round(0).cast(pl.Int64))
    rows = {"text": rendered(table, columns), "label": _named(table["class"].cast(pl.Int64) == 1, "up", "down")}
    fifth = table["fifth"].to_numpy()
    away = {f"fifth{i + 1}": fifth == i for i in range(1, 5)}
    return by(rows, "electricity.first", "text", fifth == 0, away, (2_000, N_REFERENCE))


def bank(data: Path, seed: int) -> Scene:
    """Who subscribes, without how long the call took: 2008 to learn from, later years elsewhere."""
    import polars as pl

    table = pl.read_parquet(data / "bank_marketing" / "bank_additional_full.parquet")
    table = table.sample(fraction=1.0, shuffle=True, seed=seed)
    columns = [name for name in table.columns if name not in ("y", "duration", "row_order", "year_inferred")]
    rows = {"text": rendered(table, columns), "label": table["y"].cast(pl.String).to_numpy()}
    year = table["year_inferred"].cast(pl.Int64).to_numpy()
    away = {str(one): year == one for one in (2009, 2010)}
    return by(rows, "bank.2008", "text", year == 2008, away, (2_000, N_REFERENCE))


def checklist(data: Path, seed: int) -> Scene:
    """A model of reviews of books and kitchen things; short sentences, a capability each, are elsewhere."""
    import polars as pl

    reviews = amazon_table(data, ("books", "kitchen"), seed)
    table = pl.read_parquet(data / "checklist_sentiment" / "checklist_sentiment.parquet")
    table = table.filter(pl.col("type") == "MFT").filter(pl.col("label").cast(pl.Float64).is_in([0.0, 2.0]))
    table = table.sample(fraction=1.0, shuffle=True, seed=seed)
    home = by(reviews, "checklist", "text", np.ones(len(reviews["label"]), dtype=bool), {}, (2_000, N_REFERENCE))
    others = {}
    for (name,), part in sorted(table.group_by("capability"), key=lambda pair: str(pair[0])):
        some = part.head(N_DOMAIN)
        if some.height >= FEWEST_OF_DOMAIN:
            words = _named(some["label"].cast(pl.Float64) == 2.0, "cpositive", "cnegative")
            others[str(name)] = Part(some["text"].to_list(), words)
    return Scene(home.name, "text", home.train, home.reference, home.new.some(0, 1_000), others)


def digits(seed: int) -> Scene:
    """The 8 x 8 digits that scikit-learn brings."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(seed).permutation(len(found.target))
    images = (found.images[order] * 255 / 16).astype(np.uint8)[..., None]
    whole = Part(images, np.array([f"d{label}" for label in found.target[order]]))
    return Scene("digits", "image", whole.some(0, 300), whole.some(300, 1_000), whole.some(1_000, len(images)))


def coloured_fashion(data: Path, seed: int) -> Scene:
    """300 clothes in a colour of their own on crumpled grounds of another, for a model that is often wrong."""
    from labelfree_sets import fashion_mnist

    plain = fashion_mnist(data, seed)

    def colour(part: Part, draw: int) -> Part:
        rng, found = np.random.default_rng([seed, draw]), []
        for image in part.items:
            cloth, ground = rng.uniform(90, 255, 3), rng.uniform(0, 190, 3)
            crumple = np.kron(rng.uniform(0.3, 1.3, (7, 7)), np.ones((4, 4)))[..., None]
            share = image.astype(np.float64) / 255
            found.append(np.clip(share * cloth + (1 - share) * ground * crumple, 0, 255).astype(np.uint8))
        return Part(found, part.labels)

    parts = [colour(part, i) for i, part in enumerate((plain.train.some(0, 700), plain.reference, plain.new))]
    return Scene("fashion_mnist.coloured", "image", *parts)


def ag_news_titles(data: Path, seed: int) -> Scene:
    """Titles to learn from, descriptions elsewhere."""
    from labelfree_sets import ag_news

    return next(iter(ag_news(data, seed)))


def _named(yes: Any, word: str, other: str) -> np.ndarray:
    return np.where(np.asarray(yes.to_numpy(), dtype=bool), word, other)
