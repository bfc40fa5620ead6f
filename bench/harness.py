"""What every benchmark shares: its arguments, the machine and versions it ran on, and the file of claims it leaves.

arguments = parse("How long the watch takes to see a fault.")
report = Report("watch", arguments)
report.run(detector="errors.v1", delays=[...])
report.claim("error_5_to_15.known_rate.mean_delay_labels", 88.2, "labels", low=86.0, high=90.5, peer=80.1)
report.write()
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("passmuster", "numpy", "scipy", "scikit-learn", "torch", "onnx", "onnxruntime", "tokenizers", "polars")


def parser(description: str) -> argparse.ArgumentParser:
    """A parser with `--quick`, `--json FILE` and `--seed`; a benchmark may add its own."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help="a small run through the same code")
    made.add_argument("--json", type=Path, default=None, metavar="FILE", help="where the claims are written")
    made.add_argument("--seed", type=int, default=0)
    return made


def parse(description: str, arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the shared arguments from the command line."""
    return parser(description).parse_args(arguments)


def bench_data() -> Path:
    """The folder of real data sets, or an exit that says how to name it."""
    folder = os.environ.get("MUSTER_BENCH_DATA", "")
    if not folder or not Path(folder).is_dir():
        raise SystemExit("set MUSTER_BENCH_DATA to the folder of data sets (its README lists them)")
    return Path(folder)


def machine() -> dict[str, Any]:
    """What this ran on: processor, usable cores, memory, system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "processor": _processor(),
        "n_cores": cores,
        "memory_gib": round(memory / 2**30, 1) if memory else None,
        "system": platform.platform(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Python and the packages that matter, where they are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass
class Report:
    """Claims and runs of one benchmark; `write` leaves them as JSON and prints the claims."""

    name: str
    arguments: argparse.Namespace
    claims: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def run(self, **facts: Any) -> None:
        """Keep the facts of one run: seed, setting, every figure."""
        self.runs.append(facts)

    def claim(
        self, name: str, value: float, unit: str, *, low: float | None = None, high: float | None = None,
        peer: float | Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """State one figure with its interval, and what the peer got in the same run."""
        self.claims.append({"name": name, "value": value, "unit": unit, "low": low, "high": high, "peer": peer})

    def write(self) -> Path | None:
        """Print the claims; write the file named by `--json`, or `results/<name>.json` after a full run."""
        for claim in self.claims:
            low, high = (f"{claim[k]:.5g}" if claim[k] is not None else "?" for k in ("low", "high"))
            bounds = "" if claim["low"] is None else f"  [{low}, {high}]"
            peer = "" if claim["peer"] is None else f"  peer: {claim['peer']}"
            print(f"{claim['name']}: {claim['value']:.5g} {claim['unit']}{bounds}{peer}")
        path = self.arguments.json or (None if self.arguments.quick else RESULTS / f"{self.name}.json")
        if path is None:
            return None
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "benchmark": self.name,
            "quick": self.arguments.quick,
            "seed": self.arguments.seed,
            "seconds": round(time.monotonic() - self.started, 1),
            "claims": self.claims,
            "machine": machine(),
            "versions": versions(),
            "runs": self.runs,
        }
        path.write_text(json.dumps(content, indent=1, default=_plain) + "\n")
        print(f"written to {path}", file=sys.stderr)
        return path


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"not JSON: {type(value).__name__}")
