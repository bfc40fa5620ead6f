"""One person labelling: what is asked next, what was answered, and how to take it back. Terminal and page share it.

The items are chosen at the start; those for learning are chosen anew as labels come, those for evidence are not,
because their weights belong to one draw. Every answer is on disk before `answer` returns. Choosing and guessing go on
in a thread of their own, so that no answer waits for them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from passmuster.core.errors import MusterError, NotFoundError, UsageError
from passmuster.core.label_sets import MULTI, Task, classes_in, join_classes, split_label
from passmuster.core.progress import Progress, Silent
from passmuster.core.records import Item, Role
from passmuster.flows.answers import pin_answers
from passmuster.flows.guesses import Guess
from passmuster.flows.label_choice import Choice
from passmuster.flows.label_facts import Facts, Turn
from passmuster.flows.label_leases import Leases
from passmuster.flows.labelling import Suggestion
from passmuster.stages.govern.answer import Answer, Answered, Pinned, answer, skip, withdraw
from passmuster.stages.govern.class_names import clean_name
from passmuster.store.claims import Claims
from passmuster.store.items import read_items
from passmuster.store.store import Store

CHOOSE_EVERY = 12  # labels for learning after which the items that wait are chosen anew
SPARE = 12  # chosen besides, because some may be shown while others are being chosen
CLAIMS = "labelling"  # folder of the store


class LabelSession:
    """Safe to use from several threads. `choosing` says that items are on their way; `problem` why there are none.

    Parameters
    ----------
    n : labels wanted
    role : "train", "test", or None for both
    who : who labels; the present user when empty
    again : ask also for what this person left aside before; with "test", for what was drawn and has no label, first
    clock : seconds that only grow
    """

    def __init__(
        self,
        store: Store,
        *,
        n: int,
        role: Role | None,
        who: str = "",
        again: bool = False,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if n < 1:
            raise UsageError("label.n", "not a number of items", value=n, limit="1 or more")
        self.store, self.role, self.who, self.n = store, role, who or store.actor, n
        self.task: Task = store.config.project.task
        self._progress = progress or Silent()
        self._lock = threading.RLock()
        self._claims = Claims(store.root / CLAIMS)
        self._leases = Leases(clock, may_ask=self._may_ask, give_back=self._claims.give_back)
        self._since_choice = 0
        self._again = again
        self._facts = Facts(store, self.who, again=again)
        self._choice = Choice(store)
        self._choice.later(self._choice.open_pool)
        self._choice.later(self._guess)
        self._choice.later(lambda: self._choose(n))

    # --- what is asked

    @property
    def choosing(self) -> bool:
        """Whether items are being chosen."""
        return self._choice.busy

    @property
    def problem(self) -> MusterError | None:
        """Why the last choice failed."""
        return self._choice.problem

    @property
    def guesses(self) -> dict[str, Guess]:
        """What the latest bundle would say of the pool, by item key."""
        return self._choice.guesses

    @property
    def classes(self) -> list[str]:
        """Every class there is, by name; new ones at the end."""
        return list(self._facts.classes)

    @property
    def has_model(self) -> bool:
        """Whether a bundle is there whose embeddings can guess."""
        return self._choice.has_model

    def wait(self) -> None:
        """Wait until what is being chosen is chosen; its problem is raised."""
        self._choice.wait()
        if self.problem and not self._leases:
            raise self.problem

    def take(self, n: int, place: str = "") -> list[Suggestion]:
        """Up to `n` items for one place: those it was shown and has not answered first, then new ones.

        No item is shown at two places, nor in two processes, nor after it was answered in another one.
        """
        with self._lock:
            before = len(self._leases)
            mine = self._leases.take(n, place)
            if len(self._leases) < before and self.role != "test":  # others got some: choose what to ask instead
                self._choice.later(lambda: self._choose(self._missing(), "train"))
            return [self.guessed(suggestion) for suggestion in mine]

    def hear(self, place: str) -> None:
        """Note that a place is alive."""
        with self._lock:
            self._leases.hear(place)

    def release(self, place: str) -> None:
        """A place was closed: what it was shown and did not answer waits again, first in the order."""
        with self._lock:
            self._leases.release(place)

    def n_elsewhere(self, place: str) -> int:
        """How many items are shown at other places of this session, and not answered."""
        with self._lock:
            return self._leases.n_elsewhere(place)

    def gone(self, keys: Collection[str], place: str) -> list[str]:
        """Those of `keys` that were released here, and since then answered or shown elsewhere."""
        with self._lock:
            return [
                key for key in keys
                if self._leases.was_released(key) and (key in self._facts.done or self._leases.elsewhere(key, place))
            ]  # fmt: skip

    def guessed(self, suggestion: Suggestion) -> Suggestion:
        """With the present guess; for evidence with none: it would sway the judge."""
        if suggestion.role == "test":
            return replace(suggestion, guess="", confidence=float("nan"))
        guess = self.guesses.get(suggestion.key)
        return replace(suggestion, guess=guess.label, confidence=guess.confidence) if guess else suggestion

    def grid(self, label: str, n: int, place: str = "") -> tuple[list[Suggestion], int]:
        """Up to `n` unlabelled items that the model takes for `label`, at random, and how many there are."""
        with self._lock:
            taken = [key for key, guess in self.guesses.items() if guess.label == label]
            free = [key for key in self._facts.free(taken) if not self._leases.elsewhere(key, place)]
            rng = np.random.default_rng([len(self._facts.turns()), len(free)])
            chosen = [free[int(i)] for i in rng.permutation(len(free))[:n]]
            items = self.items(chosen)
            found = [
                self.guessed(Suggestion(key, items[key].id, "train", 1.0, f"taken for {label}"))
                for key in chosen
                if key in items
            ]
            return self._leases.picture(found, place), len(free)

    def guessed_counts(self) -> dict[str, int]:
        """How many unlabelled items of the pool the model takes for each class; {} where items carry sets of them."""
        if self.task == MULTI:
            return {}
        with self._lock:
            guesses = self.guesses.items()
            return dict(Counter(guess.label for key, guess in guesses if key not in self._facts.labels))

    def leave_grid(self, keys: Collection[str]) -> None:
        """Items of a grid that were neither confirmed nor marked are free again."""
        with self._lock:
            self._leases.hide(keys)

    def items(self, keys: Sequence[str]) -> dict[str, Item]:
        """Items by key; those that are gone are left out."""
        with self.store.read() as db:
            return {item.key: item for item in read_items(db, keys=keys) if item.status == "kept"}

    # --- what is answered

    def add_class(self, name: str) -> str:
        """Make a class that can be answered with, if it is not there. It is kept with its first label."""
        name = clean_name(name, multi=self.task == MULTI)
        with self._lock:
            if name not in self._facts.classes:
                self._facts.classes.append(name)
        return name

    def add_classes(self, label: str) -> str:
        """`add_class` for every class that a label speaks of; returns the label as it is kept."""
        if self.task != MULTI:
            return self.add_class(label)
        return join_classes(self.add_class(name) for name in split_label(label))

    def answer(self, keys: Sequence[str], label: str, place: str = "") -> Answered:
        """Record one label for items that were shown; returns when it is on disk.

        Of a multi-label project the label stands for a set of classes (`passmuster.core.label_sets`).

        Raises
        ------
        UsageError
            ``label.class`` when there is no such class.
        NotFoundError
            ``label.unknown_item`` when an item is gone, ``label.not_shown`` when it was not asked for.
        """
        if strangers := [name for name in classes_in(label, self.task) if name not in self._facts.classes]:
            raise UsageError(
                "label.class", "there is no such class", value=strangers[0][:80], next="add it as a new class first"
            )
        found = self._shown_items(keys)
        try:
            said = answer(self.store, [Answer(s.key, label, s.role, s.weight) for s in found], who=self.who)
        except NotFoundError:
            self.drop(keys)
            raise
        with self._lock:
            for suggestion in found:
                self._leases.settle(suggestion.key)
                self._facts.set_label(suggestion, label)
            turn = Turn(found, label, place)
            if said.n_new or turn not in self._facts.turns():  # sent again, it is still one turn
                self._facts.remember(turn)
            self._learn(sum(suggestion.role == "train" for suggestion in found))
        return said

    def skip(self, key: str, place: str = "") -> None:
        """Leave an item aside."""
        (suggestion,) = self._shown_items([key])
        skip(self.store, key, role=suggestion.role, who=self.who)
        with self._lock:
            self._leases.settle(key)
            self._facts.aside.add(key)
            self._facts.remember(Turn((suggestion,), "", place))
            self._learn(0)

    def undo(self, place: str = "") -> Turn:
        """Take back what was done last at this place; its items are asked again, first.

        Raises
        ------
        NotFoundError
            ``label.nothing_to_undo``.
        """
        with self._lock:
            found = self._facts.turns(place)
            if not found:
                raise NotFoundError("label.nothing_to_undo", "nothing was answered here that could be undone")
            turn = found[-1]
        for suggestion in turn.items:
            left = None
            if not turn.label:
                skip(self.store, suggestion.key, role=suggestion.role, who=self.who, back=True)
            else:
                with contextlib.suppress(NotFoundError):  # taken back already, by the same person elsewhere
                    left = withdraw(self.store, suggestion.key, role=suggestion.role, who=self.who)
            with self._lock:
                self._facts.set_back(suggestion.key, (left.label, left.role) if left else None)
        with self._lock:
            self._facts.forget(turn)
            self._leases.back_in_front(turn.items, place)
            for suggestion in turn.items:
                self._claims.take(suggestion.key)
        return turn

    def drop(self, keys: Collection[str]) -> None:
        """Ask no more for items that are gone."""
        with self._lock:
            self._leases.hide(keys)
            self._facts.aside.update(keys)

    def more(self, n: int) -> None:
        """Ask for `n` labels more."""
        with self._lock:
            self.n += n
            self._choice.problem = None
        self._choice.later(lambda: self._choose(n))

    def close(self) -> Pinned | None:
        """End: what was answered becomes a data-set version."""
        self._choice.close()
        self._claims.close()
        pinned = pin_answers(self.store, self._progress)
        self._facts.read_again()  # what others answered counts too, where the end is told
        return pinned

    # --- what was done

    @property
    def n_done(self) -> int:
        """Labels given in this session and not taken back."""
        return len(self._facts.done)

    def turns(self, place: str = "") -> list[Turn]:
        """What was done at one place and not taken back, oldest first."""
        with self._lock:
            return self._facts.turns(place)

    def counts(self) -> dict[str, dict[str, int]]:
        """Labels of the whole project that stand now: role to class to number."""
        with self._lock:
            return self._facts.counts()

    def n_labels(self) -> dict[str, int]:
        """Labelled items of the whole project, by role; where they carry sets, `counts` adds up to something else."""
        with self._lock:
            return self._facts.n_labels()

    def _may_ask(self, key: str) -> bool:
        """Claim an item that no other process is asking about and none has answered since it was chosen."""
        if not self._claims.take(key):
            return False
        if self._facts.was_answered(key):
            self._claims.give_back([key])
            return False
        return True

    def _shown_items(self, keys: Sequence[str]) -> tuple[Suggestion, ...]:
        """Suggestions of these items, shown now or answered before (an answer that is sent again)."""
        with self._lock:
            before = {s.key: s for turn in self._facts.turns() for s in turn.items}
            known = {**before, **self._leases.known()}
            if missing := [key for key in keys if key not in known]:
                raise NotFoundError("label.not_shown", "this item was not asked for here", value=missing[0][:8])
            return tuple(known[key] for key in dict.fromkeys(keys))

    # --- in the worker's thread

    def _guess(self) -> None:
        def learnt() -> dict[str, str]:
            with self._lock:
                return self._facts.learnt()

        self._choice.guess(learnt)

    def _learn(self, n_new: int) -> None:
        """After an answer: guess anew, and choose anew what waits when enough was learnt, or when too little waits."""
        self._since_choice += n_new
        if n_new and self.has_model:
            self._choice.later(self._guess)
        if self._since_choice >= CHOOSE_EVERY:
            self._since_choice = 0
            self._choice.later(self._choose_anew)
        elif self._missing() > 0 and self.role != "test":
            self._choice.later(lambda: self._choose(self._missing(), "train"))

    def _missing(self) -> int:
        """How many items are neither answered nor on their way, of those wanted."""
        return self.n - len(self._facts.done) - len(self._leases)

    def _choose(self, n: int, role: Role | None = None) -> None:
        if n < 1:
            return
        found = self._suggest(n, role or self.role)
        with self._lock:
            self._leases.add(found)

    def _choose_anew(self) -> None:
        n = sum(s.role == "train" for s in self._leases.waiting)
        fresh = self._suggest(n + SPARE, "train", anew=True) if n else []
        with self._lock:
            self._leases.renew(fresh, {*self._facts.aside, *self._facts.done})

    def _suggest(self, n: int, role: Role | None, *, anew: bool = False) -> list[Suggestion]:
        with self._lock:
            self._facts.read_again()
            kept = (s.key for s in self._leases.waiting if not anew or s.role == "test")
            out = {*self._facts.aside, *self._leases.shown, *kept}
            out |= self._claims.others() if role != "test" else set()  # a draw of evidence is the same for all
        return self._choice.suggest(n, role, out=out, again=self._again, n_aside=len(self._facts.aside))
