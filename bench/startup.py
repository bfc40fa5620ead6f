"""How long `muster --help` takes beside a bare interpreter. Bar: 0.3 s, or 8 times the bare interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from harness import Report, parse


def seconds(*arguments: str) -> float:
    """Wall-clock seconds of one run of the interpreter."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    arguments = parse(__doc__ or "")
    report = Report("startup", arguments)
    n_runs = 5 if arguments.quick else 30
    for _ in range(n_runs):  # alternating, so that both see the same machine
        report.run(help_s=seconds("-m", "passmuster", "--help"), bare_s=seconds("-c", "pass"))
    help_s = statistics.median(run["help_s"] for run in report.runs)
    bare_s = statistics.median(run["bare_s"] for run in report.runs)
    report.claim("help.median.seconds", help_s, "s", peer=bare_s)
    report.claim("help.median.times_bare_interpreter", help_s / bare_s, "ratio")
    report.write()


if __name__ == "__main__":
    main()
