import json

import pytest

from training.engine.cluster import tasks, tf_config

HOSTS = ["host0:2222", "[fe80::1]:65535"]
TASK = {"type": "worker", "index": 1}


def read(config):
    text = config if isinstance(config, str) else json.dumps(config)
    return tf_config.read_tf_config({"TF_CONFIG": text})


def cluster(hosts, task=TASK):
    return {"cluster": {"worker": hosts}, "task": task}


def test_reads_tasks_with_the_chief_first():
    jobs = {"worker": HOSTS, "chief": ["host2:1"]}
    found = read({"cluster": jobs, "task": TASK, "environment": "cloud"})
    assert list(found.addresses.items()) == [
        ("chief 0", "host2:1"),
        ("worker 0", "host0:2222"),
        ("worker 1", "[fe80::1]:65535"),
    ]
    assert found.task == "worker 1"
    assert tasks.split_address(HOSTS[1]) == ("fe80::1", 65535)
    assert tasks.group_by_job(found.addresses) == jobs


def test_digest_depends_on_the_addresses_and_not_on_the_task():
    digests = []
    for hosts, index in ((HOSTS, 0), (HOSTS, 1), (["host9:2222", HOSTS[1]], 1)):
        digests.append(read(cluster(hosts, {"type": "worker", "index": index})).digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("config", ["", "{}", {"cluster": {}}, {"task": TASK}])
def test_missing_tf_config_is_no_cluster(config):
    assert read(config) is None
    assert tf_config.read_tf_config({}) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "must be a JSON object, but .* Received: TF_CONFIG='{'"),
        ([1], r"must be a JSON object. Received: TF_CONFIG='\[1\]'"),
        ({"cluster": HOSTS}, "`cluster` must be an object, as in .* Received: clus"),
        ({"cluster": {"ps": ["a:1"]}}, "workers, and at most one chief.* Received: ps"),
        (cluster("host0:2222"), "a list of addresses .* Received: worker='host0:2222'"),
        (cluster({"0": "host0:2222"}), "must have a list of addresses for each job"),
        (cluster([HOSTS[0], 7]), "'HOST:PORT', .* Received: worker 1=7"),
        (cluster([None]), "'HOST:PORT', .* Received: worker 0=None"),
        (cluster(["host0"]), "'HOST:PORT', .* Received: worker 0='host0'"),
        (cluster(["host0:"]), "'HOST:PORT', .* Received: worker 0='host0:'"),
        (cluster(["host0:0"]), "a port from 1 to 65535. Received: worker 0='host0:0'"),
        (cluster(["host0:65536"]), "a port from 1 to 65535"),
        (cluster(["grpc://host0:1"]), "of the form 'HOST:PORT'"),
        (cluster([" a:1"]), "of the form 'HOST:PORT'"),
        (
            cluster(["a:1", "a:1"]),
            "different address .* worker 0='a:1', worker 1='a:1'",
        ),
        (
            {"cluster": {"chief": HOSTS}},
            "must have one chief at most. Received: chief=",
        ),
        (
            cluster(HOSTS, ["worker", 0]),
            r"`task` must be an object, .* task=\['worker'",
        ),
        (cluster(HOSTS, {}), r"such as {'type': 'worker', 'index': 0}. Rec.*: task={}"),
        (
            cluster(HOSTS, {"type": "worker", "index": 2}),
            "must be one of its cluster's",
        ),
        (cluster(HOSTS, {"type": "worker", "index": "1"}), "one of its cluster's"),
        (cluster(HOSTS, {"type": "chief", "index": 0}), "one of its cluster's"),
    ],
)
def test_rejects_malformed_tf_config_in_one_line(config, message):
    with pytest.raises(ValueError, match=f"^TF_CONFIG.*{message}") as caught:
        read(config)
    assert "\n" not in str(caught.value)
