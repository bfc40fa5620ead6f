"""Claims: an item is asked in one process at a time, and a process that dies leaves none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from passmuster.core.errors import IntegrityError
from passmuster.store.claims import STALE_S, Claims

HOLD = """
import sys, time
from pathlib import Path
from passmuster.store.claims import Claims
claims = Claims(Path(sys.argv[1]))
print(claims.take("a"), flush=True)
time.sleep(600)
"""


def test_an_item_is_claimed_once_and_may_be_given_back(tmp_path: Path) -> None:
    ana, ben = Claims(tmp_path), Claims(tmp_path)
    assert ana.take("a")
    assert ana.take("a"), "by the same again"
    assert not ben.take("a")
    ben.give_back(["a"])
    assert not ben.take("a"), "nobody gives back what another has"
    ana.give_back(["a"])
    assert ben.take("a")
    assert ana.others() == {"a"}
    assert ben.others() == set()
    ben.close()
    assert ana.others() == set()
    ana.close()
    assert [path.name for path in tmp_path.iterdir()] == ["claims.db"]


def test_many_at_once_get_each_item_once(tmp_path: Path) -> None:
    items = [f"i{n}" for n in range(40)]

    def grab(claims: Claims) -> list[str]:
        return [item for item in items if claims.take(item)]

    sessions = [Claims(tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = [item for taken in pool.map(grab, sessions) for item in taken]
    assert sorted(found) == sorted(items)
    for session in sessions:
        session.close()


def test_a_killed_process_claims_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "True\n"
        mine = Claims(tmp_path)
        assert not mine.take("a")
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert mine.others() == set()
    assert mine.take("a")
    mine.close()
    (left,) = tmp_path.glob("*.lock.db")
    os.utime(left, (left.stat().st_mtime - 2 * STALE_S,) * 2)
    Claims(tmp_path).close()
    assert not left.exists()


def test_damage_is_named_with_its_remedy(tmp_path: Path) -> None:
    Claims(tmp_path).close()
    (tmp_path / "claims.db").write_bytes(b"no database at all, but long enough to be looked at" * 20)
    with pytest.raises(IntegrityError, match="damaged") as caught:
        Claims(tmp_path)
    assert caught.value.code == "claims.damaged"
    assert "remove this file" in str(caught.value.next)
    assert not list(tmp_path.glob("*.lock.db")), "what was opened before the damage showed is closed and removed"
