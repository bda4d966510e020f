"""Batch scripts for SLURM, with stand-ins for its commands."""

import json
import re
import subprocess
import sys

import pytest
from absl import flags

from export import batch_predict
from tests.support.paths import ROOT
from training.engine.cluster.launchers import find_cluster

TRAIN = ROOT / "launch" / "train.sbatch"
PREDICT = ROOT / "launch" / "batch_predict.sbatch"
# Runs its command twice, as two tasks of this machine.
SRUN = r"""#!/bin/bash
while [[ $1 == --* ]]; do shift; done
export SLURM_STEP_NUM_TASKS=2 SLURM_STEP_TASKS_PER_NODE=2 SLURM_NODEID=0
export SLURM_STEP_NODELIST=localhost
worst=0
for rank in 0 1; do
    SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@"
    code=$?
    [ $code -gt $worst ] && worst=$code
done
exit $worst
"""
TASK = """#!{python} -I
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ)]), file=open("tasks", "a"))
sys.exit({code})
"""


@pytest.fixture
def run(tmp_path):
    """Returns a function that runs a script whose tasks exit with a code."""

    def run_script(script, code, *arguments, **variables):
        task = TASK.format(python=sys.executable, code=code)
        programs = {
            "srun": SRUN,
            "scontrol": '#!/bin/sh\necho "$@" > requeued\n',
            "efficientnet-train": task,
            "efficientnet-batch-predict": task,
        }
        for name, text in programs.items():
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
        path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        done = subprocess.run(
            ["bash", script, *arguments],
            cwd=tmp_path,
            env=path | variables,
            capture_output=True,
            text=True,
        )
        requeued = tmp_path / "requeued"
        return done, requeued.read_text().strip() if requeued.exists() else ""

    return run_script


def read_tasks(folder):
    """Returns the arguments and the environment of each task."""
    return [json.loads(line) for line in (folder / "tasks").read_text().splitlines()]


def directives(script):
    return dict(
        re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", script.read_text(), re.M)
    )


@pytest.mark.parametrize("script", [TRAIN, PREDICT])
def test_scripts_are_valid_and_may_be_requeued(script):
    subprocess.run(["bash", "-n", script], check=True)
    found = directives(script)
    assert found["requeue"] == ""
    # Without "B:", SLURM signals the tasks and not the script.
    assert re.fullmatch(r"TERM@\d+", found["signal"])
    assert found["open-mode"] == "append"  # a restart must not empty the log


def test_training_tasks_share_the_node_on_distinct_ports(run, tmp_path):
    done, _ = run(TRAIN, 0, "--config=a b", WORKDIR="/runs/b 0", SLURM_JOB_ID="20007")
    assert done.returncode == 0, done.stderr
    tasks = read_tasks(tmp_path)
    assert len(tasks) == 2
    for i, (arguments, environment) in enumerate(tasks):
        assert arguments == ["--workdir=/runs/b 0", "--config=a b"]
        cluster = find_cluster(environment)
        assert cluster.task == f"worker {i}"
        assert list(cluster.addresses.values()) == [
            "localhost:10007",
            "localhost:10008",
        ]


@pytest.mark.parametrize(
    ("code", "restarts", "expected"),
    [
        (0, "", ""),
        (1, "", ""),
        (2, "", ""),
        (69, "", "requeue 17"),
        (69, "9", "requeue 17"),
        (69, "10", ""),
        (74, "", "requeuehold 17"),
        (75, "", "requeue 17"),
        (75, "10", "requeue 17"),
    ],
)
def test_training_is_requeued_by_its_exit_code(run, code, restarts, expected):
    variables = {"SLURM_RESTART_COUNT": restarts} if restarts else {}
    done, requeued = run(TRAIN, code, WORKDIR="w", SLURM_JOB_ID="17", **variables)
    assert (done.returncode, requeued) == (code, expected)


def test_training_requires_a_run_folder(run, tmp_path):
    done, _ = run(TRAIN, 0, SLURM_JOB_ID="17")
    assert done.returncode != 0
    assert "WORKDIR: must be the folder of the run" in done.stderr
    assert not (tmp_path / "tasks").exists()


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, ""), (1, ""), (2, ""), (74, "requeuehold 17_3"), (75, "requeue 17_3")],
)
def test_shard_is_requeued_by_its_exit_code(run, tmp_path, code, expected):
    done, requeued = run(
        PREDICT,
        code,
        MODEL="a run",
        INPUT="/data/*.tar",
        OUTPUT="out",
        SLURM_ARRAY_JOB_ID="17",
        SLURM_ARRAY_TASK_ID="3",
    )
    assert (done.returncode, requeued) == (code, expected)
    arguments, _ = read_tasks(tmp_path)[0]
    assert arguments[:2] == ["--model=a run", "--input=/data/*.tar"]
    values = flags.FlagValues()
    batch_predict.define_flags(values)
    values(["batch_predict", *arguments])
    assert directives(PREDICT)["array"] == f"0-{values.shards - 1}"
