import pytest

from tests.training.engine.cluster.recorded import JOB_POD, JOBSET_POD
from training.engine.cluster import kubernetes


def test_pods_of_a_jobset_have_stable_host_names():
    found = kubernetes.read_kubernetes(JOBSET_POD)
    assert list(found.addresses.items()) == [
        ("worker 0", "train-workers-0-0.train:8888"),
        ("worker 1", "train-workers-0-1.train:8888"),
        ("worker 2", "train-workers-0-2.train:8888"),
        ("worker 3", "train-workers-0-3.train:8888"),
    ]
    assert (found.task, found.launcher) == ("worker 3", "Kubernetes")
    assert found.local_tasks == ["worker 3"]


def test_pods_of_an_indexed_job_have_stable_host_names():
    found = kubernetes.read_kubernetes(JOB_POD | {"EFFICIENTNET_PORT": "2222"})
    assert found.addresses["worker 2"] == "example-job-2.headless-svc:2222"
    assert found.task == "worker 0"


def test_indexed_job_without_a_number_of_workers_is_no_cluster():
    pod = {"HOSTNAME": "sweep-1", "JOB_COMPLETION_INDEX": "1"}
    assert kubernetes.read_kubernetes(pod) is None


def test_single_pod_needs_no_service():
    pod = JOB_POD | {"EFFICIENTNET_WORKERS": "1", "EFFICIENTNET_SUBDOMAIN": ""}
    found = kubernetes.read_kubernetes(pod)
    assert found.addresses == {"worker 0": "example-job-0:8888"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EFFICIENTNET_WORKERS": "four"}, "in EFFICIENTNET_WORKERS. Received: EFFICI"),
        ({"JOB_COMPLETION_INDEX": None}, "in JOB_COMPLETION_INDEX. Received: nothing"),
        ({"JOB_COMPLETION_INDEX": "4"}, "the number of workers, 4. Received: JOB_COMP"),
        ({"JOB_COMPLETION_INDEX": "2"}, "end in its index, -2, .*'train-workers-0-3'"),
        ({"HOSTNAME": "vm"}, "end in its index, -3, .* Received: HOSTNAME='vm'"),
        ({"EFFICIENTNET_SUBDOMAIN": None}, "SUBDOMAIN must be .* Received: nothing"),
    ],
)
def test_rejects_contradictions_in_one_line(changes, message):
    variables = {k: v for k, v in (JOBSET_POD | changes).items() if v is not None}
    with pytest.raises(ValueError, match=message) as caught:
        kubernetes.read_kubernetes(variables)
    assert "\n" not in str(caught.value)
