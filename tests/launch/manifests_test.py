"""Kubernetes manifests, checked against JobSet's schema and by what they start."""

import copy
import re

import jsonschema
import pytest
import yaml
from absl import flags

from export import batch_predict
from keras_efficientnet.common.cli.exit_codes import ExitCode
from tests.support import commands
from tests.support.paths import ROOT
from training.engine.cluster.launchers import find_cluster

SCHEMA = ROOT / "tests" / "data" / "kubernetes" / "jobset_schema.yaml"


def strict(schema):
    """Rejects fields that the schema does not list, as a Kubernetes server does."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(value) for name, value in schema.items()}
    is_preserved = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not is_preserved:
        made["additionalProperties"] = False
    return made


def load(name):
    return yaml.safe_load((ROOT / "launch" / name).read_text())


@pytest.fixture(scope="module")
def jobset_schema():
    schema = strict(yaml.safe_load(SCHEMA.read_text()))
    schema["properties"]["metadata"] = {"required": ["name"]}
    return schema


@pytest.fixture(scope="module")
def job_schema(jobset_schema):
    """Schema of batch/v1's JobSpec, which JobSet's contains."""
    jobs = jobset_schema["properties"]["spec"]["properties"]["replicatedJobs"]
    return jobs["items"]["properties"]["template"]["properties"]["spec"]


def pod_of(job):
    template = job["template"]["spec"]
    (container,) = template["containers"]
    return template, container


def test_jobset_fits_its_schema(jobset_schema):
    manifest = load("jobset.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == (
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
    )
    jsonschema.validate(manifest, jobset_schema)


def test_job_fits_its_schema(job_schema):
    manifest = load("batch_predict_job.yaml")
    assert (manifest["apiVersion"], manifest["kind"]) == ("batch/v1", "Job")
    jsonschema.validate(manifest["spec"], job_schema)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("completion",), 16),
        (("completions",), "16"),
        (("podFailurePolicy", "rules", 0, "action"), None),
        (("template", "spec", "containers", 0, "volumes"), []),
    ],
)
def test_schema_rejects_unknown_and_malformed_fields(job_schema, path, value):
    spec = copy.deepcopy(load("batch_predict_job.yaml")["spec"])
    part = spec
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spec, job_schema)


def test_pods_of_the_jobset_find_each_other():
    manifest = load("jobset.yaml")
    (replicated,) = manifest["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    template, container = pod_of(job)
    count = job["completions"]
    assert job["parallelism"] == count
    # JobSet: <jobset>-<replicated job>-<job index>-<pod index>.<subdomain>
    hosts = f"{manifest['metadata']['name']}-{replicated['name']}-0"
    variables = {row["name"]: row["value"] for row in container["env"]}
    pod = {"JOB_COMPLETION_INDEX": "2", "HOSTNAME": f"{hosts}-2"}
    found = find_cluster(variables | pod)
    subdomain = manifest["spec"]["network"]["subdomain"]
    (port,) = [row["containerPort"] for row in container["ports"]]
    assert list(found.addresses.values()) == [
        f"{hosts}-{i}.{subdomain}:{port}" for i in range(count)
    ]
    assert template["restartPolicy"] == "Never"  # podFailurePolicy needs it


def test_training_command_of_the_jobset_is_valid():
    (replicated,) = load("jobset.yaml")["spec"]["replicatedJobs"]
    _, container = pod_of(replicated["template"]["spec"])
    program, *arguments = container["command"]
    assert program == "efficientnet-train"
    commands.check("training.main", arguments)


def jobset_action(code):
    """Returns the action of the JobSet after a pod has exited with a code."""
    spec = load("jobset.yaml")["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    name = job["template"]["spec"]["containers"][0]["name"]
    message, reason = "Job has reached the backoff limit", "BackoffLimitExceeded"
    for i, rule in enumerate(job["podFailurePolicy"]["rules"]):
        assert (rule["action"], rule["onExitCodes"]["operator"]) == ("FailJob", "In")
        assert rule["onExitCodes"]["containerName"] == name
        if code in rule["onExitCodes"]["values"]:
            reason = "PodFailurePolicy"
            # As the job controller words it; source: JobSet's KEP 262.
            message = (
                f"Container {name} for pod default/{name}-0 failed with exit code "
                f"{code} matching FailJob rule at index {i}"
            )
            break
    for rule in spec["failurePolicy"]["rules"]:
        patterns = rule.get("onJobFailureMessagePatterns", [""])
        if reason in rule["onJobFailureReasons"] and any(
            re.search(pattern, message) for pattern in patterns
        ):
            return rule["action"]
    return "RestartJobSet"  # JobSet's default


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (ExitCode.FAILURE, "FailJobSet"),
        (ExitCode.WRONG_INPUT, "FailJobSet"),
        (ExitCode.WORKER_LOST, "RestartJobSet"),
        (ExitCode.CANNOT_WRITE, "RestartJobSet"),
        (ExitCode.INTERRUPTED, "RestartJobSetAndIgnoreMaxRestarts"),
        (137, "RestartJobSet"),
    ],
)
def test_jobset_restarts_by_the_exit_code(code, action):
    assert jobset_action(int(code)) == action
    assert load("jobset.yaml")["spec"]["failurePolicy"]["maxRestarts"] > 0


def test_indexed_job_has_a_pod_per_shard(monkeypatch):
    spec = load("batch_predict_job.yaml")["spec"]
    assert spec["completionMode"] == "Indexed"
    template, container = pod_of(spec)
    program, *arguments = container["command"]
    assert program == "efficientnet-batch-predict"
    values = flags.FlagValues()
    batch_predict.define_flags(values)
    values(["batch_predict", *arguments])
    assert values.shards == spec["completions"] == spec["parallelism"]
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "15")
    assert batch_predict.read_job(values).shard == 15
    assert template["restartPolicy"] == "Never"


def test_indexed_job_retries_by_the_exit_code():
    spec = load("batch_predict_job.yaml")["spec"]
    _, container = pod_of(spec)
    actions = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        if "onExitCodes" in rule:
            assert rule["onExitCodes"]["containerName"] == container["name"]
            actions |= dict.fromkeys(rule["onExitCodes"]["values"], rule["action"])
    # Other codes count towards the limit of each index.
    assert actions == {2: "FailJob", 1: "FailIndex", 75: "Ignore"}
    assert spec["backoffLimitPerIndex"] > 0
