"""What every verb does alike: how an interruption is told, and how long work shows in a log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import passmuster
import passmuster.__main__
from passmuster.cli import session as module
from passmuster.cli.app import VERBS, main
from passmuster.cli.session import Lines, Session


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_in_a_verb_says_that_the_same_command_goes_on(
    as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: Session) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "store", interrupted)
    monkeypatch.setattr(sys, "argv", ["muster", "-C", str(tmp_path), "check", *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 130
    if as_json:
        assert json.loads(said.out)["error"]["code"] == "interrupted"
    else:
        assert "interrupted" in said.err
        assert "Next: the same command" in said.err


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    monkeypatch.setattr(sys, "argv", ["muster", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_the_version_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(monkeypatch, capsys, "--version") == (0, f"muster {passmuster.__version__}\n", "")


@pytest.mark.parametrize("words", [("label", "--plan"), ("train", "--rung"), ("release", "--junit")])
def test_an_option_without_its_value_is_a_wrong_use_and_no_bug(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, errors = told(monkeypatch, capsys, *words)
    assert code == 2
    assert f"Option '{words[-1]}' requires an argument" in errors


def test_a_log_hears_of_long_work_now_and_then_and_of_short_work_never(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    seen = []
    for item in Lines().track(range(5), "planting faults", total=5):
        seen.append(item)
        now += 20.0
    assert seen == [0, 1, 2, 3, 4]
    assert capsys.readouterr().err.splitlines() == ["planting faults: 2 of 5", "planting faults: 4 of 5"]
    assert list(Lines().track("ab", "adding")) == ["a", "b"]
    assert capsys.readouterr().err == ""


def test_ctrl_c_while_the_command_is_loaded_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "passmuster.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "passmuster.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Stopped(), *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        passmuster.__main__.main()
    assert ended.value.code == 130


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "train"])
def test_a_limit_is_refused_by_a_verb_that_would_not_keep_it(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for flag, value in (("--time", "1s"), ("--max-cost", "0.001"), ("--max-memory", "50m")):
        monkeypatch.setattr(sys, "argv", ["muster", "-C", str(tmp_path), verb, flag, value])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        told = capsys.readouterr().err
        assert f"{flag} {value}" in told
        assert "muster train" in told
        assert f"Next: muster {verb} without {flag}" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ends", ["done", "failed"])
def test_what_nobody_reads_any_more_is_done_to_the_end(tmp_path: Path, ends: str) -> None:
    """``muster … 2>&1 | head``: the reader goes after the first line, of progress or of the answer."""
    script = tmp_path / "verb.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from passmuster.cli import app\n"
        "from passmuster.cli.session import Session\n"
        "from passmuster.core.errors import HeldError\n"
        "def verb(arguments):\n"
        "    session = Session(verb='release')\n"
        "    session.progress.say('test opened')\n"
        "    sys.stdin.readline()  # until the reader has gone\n"
        "    for i in session.progress.track(range(3), 'asking'):\n"
        "        session.progress.say(f'asked {i}')\n"
        "    Path(sys.argv[1]).write_text('signed')\n"
        f"    if {ends == 'failed'}:\n"
        "        session.failed({}, ['HOLD'] * 9, HeldError('release.held', 'held', next='mend'))\n"
        "    session.done({}, ['SHIP'] * 9, 'muster approve')\n"
        "app.app, sys.argv[2:] = verb, []\n"
        "app.main()\n"
    )
    done = tmp_path / "done.txt"
    command = [sys.executable, str(script), str(done)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"test opened\n"
    process.stdout.close()
    process.stdin.write(b"go on\n")
    process.stdin.close()
    assert process.wait(60) == (4 if ends == "failed" else 0)
    assert done.read_text() == "signed"
