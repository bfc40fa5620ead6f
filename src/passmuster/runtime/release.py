"""A release's bundle, opened to answer: the one the release names, every byte and signature checked."""

from __future__ import annotations

from passmuster.core.errors import IntegrityError
from passmuster.core.records import Release
from passmuster.runtime.bundle import LoadedBundle, open_bundle
from passmuster.runtime.signature import check_signature
from passmuster.store import keys
from passmuster.store.store import Store


def open_release(store: Store, release: Release) -> LoadedBundle:
    """The bundle of a release. Whatever answers in its name, served, watched or asked from Python, comes by here.

    Raises
    ------
    IntegrityError
        ``bundle.*``, ``signature.*``; ``release.bundle`` when the folder holds another bundle than the release names.
    """
    bundle = open_bundle(store.bundle_folder(release.path))
    if bundle.digest != release.bundle:
        raise IntegrityError(
            "release.bundle", "the folder holds another bundle than the release names", value=bundle.digest[:16],
            limit=release.bundle[:16], where=bundle.path, next="muster verify",
        )  # fmt: skip
    check_signature(bundle, keys.public_key(store.keys_folder))
    return bundle
