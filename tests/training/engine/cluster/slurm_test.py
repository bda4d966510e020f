import pytest

from tests.training.engine.cluster.recorded import (
    SLURM_BATCH_SCRIPT,
    SLURM_SHELL,
    SLURM_STEP,
)
from training.engine.cluster import slurm


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("login", ["login"]),
        ("gpu[008-010]", ["gpu008", "gpu009", "gpu010"]),
        ("n[9-10,012],login,x3", ["n9", "n10", "n012", "login", "x3"]),
        ("r[1-2]n[01,03]", ["r1n01", "r1n03", "r2n01", "r2n03"]),
        ("a-[1-2].cluster,b", ["a-1.cluster", "a-2.cluster", "b"]),
    ],
)
def test_expands_node_lists_in_their_order(text, nodes):
    assert slurm.expand_nodes(text) == nodes


@pytest.mark.parametrize("text", ["", ",a", "a,,b", "a[", "a[1-]", "a[2-1]", "a]"])
def test_rejects_malformed_node_lists(text):
    with pytest.raises(ValueError, match=r"must have the form of 'node\[1-2\]'"):
        slurm.expand_nodes(text)


def test_expands_task_counts():
    assert slurm.expand_counts("4(x2),3,1(x1)") == [4, 4, 3, 1]
    with pytest.raises(ValueError, match="tasks per node must .* Received: '2x3'"):
        slurm.expand_counts("2x3")


def test_tasks_of_a_node_have_distinct_ports():
    found = slurm.read_slurm(SLURM_STEP)
    assert found.addresses == {
        "worker 0": "gpu008:8888",
        "worker 1": "gpu008:8889",
        "worker 2": "gpu009:8888",
        "worker 3": "gpu009:8889",
        "worker 4": "gpu010:8888",
    }
    assert (found.task, found.index, found.launcher) == ("worker 3", 3, "SLURM")
    assert found.local_tasks == ["worker 2", "worker 3"]


def test_cyclic_distribution_gives_a_task_to_each_node_in_turn():
    place = {"SLURM_NODEID": "0", "SLURM_LOCALID": "1", "SLURM_DISTRIBUTION": "cyclic"}
    found = slurm.read_slurm(SLURM_STEP | place)
    assert list(found.addresses.values()) == [
        "gpu008:8888",
        "gpu009:8888",
        "gpu010:8888",
        "gpu008:8889",
        "gpu009:8889",
    ]


def test_first_port_can_be_chosen():
    found = slurm.read_slurm(SLURM_STEP | {"EFFICIENTNET_PORT": "12000"})
    assert found.addresses["worker 1"] == "gpu008:12001"


def test_tasks_per_node_may_come_from_the_options_of_the_job():
    variables = SLURM_STEP | {"SLURM_NTASKS_PER_NODE": "2", "SLURM_STEP_NUM_TASKS": "6"}
    del variables["SLURM_STEP_TASKS_PER_NODE"], variables["SLURM_STEP_NODELIST"]
    assert slurm.read_slurm(variables).count == 6


@pytest.mark.parametrize("variables", [{}, SLURM_BATCH_SCRIPT])
def test_batch_script_is_no_step(variables):
    assert slurm.read_slurm(variables) is None


def test_interactive_shell_is_a_single_task():
    assert slurm.read_slurm(SLURM_SHELL).addresses == {"worker 0": "GPU71E4:8888"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SLURM_PROCID": None}, "a number in SLURM_PROCID. Received: nothing"),
        ({"SLURM_PROCID": "x"}, "in SLURM_PROCID. Received: SLURM_PROCID='x'"),
        ({"SLURM_PROCID": "5"}, "below the number of workers, 5. Received: SLURM_PRO"),
        ({"SLURM_STEP_NUM_TASKS": "6"}, "_TASKS=6, but 3 nodes with 5 tasks on 3"),
        ({"SLURM_STEP_NODELIST": "gpu008"}, "=5, but 1 nodes with 5 tasks on 3"),
        ({"SLURM_STEP_TASKS_PER_NODE": "5"}, "3 nodes with 5 tasks on 1 of them"),
        (
            {"SLURM_STEP_TASKS_PER_NODE": None},
            "must have SLURM_STEP_TASKS_PER_NODE or SLURM_NTASKS_PER_NODE",
        ),
        ({"SLURM_LOCALID": None}, "a number in SLURM_LOCALID. Received: nothing"),
        ({"SLURM_NODEID": "2"}, "--distribution=block to srun. Received: SLURM_PROCI"),
        ({"EFFICIENTNET_PORT": "65535"}, "a port from 1 to 65534, so that each"),
        ({"EFFICIENTNET_PORT": "http"}, "Received: EFFICIENTNET_PORT='http'"),
    ],
)
def test_rejects_contradictions_in_one_line(changes, message):
    variables = {k: v for k, v in (SLURM_STEP | changes).items() if v is not None}
    with pytest.raises(ValueError, match=message) as caught:
        slurm.read_slurm(variables)
    assert "\n" not in str(caught.value)
