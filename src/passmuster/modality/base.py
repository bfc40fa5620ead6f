"""What a modality is: one frozen value of functions and tables. Adding audio is one folder and one line in `find.py`.

Light functions (reading, preparing, corrupting, twins, personal data) need no torch. Rungs are import strings in a
table; their bodies may import torch and are loaded only by training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from passmuster.core.budget import Deadline, Machine
from passmuster.core.config import DataConfig, TrainConfig
from passmuster.core.matrix import Matrix
from passmuster.core.records import Payload, Price
from passmuster.core.tables import Table
from passmuster.modality.harm import Attack, Corruption, OwnWords

# A step of preprocessing, made from its parameters and the folder with its files: a list of values in, a list of values
# out, each from its own alone; the last step of a pipeline returns the graph's inputs by name.
Step = Callable[[list[Any]], Any]
Operation = Callable[[Mapping[str, Any], Path], Step]

# A natural fault at severity 1 to 5 (0 is the identity), repeatable for a given generator state.


@dataclass(frozen=True)
class Twins:
    """Two items (positions) confirmed to be copies; `similarity` in [0, 1], `how` says by what measure."""

    a: int
    b: int
    similarity: float
    how: str


@dataclass(frozen=True)
class Pending:
    """An item of a request whose header was read. `n_pixels` is what `load` will decompress to, 0 for a text.

    `load` gives the payload, and may be called once; it raises `DataError` (``item.*``) like `Modality.decode`.
    """

    n_pixels: int
    load: Callable[[], Payload]


@dataclass(frozen=True)
class Span:
    """Personal data in a text: `kind` such as ``"email"``, and where (characters, end exclusive)."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Profile:
    """What a rung is asked to learn from, as far as its price depends on it."""

    n_pool: int
    n_labels: int
    n_classes: int
    mean_size: float  # characters, or pixels
    max_size: float
    n_words: float = 0.0  # of texts: different words that more than one text has
    n_reference: int = 0  # of the pool, that are held out for the guard
    encoders: tuple[str, ...] = ()  # folders with pretrained encoders, as configured
    n_channels: float = 2.0  # of images: one where grey, three where coloured
    label_sets: bool = False  # whether labels are sets of classes

    @property
    def n_sampled(self) -> int:
        """Items that are embedded where embedding is dear."""
        return n_sampled(self.n_pool - self.n_reference, self.n_labels) + self.n_reference


# Unlabelled items, and of them for each label, beyond which spreading labels gains little: on parts of the training
# splits 1,000 texts of AG News against 2,000 cost 0.2 points; Banking77 with 616 labels gained 0.3 from 4,000 to 9,000,
# which are 15 for each label (docs/log.md).
FEWEST_SAMPLED, SAMPLED_PER_LABEL = 1_000, 15


def n_sampled(n_pool: int, n_labels: int) -> int:
    """Items of a pool that a rung embeds whose embeddings are dear, the labelled ones among them.

    >>> n_sampled(50_000, 32), n_sampled(50_000, 1_000), n_sampled(500, 32)
    (1032, 16000, 500)
    """
    return min(n_pool, n_labels + max(FEWEST_SAMPLED, SAMPLED_PER_LABEL * n_labels))


@dataclass(frozen=True)
class Encoder:
    """A fitted encoder: arrays and JSON-ready settings; saved as safetensors in the run folder."""

    rung: str
    arrays: Mapping[str, np.ndarray]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Embedded:
    """Positions of the pool that a rung has embedded, in order, and their embeddings, as served."""

    positions: np.ndarray  # (m,) int
    rows: Matrix  # (m, d)


@dataclass(frozen=True)
class FitView:
    """What a rung may learn from: the raw pool, and its training labels (-1 where there is none)."""

    payloads: Sequence[Payload]
    labels: np.ndarray  # (n,) int
    n_classes: int
    train: TrainConfig
    fitted: Mapping[str, Encoder] = field(default_factory=dict)  # by rung: those fitted before, in the same training
    embedded: Mapping[str, Embedded] = field(default_factory=dict)  # by rung: where `parts` of the one that is fitted


@dataclass(frozen=True)
class EncoderGraph:
    """An encoder as it will be served: an ONNX model whose output is ``embedding`` (n, d) float32.

    `preprocess` is ``{"schema": 1, "modality": ..., "steps": [{"op": "name.v1", ...parameters}]}``; `assets` are files
    the steps need, by name.
    """

    onnx: bytes
    preprocess: Mapping[str, Any]
    assets: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class GraphInput:
    """An input of a graph that was made elsewhere: its element type as ONNX names it, and its shape, None where free.

    >>> print(GraphInput("pixels", "float", (None, 3, 224, 224)))
    pixels: float (any, 3, 224, 224)
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.kind} ({', '.join('any' if n is None else str(n) for n in self.shape)})"


@dataclass(frozen=True)
class Feeding:
    """How items become a graph's inputs: steps as in ``preprocess.json``, and the files that they need, by name."""

    steps: tuple[Mapping[str, Any], ...]
    assets: Mapping[str, bytes] = field(default_factory=dict)


