"""The Python API: a project whose methods are the verbs of the command line. Thin: every method is one call down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passmuster.core.config_file import find_project
from passmuster.core.progress import Progress, check_progress
from passmuster.store.store import Store

if TYPE_CHECKING:
    from passmuster.core.records import Channel, Finding, Incident, Prediction, Report, Role
    from passmuster.flows.audit import AuditResult
    from passmuster.flows.clean import Leftover
    from passmuster.flows.cost import Lifetime, RunCost
    from passmuster.flows.cost_beside import Beside
    from passmuster.flows.diff import DiffResult
    from passmuster.flows.drill import DrillResult
    from passmuster.flows.opened import Opened
    from passmuster.flows.release import ReleaseResult
    from passmuster.flows.release_plan import ReleasePlan
    from passmuster.flows.status import ProjectStatus
    from passmuster.flows.verify import Verification
    from passmuster.runtime.predictor import Predictor
    from passmuster.stages.evaluate import EvaluateResult
    from passmuster.stages.govern import AddResult, LabelResult
    from passmuster.stages.importing import ImportResult
    from passmuster.stages.serve.server import Serving
    from passmuster.stages.train import TrainResult
    from passmuster.stages.watch import InputShown, Notice


class Project:
    """A folder with a ``muster.toml``. Make one with `Project.init`, open one with `Project.open`.

    Errors are `passmuster.core.errors.MusterError`, the same as the command's, with `code` and `next`.

    Examples
    --------
    >>> import tempfile
    >>> project = Project.init(Path(tempfile.mkdtemp()) / "reviews", modality="text")
    >>> project
    Project('reviews', modality='text')
    >>> project.verify().whole
    True
    """

    def __init__(self, store: Store, *, progress: Progress | None = None) -> None:
        self.store, self.progress = store, check_progress(progress)

    @cached_property
    def _opened(self) -> Opened:
        from passmuster.flows.opened import Opened

        return Opened(self.store)

    @classmethod
    def init(
        cls, folder: str | Path, *, modality: str = "", task: str = "", name: str = "", progress: Progress | None = None
    ) -> Project:
        """Make a project, or open the one that is there; without a modality, what most files in `folder` are.

        `progress` is shown how far long work has come (`passmuster.core.progress.Progress`); nobody is, when None.
        """
        from passmuster.stages.govern import init

        progress = check_progress(progress)
        return cls(init(Path(folder), name=name, modality=modality, task=task), progress=progress)

    @classmethod
    def open(
        cls, folder: str | Path = ".", *, overrides: Mapping[str, Any] | None = None, progress: Progress | None = None
    ) -> Project:
        """Open the project in `folder` or above it; `overrides` are configuration keys, ``{"serve.port": 0}``."""
        return cls(Store.open(find_project(Path(folder)), overrides=dict(overrides or {})), progress=progress)

    def __repr__(self) -> str:
        config = self.store.config.project
        return f"Project({config.name!r}, modality={config.modality!r})"

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self.store.close()

    def status(self, *, n_shown: int = 10) -> ProjectStatus:
        """Where the project stands: data, labels, looks, bundles, channels, incidents, and the next command."""
        from passmuster.flows.status import project_status

        return project_status(self.store, n_shown=n_shown)

    # --- data

    def add(
        self,
        given: str | Path | Iterable[Any] | Any,
        *,
        labels: str | Path | None = None,
        unlabeled: bool = False,
        copies: bool = False,
        dry_run: bool = False,
        name: str = "values",
    ) -> AddResult:
        """Take items in: a path (folder, table or one item), or values that are at hand.

        Parameters
        ----------
        given : path, iterable or data frame
            A `str` is always a path. Values are texts; of an image project uint8 arrays ``(h, w)``, ``(h, w, 1 or 3)``,
            Pillow images, or bytes or paths of image files; or pairs of an item and its label; or mappings from column
            to cell, whose columns mean what they mean in a table (``text`` or ``image``, ``label``, ``id``, ``split``,
            ``subject``, ``time``, and the configured group columns); or a data frame: pandas, polars, Arrow, a Hugging
            Face dataset. A generator is never held in memory: a million rows are a temporary file in the project.
        labels : a table of labels by id or path; folder names and columns then give none
        unlabeled : take no labels at all
        copies : take items in though nearly all of them repeat what is there
        dry_run : read and count, write nothing
        name : what ids of values without one begin with, as a table's ids begin with its name

        Raises
        ------
        UsageError
            ``add.values`` for what is neither a path nor rows.
        DataError
            ``data.*``, ``label.*``: nothing was added. ``data.copies`` where nearly all items repeat what is there.
            A row that cannot be used is no error: it is counted in `AddResult.n_quarantined`, with its number.

        Examples
        --------
        >>> import tempfile
        >>> project = Project.init(Path(tempfile.mkdtemp()) / "reviews", modality="text")
        >>> added = project.add([{"id": "r1", "text": "arrived broken", "label": "bad"}, {"id": "r2", "text": ""}])
        >>> added.n_kept, added.examples
        (1, (('values[1]', 'item.empty: the text is empty'),))
        """
        from passmuster.stages.govern import Values, add

        return add(
            self.store,
            Path(given) if isinstance(given, (str, PathLike)) else Values(given, name),
            labels=None if labels is None else Path(labels),
            unlabeled=unlabeled,
            copies=copies,
            dry_run=dry_run,
            progress=self.progress,
        )

    def label(
        self,
        labels: str | Path | Mapping[str, Any] | Iterable[Any] | Any,
        *,
        role: Role | None = None,
        who: str = "",
        dry_run: bool = False,
    ) -> LabelResult:
        """Record labels of items that are in the project.

        Parameters
        ----------
        labels : path, mapping, iterable or data frame
            A table's path; item id to label (of a multi-label project: to its classes, a list or set); pairs of id and
            label; or mappings with ``id``, ``label`` and, where they say, ``role``, ``who``, ``weight``. A label is
            read as a table's cell is: 3 is "3", None is no label.
        role : "train", "test" (evidence), or None: the item's split
        who : who labelled; the present user when empty

        Raises
        ------
        UsageError
            ``label.role``; ``label.values`` for what is none of the above.
        DataError
            ``label.*``, naming the row; nothing was recorded.

        Examples
        --------
        >>> import tempfile
        >>> project = Project.init(Path(tempfile.mkdtemp()) / "reviews", modality="text")
        >>> _ = project.add({"id": f"r{i}", "text": f"review number {i}"} for i in range(9))
        >>> sum(project.label([("r1", "good"), ("r2", "bad")]).n_new.values())
        2
        """
        from passmuster.stages.govern import add_labels
        from passmuster.stages.govern.label_values import label_rows

        is_path = isinstance(labels, (str, PathLike))
        rows = Path(str(labels)) if is_path else label_rows(labels, self.store.config)
        return add_labels(self.store, rows, role=role, who=who, dry_run=dry_run)

    def ask(self, path: str | Path, *, n: int = 40, role: Role = "train") -> int:
        """Write a table of `n` items whose labels are wanted next; returns how many there are.

        `role` is "train" (what teaches most) or "test" (what is evidence); `UsageError` ``label.role`` for another.
        """
        from passmuster.flows.label_export import export_labels

        return export_labels(self.store, Path(path), n=n, role=role)

    def check(self) -> list[Finding]:
        """What is wrong with the data, computed anew."""
        from passmuster.stages.govern import check

        return check(self.store, progress=self.progress)

    # --- model

    def train(self, *, time: str | float = "", seed: int | None = None) -> TrainResult:
        """Learn within a budget: "10m", or a number of seconds; the configuration's (``train.time``) when empty.

        Raises
        ------
        UsageError
            ``budget.duration``.
        BudgetError
            The cheapest way does not fit.
        """
        from passmuster.core.budget import parse_duration_s
        from passmuster.flows.answers import pin_answers
        from passmuster.stages.train import train

        pin_answers(self.store, self.progress)
        config = self.store.config.train
        return train(
            self.store,
            budget_s=parse_duration_s(config.time if time == "" else time),
            seed=config.seed if seed is None else seed,
            progress=self.progress,
        )

    def import_model(
        self,
        path: str | Path,
        *,
        preprocess: str | Sequence[str] = (),
        labels: str | Sequence[str] = "",
        output: str = "",
        scores: str = "",
        embedding: str = "",
        calibrate: bool = False,
        accept_classes: bool = False,
        expect: str | Path | None = None,
        learnt_from: str | Path | None = None,
    ) -> ImportResult:
        """Bring in an ONNX file or a folder as a bundle: ``preprocess=["tokenizer=tokenizer.json", "max_tokens=128"]``.

        `labels` are the classes in the order of the model's scores, where its file does not name them.
        """
        from passmuster.flows.answers import pin_answers
        from passmuster.stages.importing import import_model

        pin_answers(self.store, self.progress)
        return import_model(
            self.store,
            Path(path),
            preprocess=[preprocess] if isinstance(preprocess, str) else preprocess,
            labels=labels,
            output=output,
            scores=scores,
            embedding=embedding,
            calibrate=calibrate,
            accept_classes=accept_classes,
            expect=None if expect is None else Path(expect),
            learnt_from=None if learnt_from is None else Path(learnt_from),
            progress=self.progress,
        )

    def import_endpoint(
        self,
        named: str,
        *,
        model: str = "",
        prompt: str = "",
        key_variable: str = "",
        labels: str | Sequence[str] = "",
        calibrate: bool = False,
        accept_classes: bool = False,
        n_asked: int = 200,
    ) -> ImportResult:
        """Bring in a model that is asked over HTTP: ``"https://host/v1", model="name"``, or a TOML file of how."""
        from passmuster.flows.answers import pin_answers
        from passmuster.stages.importing import import_endpoint

        pin_answers(self.store, self.progress)
        return import_endpoint(
            self.store, named, model=model, prompt=prompt, key_variable=key_variable, labels=labels,
            calibrate=calibrate, accept_classes=accept_classes, n_asked=n_asked, progress=self.progress,
        )  # fmt: skip

    def cost(self, run: str = "") -> RunCost:
        """What a training took and cost (the latest when empty): seconds, memory, energy, money."""
        from passmuster.flows.cost import run_cost

        return run_cost(self.store, run)

    def lifetime(self, run: str = "", *, volume: str = "", months: float = 0.0) -> Lifetime:
        """What every candidate of a training would cost for a volume such as "1m/month", and which to serve."""
        from passmuster.flows.cost import lifetime

        return lifetime(self.store, run, volume=volume, months=months)

    def beside(self, bundle: str = "", *, volume: str = "") -> Beside:
        """What every bundle takes to serve, or one of them: right, seconds of an answer, money, where items go.

        Imported models and endpoints are among them. No test label is read, and no endpoint is asked.
        """
        from passmuster.flows.cost_beside import beside

        return beside(self.store, bundle, volume=volume)

    def evaluate(
        self,
        bundle: str = "",
        *,
        novel: str | Path | Sequence[str | Path] | Mapping[str, str | Path] | None = None,
        unlabelled: str | Path | None = None,
        corruptions: Sequence[str] | None = None,
        n_attacked: int | None = None,
    ) -> EvaluateResult:
        """Measure a bundle (the latest when empty) on the sealed test; the opening is recorded, and counts.

        `novel` are items strange to the model: a path, or sets by name, ``{"near": "a.csv", "far": "b.csv"}``, each
        measured by itself. `corruptions` stands for ``[evaluate] corruptions``: names, ``"all"``,
        ``"faults.py:function"``.
        """
        from passmuster.stages.evaluate import evaluate

        apart = None if unlabelled is None else Path(unlabelled)
        return evaluate(
            self.store, bundle, novel=novel, unlabelled=apart, corruptions=corruptions, n_attacked=n_attacked,
            progress=self.progress,
        )  # fmt: skip

    def report(self, bundle: str = "") -> Report:
        """The latest report on a bundle (digest, or how that begins); of all reports, the latest, when empty.

        ``report.metric("accuracy")`` is a `Metric` with `value`, `low`, `high` and `n`, or None. Nothing is measured,
        and no look at the test is spent.

        Raises
        ------
        NotFoundError
            ``report.none``, ``bundle.none``.
        """
        from passmuster.store.releases import find_report

        with self.store.read() as db:
            return find_report(db, bundle)

    def release(self, bundle: str = "") -> ReleaseResult:
        """Evaluate where needed, judge by the policy, sign. HOLD and INSUFFICIENT are answers, not errors."""
        from passmuster.flows.release import release

        return release(self.store, bundle, progress=self.progress)

    def release_plan(self, bundle: str = "") -> ReleasePlan:
        """Before any look: what each gate can tell of a bundle, and how many labels would decide; reads no label.

        ``found.plan.n_together`` labels would probably bring SHIP; None where no number is known to.

        Raises
        ------
        NotFoundError
            ``bundle.none``, ``snapshot.none``.
        """
        from passmuster.flows.release_plan import plan_release

        return plan_release(self.store, bundle, progress=self.progress)

    def predictor(self, channel: str = "live") -> Predictor:
        """What answers on `channel`: bytes and signature checked, and kept open until the channel points elsewhere.

        Its `classes` are the order of `Prediction.probabilities`; its `predict` takes payloads without a further check.

        Raises
        ------
        NotFoundError
            ``channel.none``.
        IntegrityError
            ``bundle.*``, ``signature.*``.
        """
        return self._opened.predictor(channel)[0]

    def predict(self, items: Iterable[Any], *, channel: str = "live") -> list[Prediction]:
        """Answer as the release behind `channel` would.

        Parameters
        ----------
        items : iterable
            Texts; or images as uint8 arrays ``(h, w)``, ``(h, w, 1)`` or ``(h, w, 3)``, Pillow images, or paths or
            bytes of image files. The rules are the server's (``data.max_text_chars``, no empty text).

        Returns
        -------
        list of Prediction
            One per item; its `probabilities` follow ``project.predictor().classes``.

        Raises
        ------
        UsageError
            ``predict.items`` for one item or a data frame where a list of items was meant: ``list(frame["text"])``.
        DataError
            ``item.*``, naming ``items[i]``; no item was answered.
        NotFoundError
            ``channel.none``.

        Examples
        --------
        ``{p.label: p.probability for p in project.predict(["It arrived broken."])}``, and for every class
        ``dict(zip(project.predictor().classes, p.probabilities))``.
        """
        return self._opened.predict(items, channel)

    # --- service

    def approve(
        self,
        release: str = "",
        *,
        channel: str = "live",
        override: str = "",
        provisional: bool = False,
        share: float | None = None,
    ) -> Channel:
        """Point a channel at a release that has earned it, or by a recorded exception."""
        from passmuster.stages.release import approve

        return approve(self.store, release, channel=channel, override=override, provisional=provisional, share=share)

    def rollback(self, channel: str = "live", *, reason: str, to: str = "", withdraw: bool = False) -> Channel:
        """Point a channel back, for a recorded reason; with `withdraw`, at nothing."""
        from passmuster.stages.release import rollback

        return rollback(self.store, channel, reason=reason, to=to, withdraw=withdraw)

    def serve(
        self,
        *,
        host: str | None = None,
        port: int | None = None,
        on_ready: Callable[[Serving], None] = lambda serving: None,
    ) -> None:
        """Serve the live release over HTTP until SIGTERM or SIGINT. To go on meanwhile, see `in_service`."""
        from passmuster.stages.serve.server import serve

        serve(self.store, host=host, port=port, on_ready=on_ready)

    def watch(self, *, interval_s: float = 1.0, stop: threading.Event | None = None) -> Iterator[Notice]:
        """Watch the traffic until `stop` is set; yields what changes, as it changes."""
        from passmuster.stages.watch import watch

        return watch(self.store, interval_s=interval_s, stop=stop or threading.Event())

    def in_service(self, *, port: int = 0) -> AbstractContextManager[str]:
        """A context in which the live release is served and watched, by processes of their own; gives the address."""
        from passmuster.flows.lifecycle import in_service

        return in_service(self.store, port=port)

    # --- care

    def incidents(self) -> list[Incident]:
        """Every incident, latest first."""
        from passmuster.store.incidents import read_incidents

        with self.store.read() as db:
            return read_incidents(db)

    def incident_inputs(self, incident: str) -> list[InputShown]:
        """What was asked and answered behind an incident (its id, or how that begins), with labels that came since.

        A record's `input` is its bytes as the modality keeps them (a text's UTF-8, an image's PNG), None once erased.
        """
        from passmuster.stages.watch import inputs_of
        from passmuster.stages.watch.resolve import find_incident

        with self.store.read() as db:
            found = find_incident(db, incident)
        return list(inputs_of(self.store, found))

    def resolve(self, incident: str, *, note: str) -> tuple[Incident, Channel | None]:
        """Close an incident (its id, or how that begins) for a recorded reason; its channel goes back to normal.

        Returns the closed incident, and the channel where that moved.

        Raises
        ------
        NotFoundError
            ``incident.none``.
        UsageError
            ``incident.note`` without a note, ``incident.closed``, ``incident.ambiguous``.
        """
        from passmuster.stages.watch import resolve_incident

        return resolve_incident(self.store, incident, note=note)

    def clean(self, *, remove: bool = False) -> list[Leftover]:
        """What nothing needs any more and how much it takes; with `remove` it goes, in one recorded act."""
        from passmuster.flows.clean import clean, find_leftovers

        return clean(self.store) if remove else find_leftovers(self.store)

    def diff(
        self, new: str = "", old: str = "", *, items: str | Path | None = None, labels: bool = False,
        mapped: Mapping[str, str] | None = None,
    ) -> DiffResult:  # fmt: skip
        """Every decision that changes from bundle `old` (the live one when empty) to `new` (the latest when empty).

        `mapped` gives a class of the old bundle the name that it has in the new one; ``{"complaint": "complaints"}``.
        """
        from passmuster.flows.diff import compare_bundles

        given = None if items is None else Path(items)
        return compare_bundles(
            self.store, new, old, items=given, labels=labels, mapped=mapped, progress=self.progress
        )  # fmt: skip

    def audit(self, *, advisories: str | Path | None = None, again: bool = False) -> AuditResult:
        """The live release as of today: bytes, approval, gates, and packages against a local file of OSV records."""
        from passmuster.flows.audit import audit

        given = None if advisories is None else Path(advisories)
        return audit(self.store, advisories=given, again=again, progress=self.progress)

    def drill(self, bundle: str = "", *, only: Sequence[str] = (), most_questions: int = 2_000) -> DrillResult:
        """Plant faults in copies of a bundle (the live one when empty): which gate of the policy stops which.

        A model behind an address is asked `most_questions` at most.
        """
        from passmuster.flows.drill import drill_gates

        return drill_gates(self.store, bundle, only=only, most_questions=most_questions, progress=self.progress)

    def verify(self, *paths: str | Path) -> Verification:
        """Whether ledger, data versions, bundles and signatures are what they were; or those of copies."""
        from passmuster.flows.verify import verify

        return verify(self.store, [Path(path) for path in paths], progress=self.progress)
