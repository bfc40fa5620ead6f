"""Labelling in a terminal: one item after the other, each answer kept before the next is shown.

number = class · n new class · u undo · s skip · ? list the classes · q quit; the first letters of a class do as well.
Where items carry sets of classes: numbers or names with commas between them, and - where no class fits.
"""

from __future__ import annotations

import difflib
import re
import shutil
import sys
import textwrap
import unicodedata

from passmuster.core.errors import MusterError
from passmuster.core.label_sets import MULTI, NO_CLASS, join_classes, label_in_words
from passmuster.flows.label_session import LabelSession
from passmuster.flows.labelling import Suggestion
from passmuster.modality.find import modalities

SHOWN_CHARACTERS = 3_000  # of a text; a screen or two
LISTED_CLASSES = 20  # up to so many are listed with every item
COMMANDS = "n new class · u undo · s skip · q quit"
NONE_FITS = "-"
OF_SETS = f"several classes with commas between them, {NONE_FITS} for none of them · "


def ask(session: LabelSession) -> None:
    """Ask until as many labels are there as wanted, nothing is left, or the person quits.

    Raises
    ------
    MusterError
        When nothing waits for a label, with the reason.
    """
    say("choosing what to ask …")
    session.wait()
    n_last = len(session.classes)
    say(f"{OF_SETS if session.task == MULTI else ''}{COMMANDS} · ? list the classes")
    list_classes(session)
    while session.n_done < session.n:
        found = session.take(1)
        while not found:
            session.wait()
            found = session.take(1)
            if not found and not session.choosing:  # what was chosen was asked elsewhere: then others are chosen
                return
        if not show(session, found[0], n_last):
            continue
        n_last = len(session.classes)
        if not ask_one(session, found[0]):
            return


def show(session: LabelSession, asked: Suggestion, n_last: int) -> bool:
    """Print an item; False when it is gone."""
    item = session.items([asked.key]).get(asked.key)
    if item is None:
        say("(an item is gone from the project and was left out)")
        session.drop([asked.key])
        return False
    purpose = "for the test" if asked.role == "test" else f"for learning · {asked.why}"
    say(f"\n{session.n_done + 1} of {session.n} · {purpose}")
    if session.store.config.project.modality == "text":
        text = str(modalities["text"].decode(session.store.blobs.get(item.blob), session.store.config.data))
        say(indented(text))
    else:
        say(indented(item.source or item.id))
    if len(session.classes) != n_last or len(session.classes) <= LISTED_CLASSES:
        list_classes(session)
    if asked.guess:
        say(f"the model's guess: {shown(session, asked.guess)} ({asked.confidence:.0%}); Enter accepts it")
    return True


def ask_one(session: LabelSession, asked: Suggestion) -> bool:
    """Take one answer for an item; False to quit."""
    while True:
        word = read_line("label> ")
        if word is None or word == "q":
            return False
        try:
            if word == "s":
                session.skip(asked.key)
                return True
            if word == "u":
                turn = session.undo()
                say(f"taken back: {shown(session, turn.label) if turn.label else 'a skip'}")
                return True
            if word == "?":
                list_classes(session)
                continue
            if word == "n" and session.task == MULTI:  # a class among others: it is made, then named with them
                new_class(session)
                list_classes(session)
                continue
            label = new_class(session) if word == "n" else asked.guess if not word else find_label(session, word)
            if not label:
                if not word:
                    say(f"type the number or the first letters of a class, or one of: {COMMANDS}")
                continue
            others = session.answer([asked.key], label).others
        except MusterError as error:
            say(str(error))
            if error.code == "label.unknown_item":
                return True
            continue
        for who, said in next(iter(others.values()), {}).items():
            say(f"(kept; {who} said {shown(session, said)!r} of it)")
        say(f"saved: {shown(session, label)}")
        return True