class Checkpoint(Protocol):
    """Where a rung keeps what it would need after a kill. Saving is atomic."""

    def save(self, name: str, arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> None: ...

    def load(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None: ...


N_JUDGED_BESIDE = 500  # unlabelled items whose embeddings are asked for beside the labelled ones
HeldOut = Callable[[FitView, np.ndarray, np.ndarray, Deadline, Checkpoint, np.random.Generator], Iterator[np.ndarray]]


THROUGH = "through"  # the array of an encoder that what its parts give together is multiplied by


@dataclass(frozen=True)
class Rung:
    """One candidate way to learn an encoder.

    `unavailable` answers "" when the rung can be used, else the reason. `quote` prices `fit` and the embedding of the
    pool on this machine. `fit` ends by its deadline and may resume from its checkpoint to the same weights.

    `held_out` is there when `fit` reads labels: heads can then be judged only on encoders that did not see the labels
    that they are judged by. From the view, m positions of its pool, and the fold of each of its n items (-1: in none),
    it gives per fold the m items' embeddings by an encoder that saw no label of that fold; fewer when time is up.

    `parts` names other rungs when the embedding is theirs side by side, each times its number in the encoder's array
    ``scales``, and all of it times the matrix (d, e) in its array ``through``, where it has one: where those were
    fitted before, the pool need not be embedded again.

    `teachers` names rungs of which the best bet fitted before teaches this one's head by its answers.

    `sampled` says that embedding is dear: of the pool the labelled items and a sample of the others are embedded
    (`n_sampled`), as many as heads gain from.

    `write_folder`, where the encoder is a transformer, leaves it in the form that others load, in the run folder.
    """

    name: str
    summary: str
    unavailable: Callable[[TrainConfig], str]
    quote: Callable[[Machine, Profile], Price]
    fit: Callable[[FitView, Deadline, Checkpoint, np.random.Generator], Encoder]
    export: Callable[[Encoder], EncoderGraph]
    held_out: HeldOut | None = None
    parts: tuple[str, ...] = ()
    teachers: tuple[str, ...] = ()
    sampled: bool = False
    write_folder: Callable[[Encoder, Path], None] | None = None


@dataclass(frozen=True)
class Marks:
    """Small things that many items carry alike, such as a word or a square of pixels.

    `find` gives each mark that at least so many payloads carry, and their positions. `transplant` gives a payload what
    a donor has of some marks: nothing, where the donor does not carry them. `in_words` says what they are.
    """

    find: Callable[[Sequence[Payload], int], Iterator[tuple[Any, list[int]]]]
    transplant: Callable[[Payload, Sequence[Any], Payload], Payload]
    in_words: Callable[[Sequence[Any]], str]


@dataclass(frozen=True)
class Modality:
    """One kind of item.

    Parameters
    ----------
    name : "text" or "image"
    suffixes : lower-case file suffixes that hold one item each
    decode : bytes as stored, to payload; raises `DataError` (``item.*`` codes) for what cannot be read
    encode : payload to bytes that `decode` accepts (lossless)
    open_json : the value of a request's field (text: a string; image: base64 of an image file, or nested lists of
        pixels 0 to 255) to what it will be, before it takes its memory; raises `DataError`
    of_value : a value in Python (text: a `str`; image: a uint8 array, a Pillow image, the path or bytes of an image
        file) to payload, held to the same rules; raises `DataError` (``item.*``)
    preview : payload to an HTML fragment that shows it, safe to embed
    operations : preprocessing steps
    corruptions : natural faults, five at least
    usual_faults : names of those that an evaluation tries unless asked for others
    why_fault_left_out : name of a fault and a handful of items, to why it says nothing of them; "" when it does
    find_twins : payloads and a similarity in [0, 1], to confirmed pairs of copies
    find_personal_data : payload to spans
    rungs : ways to learn, cheapest first
    feed : what the user names of a graph's preprocessing, and the inputs of that graph, to steps; raises `UsageError`
        (``import.preprocess``) when something is not named, or does not fit the graph
    attacks : searches for small changes that make right answers wrong
    finds_personal_data : whether `find_personal_data` looks for anything at all
    marks : what items may carry all alike, so that a trigger is found
    own_words : what a file of words of one meaning puts in the place of the built-in list; None: there are no words
    """

    name: str
    suffixes: frozenset[str]
    decode: Callable[[bytes, DataConfig], Payload]
    encode: Callable[[Payload], bytes]
    open_json: Callable[[Any, DataConfig], Pending]
    of_value: Callable[[Any, DataConfig], Payload]
    preview: Callable[[Payload], str]
    operations: Table[Operation]
    corruptions: Table[Corruption]
    usual_faults: tuple[str, ...]
    find_twins: Callable[[Sequence[Payload], float], list[Twins]]
    find_personal_data: Callable[[Payload], list[Span]]
    rungs: Table[Rung]
    feed: Callable[[Mapping[str, Any], Sequence[GraphInput]], Feeding]
    why_fault_left_out: Callable[[str, Sequence[Payload]], str] = lambda name, payloads: ""
    finds_personal_data: bool = True
    attacks: Table[Attack] = field(default_factory=lambda: Table("attack"))
    marks: Marks | None = None
    own_words: Callable[[bytes, Path], OwnWords] | None = None

    def from_json(self, value: Any, config: DataConfig) -> Payload:
        """The payload in a request's field."""
        return self.open_json(value, config).load()

    def preparer(
        self, preprocess: Mapping[str, Any], folder: Path
    ) -> Callable[[Sequence[Payload]], dict[str, np.ndarray]]:
        """The function that turns payloads into the graph's inputs, as `preprocess` and the files in `folder` say."""
        *each, last = [
            self.operations[step["op"]]({k: v for k, v in step.items() if k != "op"}, folder)
            for step in preprocess["steps"]
        ]

        def prepare(payloads: Sequence[Payload]) -> dict[str, np.ndarray]:
            # One item after the other: a batch of large images never lies in memory a second time.
            inputs: dict[str, np.ndarray] = last([through(payload) for payload in payloads])
            return inputs

        def through(payload: Payload) -> Any:
            values: Any = [payload]
            for step in each:
                values = step(values)
            return values[0]

        return prepare
