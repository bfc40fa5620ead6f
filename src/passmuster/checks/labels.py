"""Labels: whether there are enough of them, how evenly they lie, and whether equal contents agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

from passmuster.core.label_sets import label_in_words, spelling
from passmuster.core.records import Finding

MEND = "muster label --disputed --export disputed.csv; settle the column label; then muster label disputed.csv"


def class_balance(
    train: Mapping[str, Collection[str]],
    test: Mapping[str, Collection[str]],
    *,
    n_items: int,
    max_ratio: float,
    min_labels: int,
) -> list[Finding]:
    """Findings about too few labels, one class only, rare classes, and classes that only one side knows.

    Parameters
    ----------
    train, test : classes of each labelled item, by item key: one, or as many as it carries
    n_items : kept items, labelled or not
    max_ratio : of the largest class's number of training labels to the smallest's, worth a warning
    min_labels : training labels per class below which learning has little to go by
    """
    counts = Counter(name for names in train.values() for name in names)
    tested = Counter(name for names in test.values() for name in names)
    evidence = {"train": dict(sorted(counts.items())), "test": dict(sorted(tested.items()))}
    found = []

    def warn(title: str, remedy: str, items: Sequence[str] = ()) -> None:
        found.append(Finding("class_balance", "warning", title, tuple(items), evidence, remedy))

    more = "muster label --export todo.csv --for train"
    if not train:
        warn(f"none of {n_items:,} items has a training label", more)
        return found
    if len({frozenset(names) for names in train.values()}) == 1:
        said = " + ".join(map(repr, sorted(counts))) or "that no class fits"
        warn(f"all {len(train):,} training labels are {said}", more, list(train))
    if not counts:
        return found
    few = sorted(c for c, n in counts.items() if n < min_labels)
    if few and len(counts) > 1:
        kept = [key for key, names in train.items() if not set(few).isdisjoint(names)]
        warn(_classes(few, f"fewer than {min_labels} training labels"), more, kept)
    largest, smallest = max(counts.values()), min(counts.values())
    if largest > max_ratio * smallest:
        big, small = counts.most_common()[0][0], counts.most_common()[-1][0]
        title = f"classes are uneven: {largest:,} labels of {big!r}, {smallest:,} of {small!r}"
        warn(title, "look at macro-F1 and the rare classes' recall, not at accuracy alone")
    if unknown := sorted(set(tested) - set(counts)):
        kept = [key for key, names in test.items() if not set(unknown).isdisjoint(names)]
        warn(_classes(unknown, "test labels but no training label"), more, kept)
    if test and (untested := sorted(set(counts) - set(tested))):
        warn(_classes(untested, "no test label"), "muster label --export todo.csv --for test")
    return found


def alike_classes(classes: Mapping[str, Collection[str]]) -> list[Finding]:
    """Findings about classes whose names differ only in case, spaces, hyphens or width: mostly one class, twice.

    Parameters
    ----------
    classes : classes of each labelled item, by item key. Items of the rarer names are those of the finding.

    >>> alike_classes({"a": ["ham"], "b": ["ham"], "c": ["Ham"]})[0].items
    ('c',)
    """
    counts = Counter(name for names in classes.values() for name in names)
    alike = defaultdict(list)
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        alike[spelling(name)].append(name)
    found = []
    for first, *rest in (names for names in alike.values() if len(names) > 1):
        shown = ", ".join(f"{name!r} ({counts[name]:,})" for name in (first, *rest))
        keys = tuple(key for key, names in classes.items() if not set(rest).isdisjoint(names))
        title = f"{1 + len(rest)} classes have nearly the same name: {shown}"
        found.append(Finding("class_names", "warning", title, keys, {n: counts[n] for n in (first, *rest)}, MEND))
    return found


def _classes(names: Sequence[str], what: str) -> str:
    shown = ", ".join(repr(n) for n in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{len(names)} {'classes have' if len(names) > 1 else 'class has'} {what} ({shown})"


def label_conflicts(contents: Sequence[int], labels: Sequence[str | None], keys: Sequence[str]) -> list[Finding]:
    """A finding about items of equal content (equal numbers) that carry different labels.

    >>> label_conflicts([0, 0], ["spam", "ham"], ["a", "b"])[0].items
    ('a', 'b')
    """
    seen: dict[int, dict[str, str]] = defaultdict(dict)
    for content, label, key in zip(contents, labels, keys, strict=True):
        if label is not None:
            seen[content].setdefault(label, key)
    conflicts = [by_label for by_label in seen.values() if len(by_label) > 1]
    if not conflicts:
        return []
    pairs = [(next(iter(c.items())), other) for c in conflicts for other in list(c.items())[1:]]
    n = len(conflicts)
    title = f"{n:,} {'contents carry' if n > 1 else 'content carries'} more than one label"
    evidence = {"n_pairs": len(pairs), "labels": [[a[0], b[0]] for a, b in pairs]}
    items = tuple(key for a, b in pairs for key in (a[1], b[1]))
    return [Finding("label_conflict", "warning", title, items, evidence, MEND)]


def near_conflicts(pairs: Sequence[tuple[str, str]], labels: Mapping[str, str]) -> list[Finding]:
    """A finding about near-copies (pairs of item keys) that carry different labels.

    >>> near_conflicts([("a", "b"), ("a", "c")], {"a": "spam", "b": "ham", "c": "spam"})[0].items
    ('a', 'b')
    """
    apart = [(a, b) for a, b in pairs if a in labels and b in labels and labels[a] != labels[b]]
    if not apart:
        return []
    n, (a, b) = len(apart), apart[0]
    what = "pairs of near-copies carry" if n > 1 else "pair of near-copies carries"
    title = f"{n:,} {what} different labels ({labels[a]!r} and {labels[b]!r}{', …' if n > 1 else ''})"
    evidence = {"n_pairs": n, "labels": [[labels[a], labels[b]] for a, b in apart]}
    return [Finding("near_conflict", "warning", title, tuple(key for pair in apart for key in pair), evidence, MEND)]


def label_disagreements(said: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """A finding about items that people label differently, with who said what.

    Parameters
    ----------
    said : item key to each person's latest label, the latest speaker last

    >>> label_disagreements({"k": {"ana": "spam", "ben": "ham"}})[0].title
    '1 item has labels that contradict each other (ana: spam, ben: ham); the latest counts'
    """
    split = {key: dict(by) for key, by in said.items() if len(set(by.values())) > 1}
    if not split:
        return []
    shown = ", ".join(
        f"{who or 'somebody'}: {label_in_words(label)}" for who, label in next(iter(split.values())).items()
    )
    n = len(split)
    what = "items have labels" if n > 1 else "item has labels"
    title = f"{n:,} {what} that contradict each other ({shown}{', …' if n > 1 else ''}); the latest counts"
    evidence = {"said": [[key, by] for key, by in split.items()]}
    return [Finding("label_disagreement", "warning", title, tuple(split), evidence, MEND)]
