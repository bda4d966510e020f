import pytest

from tests.training.engine.cluster.recorded import MPI_HOSTS, MPI_PROCESS
from training.engine.cluster import open_mpi

EXPECTED = ["node1:8888", "node1:8889", "node2:8888", "node2:8889"]


@pytest.mark.parametrize(
    "hosts",
    [
        MPI_HOSTS,
        {"LSB_MCPU_HOSTS": "node1 2 node2 2"},
        {"SLURM_JOB_NODELIST": "node[1-2]"},
    ],
)
def test_hosts_come_from_a_variable_or_the_scheduler(hosts):
    found = open_mpi.read_open_mpi(MPI_PROCESS | hosts)
    assert list(found.addresses.values()) == EXPECTED
    assert (found.task, found.launcher) == ("worker 3", "Open MPI")


def test_processes_of_one_machine_need_no_hosts():
    local = {"OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "3"}
    found = open_mpi.read_open_mpi(MPI_PROCESS | local)
    assert list(found.addresses.values()) == [f"localhost:{8888 + i}" for i in range(4)]
    assert len(found.local_tasks) == 4


def test_process_outside_mpirun_is_no_cluster():
    assert open_mpi.read_open_mpi(MPI_HOSTS) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"EFFICIENTNET_HOSTS": None},
            "as in `mpirun -x EFFICIENTNET_HOSTS=host0,host",
        ),
        (
            {"EFFICIENTNET_HOSTS": "node1"},
            "same number of processes .*_SIZE=2, 1 hosts",
        ),
        ({"OMPI_COMM_WORLD_RANK": None}, "in OMPI_COMM_WORLD_RANK. Received: nothing"),
        ({"OMPI_COMM_WORLD_RANK": "4"}, "below the number of workers, 4. Received: OM"),
        # Recorded with a process on each host in turn.
        (
            {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"},
            "pass --map-by slot. Received: OMPI_COMM_WORLD_RANK=1",
        ),
    ],
)
def test_rejects_contradictions_in_one_line(changes, message):
    variables = MPI_PROCESS | MPI_HOSTS | changes
    variables = {k: v for k, v in variables.items() if v is not None}
    with pytest.raises(ValueError, match=message) as caught:
        open_mpi.read_open_mpi(variables)
    assert "\n" not in str(caught.value)
