"""Who is shown what while people label: every item waits, or is out at one place, and never at two.

A place is a tab of the page or a terminal. What it was shown stays its own until it is answered, or until the place is
closed or silent for `LEASE_S`; then the item waits again, first in the order. An answer that comes from there after all
still counts: the item is remembered as released.

Places of other processes are not known here. Before an item is shown, `may_ask` is asked, which claims it among them;
what it refuses is left out, and what is shown no more is given back.

Not locked: whoever shares one between threads holds a lock of their own around each call.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from passmuster.flows.labelling import Suggestion

# A place that was not heard of for so long is closed, or its browser crashed: others are asked what it was shown. An
# open page says something every few seconds, one in the background does not.
LEASE_S = 120.0


class Leases:
    """What waits, in order, and what is shown where.

    Parameters
    ----------
    clock : seconds that only grow
    may_ask : whether an item, by its key, may be shown here; it was answered or is shown in another process if not
    give_back : called with the keys of items that are shown no more

    Examples
    --------
    >>> leases = Leases(clock=lambda: 0.0)
    >>> leases.add([Suggestion(key, key, "train", 1.0, "") for key in "abc"])
    >>> [s.key for s in leases.take(2, "here")], [s.key for s in leases.take(2, "there")]
    (['a', 'b'], ['c'])
    >>> leases.release("here")
    >>> [s.key for s in leases.take(2, "there")]
    ['c', 'a']
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        may_ask: Callable[[str], bool] = lambda key: True,
        give_back: Callable[[Collection[str]], None] = lambda keys: None,
    ) -> None:
        self._clock, self._may_ask, self._give_back = clock, may_ask, give_back
        self._waiting: list[Suggestion] = []  # chosen, shown to nobody
        self._shown: dict[str, tuple[Suggestion, str]] = {}  # item key -> and where, in the order shown
        self._pictured: set[str] = set()  # shown in a grid without having waited to be asked
        self._heard: dict[str, float] = {}  # place -> when it last said something
        self._released: dict[str, Suggestion] = {}  # shown once at a place that is closed; its answer still counts

    @property
    def waiting(self) -> tuple[Suggestion, ...]:
        """What is chosen and shown to nobody, in order."""
        return tuple(self._waiting)

    @property
    def shown(self) -> set[str]:
        """Keys of what is shown somewhere."""
        return set(self._shown)

    def __len__(self) -> int:
        """How many items wait or are shown."""
        return len(self._waiting) + len(self._shown)

    # --- places

    def take(self, n: int, place: str) -> list[Suggestion]:
        """Up to `n` items for one place: those it was shown and has not answered first, then what waits."""
        self.hear(place)
        for silent in [where for where, at in self._heard.items() if where and self._clock() - at > LEASE_S]:
            self.release(silent)
        mine = [suggestion for suggestion, where in self._shown.values() if where == place][:n]
        while len(mine) < n and self._waiting:
            suggestion = self._waiting[0]
            if self._may_ask(suggestion.key):
                self._shown[suggestion.key] = (suggestion, place)
                mine.append(suggestion)
            self._waiting.pop(0)
        return mine

    def hear(self, place: str) -> None:
        """Note that a place is alive."""
        self._heard[place] = self._clock()

    def release(self, place: str) -> None:
        """A place was closed: what it was shown and did not answer waits again, first in the order."""
        self._heard.pop(place, None)
        back = [suggestion for suggestion, where in self._shown.values() if where == place]
        for suggestion in back:
            self._released[suggestion.key] = suggestion
        self.hide([suggestion.key for suggestion in back])
        self._waiting = [*(s for s in back if s.key not in self._pictured), *self._waiting]

    def elsewhere(self, key: str, place: str) -> bool:
        """Whether an item is shown at another place than this."""
        return self._shown.get(key, (None, place))[1] != place

    def n_elsewhere(self, place: str) -> int:
        """How many items are shown at other places than this, and not answered."""
        return sum(where != place for _, where in self._shown.values())

    def was_released(self, key: str) -> bool:
        """Whether an item was shown at a place that was closed before it answered."""
        return key in self._released

    # --- items

    def add(self, chosen: Iterable[Suggestion]) -> None:
        """Items that were chosen wait after the others; those that wait or are shown already are left out."""
        taken = {*self._shown, *(s.key for s in self._waiting)}
        self._waiting += [s for s in chosen if s.key not in taken]

    def renew(self, fresh: Sequence[Suggestion], out: Collection[str]) -> None:
        """Exchange what waits for learning for what was chosen anew; each place in the order keeps its role.

        `out` are keys that must not be asked; what was shown meanwhile is left out too.
        """
        free = iter([s for s in fresh if s.key not in out and s.key not in self._shown])
        chosen = [s if s.role == "test" else next(free, None) for s in self._waiting]
        self._waiting = [s for s in chosen if s is not None]

    def picture(self, suggestions: Iterable[Suggestion], place: str) -> list[Suggestion]:
        """Items are shown in a grid, whether they waited or not; returns those that may be."""
        found = [s for s in suggestions if s.key in self._shown or self._may_ask(s.key)]
        for suggestion in found:
            if suggestion.key not in self._shown:
                self._shown[suggestion.key] = (suggestion, place)
                self._pictured.add(suggestion.key)
        self._waiting = [s for s in self._waiting if s.key not in self._shown]
        return found

    def back_in_front(self, suggestions: Iterable[Suggestion], place: str) -> None:
        """What was done with these is taken back: they are shown again at this place, first."""
        front = {suggestion.key: (suggestion, place) for suggestion in suggestions}
        self._shown = {**front, **{key: value for key, value in self._shown.items() if key not in front}}

    def settle(self, key: str) -> None:
        """An item was answered or left aside: it is neither shown nor waits."""
        self.hide([key])
        self._waiting = [suggestion for suggestion in self._waiting if suggestion.key != key]

    def hide(self, keys: Iterable[str]) -> None:
        """Items are shown no more, and nothing is said of whether they wait."""
        hidden = [key for key in keys if self._shown.pop(key, None)]
        if hidden:
            self._give_back(hidden)

    def known(self) -> dict[str, Suggestion]:
        """By key, every item that may be answered: shown now, or released."""
        return {**self._released, **{key: suggestion for key, (suggestion, _) in self._shown.items()}}
