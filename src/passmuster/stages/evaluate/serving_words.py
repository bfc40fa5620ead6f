"""What serving takes, in words: in which respects one of two models is surely better, and what decides the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from passmuster.core.cost import money
from passmuster.metrics.aa_noise import noise_bound

APART = 1.2  # times and prices closer than this factor are alike: they are measured, and wobble
APART_AT_OTHER_MOMENTS = 2.0  # of seconds that were not taken in turn, as an endpoint's are
OURS, LIVE = "this model", "the live release"


def time_words(seconds: float) -> str:
    """
    >>> time_words(0.00042), time_words(0.0123), time_words(2.5)
    ('0.42 ms', '12 ms', '2.5 s')
    """
    if seconds >= 1:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    ms = 1000 * seconds
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.2g} ms"


def latency_words(row: Mapping[str, Any]) -> str:
    """
    >>> latency_words({"latency": {"median_s": 0.012, "p95_s": 0.02, "n": 40}})
    '12 ms at the median, 95 of 100 within 20 ms'
    >>> latency_words({"latency": None})
    'not timed'
    """
    found = row["latency"]
    if not found:
        return "not timed"
    return f"{time_words(found['median_s'])} at the median, 95 of 100 within {time_words(found['p95_s'])}"


def price_words(row: Mapping[str, Any]) -> str:
    """
    >>> price_words({"per_million": 40.0, "currency": "EUR"}), price_words({"per_million": None, "currency": "EUR"})
    ('40.00 EUR', 'not known: its owner named no price')
    """
    if row["per_million"] is None:
        return "not known: its owner named no price" if row.get("host") or not row.get("latency") else "not known"
    return f"{money(row['per_million'])} {row['currency']}"


def place_words(row: Mapping[str, Any]) -> str:
    """
    >>> place_words({"host": ""})
    'nowhere: they stay in the process that serves'
    >>> place_words({"host": "api.example.org", "leaves": True})
    'api.example.org, another machine'
    """
    if not row["host"]:
        return "nowhere: they stay in the process that serves"
    return f"{row['host']}, {'another machine' if row['leaves'] else 'on this machine'}"


def how_measured(row: Mapping[str, Any]) -> str:
    """On what the seconds and the price of a row rest."""
    found = row["latency"]
    if row["host"]:
        if not found:
            return "it was not asked for this report, and is not asked only to be timed; the price is as declared"
        many = f" of up to {row['per_request']} items" if row["per_request"] > 1 else ""
        return (
            f"seconds of the {found['n']:,} answers that were asked for anyway{many}, from {row['machine']}, network "
            f"included, up to {row['under_way']} requests at a time; the price is as declared"
        )
    return (
        f"{found['n'] if found else 0:,} answers, one at a time, from the decoded item on, on {row['machine']}; the "
        "price is that of the same machine, busy all the time ([cost] in muster.toml)"
    )


def better(
    rows: Sequence[Mapping[str, Any]], difference: Any, mce: Any, noise: float = 0.0
) -> tuple[list[str], list[str]]:
    """In what each of the two is surely better; `difference` and `mce` are metrics of the report, or None.

    A difference no larger than the A/A `noise` bound is none that could be told from noise, and is called so.
    """
    found: tuple[list[str], list[str]] = [], []
    ours, live = rows

    def note(words: str, wins: bool, loses: bool) -> None:
        for its, does in zip(found, (wins, loses), strict=True):
            if does:
                its.append(words)

    if difference is not None:
        within = " (by no more than the A/A noise bound)" if abs(difference.value) <= noise else ""
        note(f"more often right{within}", difference.low > 0, difference.high < 0)
    if mce is not None:
        note("more often right under natural faults", mce.high < 1, mce.low > 1)
    mine, theirs = ours["latency"], live["latency"]
    if mine and theirs:
        least = APART_AT_OTHER_MOMENTS if ours["host"] or live["host"] else APART
        sure = mine["high_s"] < theirs["low_s"], theirs["high_s"] < mine["low_s"]
        ratio = theirs["median_s"] / max(mine["median_s"], 1e-9)
        note("quicker", sure[0] and ratio > least, sure[1] and ratio < 1 / least)
    a, b = ours["per_million"], live["per_million"]
    if a is not None and b is not None:
        note("cheaper", b > APART * a, a > APART * b)
    note("sends no item to another machine", live["leaves"] and not ours["leaves"], ours["leaves"] > live["leaves"])
    return found


def which_words(
    rows: Sequence[Mapping[str, Any]],
    difference: Any,
    mce: Any,
    names: Sequence[str] = (OURS, LIVE),
    noise: float = 0.0,
) -> list[str]:
    """What speaks for each of the two, by their `names`, and whether the test tells which is more often right."""
    found = better(rows, difference, mce, noise)
    lines = [f"What speaks for {name}: it is {listed(said)}." for name, said in zip(names, found, strict=True) if said]
    if difference is not None and difference.low <= 0 <= difference.high:
        lines.append("Which of the two is more often right, this test cannot tell.")
    return [line.replace("it is sends", "it sends").replace("and sends", "and it sends") for line in lines]


def listed(words: list[str]) -> str:
    """
    >>> listed(["quicker"]), listed(["quicker", "cheaper", "sends no item to another machine"])
    ('quicker', 'quicker, cheaper and sends no item to another machine')
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def break_even_words(section: Mapping[str, Any]) -> str:
    """At how many answers a month what is paid for each costs as much as a machine that is always on; "" else.

    >>> rows = [{"host": name, "per_million": price, "currency": "EUR"} for name, price in (("", 0.1), ("a", 40))]
    >>> break_even_words({"rows": rows, "always_on": 58.4})
    'A machine like this one, always on, costs 58.40 EUR a month; paid for each, 1,460,000 answers cost as much.'
    """
    bought = [row for row in section["rows"] if row["host"] and row["per_million"]]
    here = [row for row in section["rows"] if not row["host"]]
    if not bought or not here or not section["always_on"]:
        return ""
    n = section["always_on"] / bought[0]["per_million"] * 1e6
    month = f"{money(section['always_on'])} {bought[0]['currency']}"
    return f"A machine like this one, always on, costs {month} a month; paid for each, {n:,.0f} answers cost as much."


def beside_lines(
    rows: Sequence[Mapping[str, Any]], difference: Any, names: Sequence[str], noise: float = 0.0
) -> Iterator[str]:
    """Seconds, money and place of two bundles, and what speaks for each."""
    a, b = rows
    yield f"an answer: {names[0]} takes {latency_words(a)}; {names[1]} takes {latency_words(b)}"
    yield f"a million answers: {names[0]} {price_words(a)}; {names[1]} {price_words(b)}"
    if a["host"] or b["host"]:
        yield f"items go to: {names[0]}, {place_words(a)}; {names[1]}, {place_words(b)}"
    yield from which_words(rows, difference, None, names, noise)


def serving_lines(report: Any) -> Iterator[str]:
    """A line or two for the terminal."""
    section = report.sections.get("serving")
    if not section:
        return
    ours, *live = section["rows"]
    if not live:
        goes = f"; items go to {place_words(ours)}" if ours["host"] else ""
        yield f"an answer takes {latency_words(ours)}; a million cost {price_words(ours)}{goes}"
        return
    yield (
        f"beside the live release: an answer takes {latency_words(ours)}, against {latency_words(live[0])}; a million "
        f"cost {price_words(ours)}, against {price_words(live[0])}"
    )
    told = report.metric("accuracy_difference"), report.metric("mce")
    for line in which_words(section["rows"], *told, noise=noise_bound(report) or 0.0):
        yield f"  {line}"
