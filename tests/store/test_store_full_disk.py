"""On a full disk a lock says that the disk is full, not that somebody else has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TRY = """
import resource, signal, sys
from pathlib import Path
from passmuster.core.errors import MusterError
from passmuster.store.store import Store
from passmuster.store.traffic import TrafficWriter

store = Store.open(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # no file takes a byte more
found = []
try:
    with store.lock("watch"):
        pass
except MusterError as error:
    found.append(error.code)
try:
    TrafficWriter(store.traffic_folder, "w00")
except MusterError as error:
    found.append(error.code)
resource.setrlimit(resource.RLIMIT_FSIZE, before)
print(*found)
with store.lock("watch"):
    TrafficWriter(store.traffic_folder, "w00").close()
store.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits")
def test_a_full_disk_is_not_taken_for_another_process(new_store) -> None:
    folder: Path = new_store().folder
    ended = subprocess.run([sys.executable, "-c", TRY, str(folder)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["disk.full", "disk.full"]
