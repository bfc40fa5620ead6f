"""A victim of words and letters, a thousand texts that it answers rightly, and how many of them TextAttack turns.

`text_attack_expected.json` keeps the shares. With an interpreter PYTHON that has numpy, torch and TextAttack
(0.3.11 was asked, installed with ``--no-deps``: what else it imports this question does not need, and is stood in for):

python tests/text_attack_case.py PYTHON   ask TextAttack anew
"""

from __future__ import annotations

import difflib
import json
import subprocess
import sys
import tempfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from passmuster.modality.text.attacks import WORD, letter_edits, synonym_edits
from passmuster.modality.text.english import SYNONYMS

EXPECTED = Path(__file__).with_name("text_attack_expected.json")
STRENGTHS, N_TEXTS, N_QUERIES = (0.1, 0.2, 0.4), 1_000, 300

# The victim, for whoever has numpy and not Muster: two classes, by weights of words and of their three-letter parts.
VICTIM = """
import zlib
import numpy as np

def evidence(word):
    parts = [word] + [("<" + word + ">")[i : i + 3] for i in range(len(word))]
    rows = [zlib.crc32(part.encode()) % 4096 for part in parts]
    values = [np.random.default_rng(row).normal() for row in rows]
    return values[0] + 0.5 * sum(values[1:]) / len(word) ** 0.5

def scores(texts, known={}):
    found = []
    for text in texts:
        for word in text.split():
            if word not in known:
                known[word] = evidence(word)
        found.append(sum(known[word] for word in text.split()) / 4)
    return np.array([[one / 2, -one / 2] for one in found])
"""

# Runs where TextAttack is: its own greedy search by what leaving a word out costs, with the edits that it is given.
PROGRAM = (
    """
import importlib.abc, importlib.machinery, json, sys
from pathlib import Path
from unittest.mock import MagicMock

UNASKED = set((
    "flair nltk lru datasets terminaltables language_tool_python lemminflect pinyin OpenHowNet jieba word2number "
    "num2words tensorflow_hub tensorflow tensorflow_text bert_score editdistance more_itertools pycld2 stanza visdom "
    "sentence_transformers wandb gensim click pandas Levenshtein transformers langdetect requests filelock tqdm"
).split())

class StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in UNASKED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        made = MagicMock(name=spec.name)
        made.__path__, made.__spec__, made.__name__ = [], spec, spec.name
        if spec.name == "lru":
            made.LRU = type("LRU", (dict,), {"__init__": lambda self, size: None})
        return made
    def exec_module(self, module):
        pass

sys.meta_path.insert(0, StandIn())
"""
    + VICTIM
    + """
import torch
from textattack import Attack
from textattack.constraints.overlap import MaxWordsPerturbed
from textattack.constraints.pre_transformation import RepeatModification
from textattack.goal_functions import UntargetedClassification
from textattack.models.wrappers import ModelWrapper
from textattack.search_methods import GreedyWordSwapWIR
from textattack.transformations import WordSwap

class Victim(ModelWrapper):
    model = None
    def __call__(self, texts):
        return torch.softmax(torch.from_numpy(scores(texts)), dim=1)

class Given(WordSwap):
    edits = {}
    def _get_replacement_words(self, word):
        return self.edits.get(word, [])

UntargetedClassification._call_model = UntargetedClassification._call_model_uncached
folder = Path(sys.argv[1])
said = json.loads((folder / "jobs.json").read_text())
most, given = MaxWordsPerturbed(max_num_words=1), Given()
goal = UntargetedClassification(Victim(), use_cache=False, query_budget=said["n_queries"])
attack = Attack(goal, [RepeatModification(), most], given, GreedyWordSwapWIR(wir_method="delete"))
turned = {}
for name, edits in said["edits"].items():
    given.edits = edits
    for strength in said["strengths"]:
        n = 0
        for text, label in zip(said["texts"], said["labels"]):
            most.max_num_words = max(1, int(strength * len(text.split())))
            n += type(attack.attack(text, label)).__name__ == "SuccessfulAttackResult"
        turned[f"{name} {strength}"] = n / len(said["texts"])
(folder / "turned.json").write_text(json.dumps(turned))
"""
)


def share_changed(before: str, after: str) -> float:
    """The share of a text's words that an attack changed; a word may become two, as in well-known."""
    old, new = WORD.findall(before), WORD.findall(after)
    if not old:
        return 0.0
    if len(old) == len(new):
        return sum(a != b for a, b in zip(old, new)) / len(old)
    parts = difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return (len(old) - sum(part.size for part in parts)) / len(old)


@cache
def victim():  # type: ignore[no-untyped-def]
    """Scores (n, 2) of texts."""
    space: dict = {}
    exec(VICTIM, space)
    return space["scores"]


@cache
def texts() -> tuple[list[str], np.ndarray]:
    """English words in any order, some of which have synonyms and some not, and what the victim says of each text."""
    rng = np.random.default_rng(0)
    words = sorted({word for word in SYNONYMS if word.isalpha()}) + ["the", "of", "his", "that", "news", "bank"] * 13
    made = [" ".join(rng.choice(words, rng.integers(8, 31))) for _ in range(N_TEXTS)]
    return made, np.asarray(victim()(made).argmax(axis=1))


def edits_of(word: str, *, name: str) -> list[str]:
    """The edits of a word that both try: of slips the same ones, drawn by the word alone."""
    found = {"characters.v1": letter_edits, "synonyms.v1": synonym_edits}[name](
        word, np.random.default_rng(zlib.crc32(word.encode()))
    )
    return [edit for edit in found if edit.isalpha()]  # TextAttack counts other signs as a word's end


def ask_textattack(python: str, folder: Path) -> dict[str, float]:
    """By ``attack strength`` the share of texts that is answered wrongly in the end."""
    made, labels = texts()
    every = sorted({word for text in made for word in text.split()})
    jobs = {
        "texts": made, "labels": labels.tolist(), "strengths": STRENGTHS, "n_queries": N_QUERIES,
        "edits": {n: {w: edits_of(w, name=n) for w in every} for n in ("characters.v1", "synonyms.v1")},
    }  # fmt: skip
    (folder / "jobs.json").write_text(json.dumps(jobs))
    subprocess.run([python, "-c", PROGRAM, str(folder)], check=True, cwd=folder)
    return dict(json.loads((folder / "turned.json").read_text()))


def expected() -> dict[str, float]:
    """What the file keeps, as `ask_textattack` gave it."""
    return dict(json.loads(EXPECTED.read_text()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made_here:
        EXPECTED.write_text(json.dumps(ask_textattack(sys.argv[1], Path(made_here)), indent=1) + "\n")
