"""Batch prediction jobs on few pictures, and their rows."""

import subprocess
import sys

from absl import flags

from export import batch_predict
from tests.support import export_run
from tests.support.paths import ROOT


def write_photos(folder, per_class=10):
    """Writes pictures of four classes, one of which is broken."""
    export_run.write_pictures(folder, per_class, seed=5)
    (folder / "noise" / "05.png").write_bytes(b"broken")
    return folder


def run(photos, output, *arguments, model=None):
    """Runs the command in this process; returns its exit code."""
    values = flags.FlagValues()
    batch_predict.define_flags(values)
    argv = values(["batch_predict", *_required(photos, output, model), *arguments])
    return batch_predict.main(argv, values)


def start(photos, output, *arguments):
    """Starts the command in a process of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "export.batch_predict"),
            *(*_required(photos, output), *arguments),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def rows(output):
    """Returns the rows of all Parquet parts, in order."""
    from pyarrow import parquet

    return [
        row
        for path in sorted(output.glob("part-*.parquet"))
        for row in parquet.read_table(path).to_pylist()
    ]


def _required(photos, output, model=None):
    return [
        f"--model={model or export_run.run_folder()}",
        f"--input={photos}",
        f"--output={output}",
    ]
