"""The guide's scripts for SLURM and Kubernetes."""

import re
import subprocess

import pytest
from absl import flags

from export import batch_predict
from tests.support.paths import ROOT

_BLOCK = r"^```{}\n(.*?)^```"


def _block(language, marker):
    text = (ROOT / "docs" / "batch.md").read_text()
    blocks = re.findall(_BLOCK.format(language), text, re.M | re.S)
    (found,) = [block for block in blocks if marker in block]
    return found


@pytest.mark.parametrize(("code", "is_requeued"), [(0, False), (2, False), (75, True)])
def test_the_sbatch_script_requeues_only_after_a_signal(code, is_requeued, tmp_path):
    programs = {
        "srun": 'exec "$@"',
        "efficientnet-batch-predict": f'echo "$@" > arguments; exit {code}',
        "scontrol": 'echo "$@" > requeued',
    }
    for name, body in programs.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "MODEL": "a run",
        "INPUT": "/data/*.tar",
        "OUTPUT": "out",
        "SLURM_ARRAY_JOB_ID": "17",
        "SLURM_ARRAY_TASK_ID": "3",
    }
    script = _block("bash", "#SBATCH")
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment)
    assert done.returncode == code
    requeued = tmp_path / "requeued"
    assert requeued.exists() == is_requeued
    if is_requeued:
        assert requeued.read_text() == "requeue 17_3\n"
    written = (tmp_path / "arguments").read_text()
    assert written == "--model=a run --input=/data/*.tar --output=out --shards=16\n"
    assert "#SBATCH --array=0-15\n" in script


def test_the_indexed_job_has_a_pod_per_shard(monkeypatch):
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load(_block("yaml", "kind: Job"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    (container,) = spec["template"]["spec"]["containers"]
    program, *arguments = container["command"]
    assert program == "efficientnet-batch-predict"
    values = flags.FlagValues()
    batch_predict.define_flags(values)
    values(["batch_predict", *arguments])
    assert values.shards == spec["completions"]
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "15")
    assert batch_predict.read_job(values).shard == 15
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # the policy needs it
