"""What a training has used, kept in its run folder while it runs, so that a kill does not lose the account."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from passmuster.core.codec import to_plain
from passmuster.core.config import CostConfig
from passmuster.core.cost import Cost, cost_of
from passmuster.core.meter import Meter, Usage
from passmuster.stages.train.limits import Limits
from passmuster.stages.train.run_folder import RunFolder, read_json

FILE = "cost.json"


@dataclass(frozen=True)
class Account:
    """One run's account: what earlier processes used, and the meter of this one."""

    run: RunFolder
    meter: Meter
    before: Usage | None
    limits: Limits
    prices: CostConfig

    def usage(self) -> Usage:
        """Of all processes of the run."""
        now = self.meter.usage()
        return now if self.before is None else self.before.plus(now)

    def cost(self) -> Cost:
        """What the run has cost so far."""
        return cost_of(self.usage(), self.prices)

    def keep(self, usage: Usage) -> None:
        """Write the account of a run under way; `usage` is this process's. For the meter's beat."""
        total = usage if self.before is None else self.before.plus(usage)
        path = self.run.path / FILE
        temporary = path.with_name(f".{FILE}.beat")
        with contextlib.suppress(OSError):  # a full disk: the next beat or the end writes it
            temporary.write_text(json.dumps(self._record("running", total)))
            temporary.replace(path)

    def close(self, status: str) -> Cost:
        """Write the account as it stands: "done", or "stopped" by an error."""
        usage = self.usage()
        self.run.write(FILE, self._record(status, usage))
        return cost_of(usage, self.prices)

    def _record(self, status: str, usage: Usage) -> dict[str, Any]:
        return {
            "schema": 1,
            "kind": "train",
            "run": self.run.id,
            "status": status,
            "usage": to_plain(usage),
            "cost": to_plain(cost_of(usage, self.prices)),
            "limits": self.limits.facts(),
        }


def used_before(folder: Path) -> Usage | None:
    """What the processes before this one used, as the run's folder tells; None when it does not."""
    path = folder / FILE
    return Usage(**read_json(path)["usage"]) if path.is_file() else None
