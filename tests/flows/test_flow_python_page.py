"""What the page on Python shows is run, but for what takes a while: that has to be Python at least."""

import re
from pathlib import Path

import pytest

import passmuster

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "python.md"
BLOCK = re.compile(r"(<!-- takes a while -->\n)?```python\n(.*?)```", re.DOTALL)


def test_the_page_on_python_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    known: dict[str, object] = {}
    n_run = 0
    for slow, code in blocks:
        compiled = compile(code, str(PAGE), "exec")
        for name in re.findall(r"project\.(\w+)", code):
            assert hasattr(passmuster.Project, name)
        if not slow:
            exec(compiled, known)
            n_run += 1
    assert (n_run, len(blocks)) == (3, 6)
    said = re.search(r"print\(added.*#( .*)", PAGE.read_text(encoding="utf-8"))
    assert said is not None
    assert capsys.readouterr().out.strip() == said[1].strip()
    assert (tmp_path / "todo.csv").is_file()