def new_class(session: LabelSession) -> str:
    """Ask for the name of a new class; "" when none was given."""
    name = read_line("name of the new class> ")
    return session.add_class(name) if name else ""


def shown(session: LabelSession, label: str) -> str:
    """A label as it is printed."""
    return visible(label_in_words(label) if session.task == MULTI else label)


def find_label(session: LabelSession, words: str) -> str:
    """The label that an answer means: a class, or of a multi-label project the set of those named; "" when none."""
    if session.task != MULTI:
        return find_class(session, words)
    if words == NONE_FITS:
        return NO_CLASS
    parts = [part.strip() for part in words.split(",") if part.strip()]
    if len(parts) == 1 and all(part.isdecimal() for part in words.split()):
        parts = words.split()
    found = [find_class(session, part) for part in parts]
    return join_classes(found) if found and all(found) else ""


def find_class(session: LabelSession, word: str) -> str:
    """The class that a word names: its number, its name, or how its name alone begins; "" (and why) when none."""
    keys = numbers(session.classes)
    if word in keys:
        return keys[word]
    lower = word.casefold()
    by_name = {name.casefold(): name for name in session.classes}
    begin = [name for folded, name in by_name.items() if folded.startswith(lower)]
    if lower in by_name:
        return by_name[lower]
    if len(begin) == 1:
        return begin[0]
    near = [by_name[name] for name in difflib.get_close_matches(lower, by_name, n=3)]
    if begin:
        say(f"{len(begin)} classes begin with {word!r}: {', '.join(visible(name) for name in begin[:8])}")
    else:
        close = f"; did you mean {', '.join(visible(name) for name in near)}?" if near else ""
        say(f"there is no class {word[:80]!r}{close} (n makes a new class)")
    return ""


def numbers(classes: list[str]) -> dict[str, str]:
    """What is typed for each class: its place from 1, or the number in its name where each has one of its own.

    Where only some names begin with a digit, a place could be taken for a name: then names are typed.

    >>> numbers(["ham", "spam"]), numbers(["grade 9", "grade 10"]), numbers(["2", "10", "other"])
    ({'1': 'ham', '2': 'spam'}, {'9': 'grade 9', '10': 'grade 10'}, {})
    """
    own = {found[0]: name for name in classes if len(found := re.findall(r"\d+", name)) == 1}
    if len(own) == len(classes):
        return own
    if any(name[:1].isdecimal() for name in classes):
        return {}
    return {str(i): name for i, name in enumerate(classes, start=1)}


def list_classes(session: LabelSession) -> None:
    """Print the classes with their numbers, in columns."""
    if not session.classes:
        say("there is no class yet: n makes one")
        return
    keys = {name: key for key, name in numbers(session.classes).items()}
    cells = [f"{keys.get(name, ''):>3} {visible(name)}" for name in session.classes]
    width = max(map(len, cells)) + 2
    per_line = max(1, (shutil.get_terminal_size().columns - 2) // width)
    n_lines = -(-len(cells) // per_line)
    for i in range(n_lines):
        say("".join(cell.ljust(width) for cell in cells[i::n_lines]).rstrip())


def indented(text: str) -> str:
    """A text as it is shown: wrapped, cut when long, without what could command the terminal."""
    width = max(40, min(100, shutil.get_terminal_size().columns - 4))
    lines = [
        part for line in visible(text[:SHOWN_CHARACTERS]).split("\n") for part in textwrap.wrap(line, width) or [""]
    ]
    if len(text) > SHOWN_CHARACTERS:
        lines.append(f"… ({len(text) - SHOWN_CHARACTERS:,} more characters)")
    return "\n".join(f"  │ {line}" for line in lines)


def visible(text: str) -> str:
    r"""Control characters, escape sequences above all, shown instead of sent to the terminal.

    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf") else repr(c)[1:-1] for c in text)


def read_line(prompt: str) -> str | None:
    """One line from the terminal, without space around it; None at its end."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        say("")
        return None
    return line.strip()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
