import subprocess
from pathlib import Path

import pytest

from benchmarks.startup import commands
from benchmarks.workers import ROOT

CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"


def test_counts_the_processor_time_of_children():
    idle = commands.measure(["-c", CHILD.format("pass")], ROOT)
    busy = commands.measure(["-c", CHILD.format("sum(range(20_000_000))")], ROOT)
    assert busy > idle + 0.1


def test_failed_commands_are_errors():
    with pytest.raises(subprocess.CalledProcessError):
        commands.measure(["-c", "raise SystemExit(1)"], ROOT)


def test_versions_take_turns(monkeypatch):
    seen = []

    def measure(arguments, root):
        seen.append(root.name)
        return float(len(seen))

    monkeypatch.setattr(commands, "measure", measure)
    roots = [Path("before"), Path("now")]
    found = commands.compare("predict", roots, Path("model.keras"), 2)
    assert seen == ["before", "now"] * 2
    assert found == [[1.0, 2.0], [3.0, 4.0]]
