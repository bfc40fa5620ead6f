"""What the test set remembers: who learned from copies of it, how often it was looked at, and what that costs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from passmuster.core.progress import Progress
from passmuster.core.records import Bundle, Item
from passmuster.core.statistics import cost_of_looks
from passmuster.metrics.gates.thresholds import decided, loosened
from passmuster.runtime.predictor import Predictor
from passmuster.stages.evaluate.draft import Draft, Evidence
from passmuster.stages.evaluate.gather import learned_from, read_payloads
from passmuster.store import ledger
from passmuster.store.items import known_keys, read_items
from passmuster.store.releases import read_bundles
from passmuster.store.seal import count_looks
from passmuster.store.snapshots import read_placement, read_snapshot
from passmuster.store.store import Store

MAX_COMPARED = 10_000  # test items and items no longer in the dataset, beyond which near-copies of the latter stay open


@dataclass(frozen=True)
class Contamination:
    """Test items that one bundle knows: themselves, as exact copies, or as near-copies. `unchecked` items it learned
    from were not searched for near-copies, because there are too many of them or nothing of them is left."""

    bundle: str
    role: str
    same: frozenset[str]
    copies: frozenset[str]
    near: frozenset[str]
    n_learned: int
    unchecked: int

    @property
    def keys(self) -> frozenset[str]:
        """All of them."""
        return self.same | self.copies | self.near


def measure_memory(
    store: Store, draft: Draft, bundle: Bundle, incumbent: Bundle | None, predictor: Predictor, evidence: Evidence,
    *, progress: Progress,
) -> list[Contamination]:  # fmt: skip
    """Write section ``memory``: contamination of this bundle and of each that was ever live, and what looks cost."""
    found = contaminations(store, bundle, incumbent, predictor, evidence.items, progress=progress)
    with store.read() as db:
        n_looks = max(1.0, count_looks(db, evidence.snapshot.digest, evidence.created))
        history = decided(ledger.read(db, kind="release.sign"))
    n = len(evidence.items)
    fixed, adaptive = cost_of_looks(n, n_looks)
    draft.sections["memory"] = {
        "looks": n_looks,
        "n": n,
        "max_looks": store.config.policy.max_looks,
        "extra_if_fixed": fixed,
        "extra_if_adaptive": adaptive,
        "loosened": loosened(history, store.config.policy),
        "contamination": [
            {
                "bundle": one.bundle, "role": one.role, "n_same": len(one.same), "n_copies": len(one.copies),
                "n_near": len(one.near), "n_learned": one.n_learned, "n_unchecked": one.unchecked,
                "items": draft.add_set(f"known to {one.bundle[:12]}", [k for k in evidence.keys if k in one.keys]),
            }
            for one in found
        ],
    }  # fmt: skip
    return found


def contaminations(
    store: Store, bundle: Bundle, incumbent: Bundle | None, predictor: Predictor, items: Sequence[Item],
    *, progress: Progress,
) -> list[Contamination]:  # fmt: skip
    """For the bundle, and for each that was ever live: which of the test `items` it knows."""
    with store.read() as db:
        were_live = {
            str(event.payload.get("bundle"))
            for event in ledger.read(db, kind="release.approve")
            if event.payload.get("channel") == "live"
        }
        digests = known_keys(db)
        known = [b for b in read_bundles(db) if b.digest in were_live or (incumbent and b.digest == incumbent.digest)]
    models = [("candidate", bundle), *((role_of(b, incumbent), b) for b in known if b.digest != bundle.digest)]
    learned = {b.digest: learned_from(store, b) for _, b in models}
    every = frozenset().union(*learned.values())
    twins, unchecked = near_copies(store, predictor, items, every, digests, progress=progress)
    found = []
    for role, one in models:
        keys = learned[one.digest]
        contents = {digests[key] for key in keys if key in digests}
        same = frozenset(item.key for item in items if item.key in keys)
        copies = frozenset(item.key for item in items if item.digest in contents) - same
        near = frozenset(test for test, others in twins.items() if others & keys) - same - copies
        found.append(Contamination(one.digest, role, same, copies, near, len(keys), len(unchecked & keys)))
    return found


def role_of(bundle: Bundle, incumbent: Bundle | None) -> str:
    """The live release, or one that was live before."""
    return "incumbent" if incumbent is not None and bundle.digest == incumbent.digest else "earlier"


def near_copies(
    store: Store, predictor: Predictor, items: Sequence[Item], learned: Collection[str], digests: dict[str, str],
    *, progress: Progress,
) -> tuple[dict[str, set[str]], frozenset[str]]:  # fmt: skip
    """Test key to the learned keys that are near-copies of it; and learned keys that were not searched.

    What is in the dataset version was searched when it was added: only groups that it found have to be looked through
    again. What has left the dataset since is held against the whole test.
    """
    with store.read() as db:
        placed = read_placement(db, read_snapshot(db))
        gone = [key for key in learned if key not in placed]
        groups = {placed[item.key][1] for item in items if item.key in placed} - {""}
        beside = [key for key in learned if key in placed and placed[key][1] in groups]
        others = {item.key: item for item in read_items(db, keys=[*gone, *beside])}
    missing = frozenset(key for key in gone if key not in others or not others[key].blob)
    tests = [item for item in items if item.blob]
    if not gone:
        tests = [item for item in tests if placed.get(item.key, ("", ""))[1] in groups]
    rest = [item for key, item in others.items() if item.blob]
    if not tests or not rest:
        return {}, missing
    if len(tests) + len(rest) > MAX_COMPARED:
        progress.say(f"{len(gone):,} items that earlier models learned from are too many to search for near-copies")
        return {}, frozenset(gone)
    pool = [*tests, *rest]
    pairs = predictor.modality.find_twins(
        list(read_payloads(store, predictor, pool)), store.config.data.near_duplicate_similarity
    )
    twins: dict[str, set[str]] = {}
    own = {item.key for item in tests}
    for pair in pairs:
        for a, b in ((pool[pair.a].key, pool[pair.b].key), (pool[pair.b].key, pool[pair.a].key)):
            if a in own and b not in own:
                twins.setdefault(a, set()).add(b)
    return twins, missing


def memory_lines(section: dict[str, Any]) -> list[str]:
    """What the section says, in plain words; nothing where there is nothing to say."""
    lines = list(section.get("loosened", ()))
    for one in section["contamination"]:
        n = one["n_same"] + one["n_copies"] + one["n_near"]
        who = {"candidate": "this model", "incumbent": "the live release"}.get(
            one["role"], f"{one['bundle'][:8]}, live before,"
        )
        if n:
            lines.append(
                f"{who} knows {n:,} of {section['n']:,} test items: {one['n_same']:,} themselves, {one['n_copies']:,} "
                f"as exact copies, {one['n_near']:,} as near-copies"
            )
        if one["n_unchecked"]:
            lines.append(f"of {one['n_unchecked']:,} items that {who} learned from, near-copies were not searched for")
    if section["looks"] > 1.01:
        lines.append(
            f"{section['looks']:.3g} looks at these {section['n']:,} labels: the best of them may flatter accuracy by "
            f"{100 * section['extra_if_fixed']:.1f} points more than a first look may; by up to "
            f"{100 * section['extra_if_adaptive']:.0f} if each model was made to please the last score"
        )
    return lines
