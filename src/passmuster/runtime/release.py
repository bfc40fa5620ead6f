"""A bundle, opened: the one that a release names, its signature checked, or the one that the catalog means."""

from __future__ import annotations

from passmuster.core.errors import DataError, IntegrityError, MusterError, NotFoundError, UsageError
from passmuster.core.records import Bundle, Release
from passmuster.runtime.bundle import CHANGED, LoadedBundle, open_bundle
from passmuster.runtime.signature import check_signature
from passmuster.store import keys
from passmuster.store.store import Store

UNOPENED = (NotFoundError, IntegrityError, DataError, UsageError)  # what is raised by a bundle that is not what it was


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
            limit=release.bundle[:16], where=bundle.path, next=CHANGED,
        )  # fmt: skip
    check_signature(bundle, keys.public_key(store.keys_folder))
    return bundle


def why_unopened(error: MusterError) -> str:
    """What is wrong with a bundle, in a few words that name no place on a disk.

    >>> why_unopened(IntegrityError("bundle.missing_file", "a file of the bundle is not there", value="graphs/m.onnx"))
    'a file of the bundle is not there: graphs/m.onnx'
    """
    return f"{error.what}: {error.value}" if error.value is not None else error.what


def open_checked(store: Store, bundle: Bundle) -> LoadedBundle:
    """The bundle, if it is the one that the catalog means.

    Raises
    ------
    NotFoundError, IntegrityError
        As `open_bundle`; ``bundle.changed`` where the folder holds another.
    """
    loaded = open_bundle(store.bundle_folder(bundle.path))
    if loaded.digest != bundle.digest:
        raise IntegrityError(
            "bundle.changed", "the folder holds another bundle than the catalog says", value=loaded.digest[:16],
            limit=bundle.digest[:16], where=loaded.path, next=CHANGED,
        )  # fmt: skip
    return loaded


def not_as_kept(store: Store, bundle: Bundle) -> str:
    """What is wrong with the files of a bundle, "" where they are as the catalog says; its model is not started."""
    try:
        open_checked(store, bundle)
    except UNOPENED as error:
        return why_unopened(error)
    return ""
