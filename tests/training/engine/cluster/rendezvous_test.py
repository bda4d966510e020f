import contextlib
import signal
import socket
import threading
import time

import pytest

from tests.support.training_runs import tiny_run
from training.engine.cluster import rendezvous
from training.engine.cluster.rendezvous import WorkerLostError, meet
from training.engine.cluster.tasks import Cluster

# First bytes of a gRPC server: a frame of 24 bytes, of type SETTINGS, on stream 0.
SETTINGS = bytes([0, 0, 24, 4, 0, 0, 0, 0, 0]) + bytes(24)


def clusters(count, ports=None):
    ports = ports or tiny_run.free_ports(count)
    addresses = {f"worker {i}": f"127.0.0.1:{port}" for i, port in enumerate(ports)}
    return [Cluster(addresses, name) for name in addresses]


def start(found, timeout_s=20.0):
    """Lets each worker meet the others in a thread; returns what becomes of them."""
    ends = {}

    def run(cluster):
        try:
            meet(cluster, timeout_s)
            ends[cluster.task] = "met"
        except (WorkerLostError, ValueError) as error:
            ends[cluster.task] = error

    threads = [threading.Thread(target=run, args=(c,), daemon=True) for c in found]
    for thread in threads:
        thread.start()
    return threads, ends


def join(threads):
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def server():
    """Serves fixed bytes at a port, as another program would."""
    servers = []

    def serve(port, answer):
        listener = socket.create_server(("127.0.0.1", port))
        servers.append(listener)

        def loop():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                # A worker that has read enough closes before all bytes are sent.
                with connection, contextlib.suppress(ConnectionError):
                    connection.sendall(answer)

        threading.Thread(target=loop, daemon=True).start()

    yield serve
    for listener in servers:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_workers_meet_in_any_order_and_free_their_ports():
    found = clusters(4)
    late, *others = found
    threads, ends = start(others)
    time.sleep(1.5)
    assert ends == {}  # none continues without the last
    more, last = start([late])
    join([*threads, *more])
    assert {**ends, **last} == dict.fromkeys(late.addresses, "met")
    for cluster in found:
        port = int(cluster.addresses[cluster.task].rpartition(":")[2])
        socket.create_server(("", port)).close()


def test_single_worker_does_not_wait():
    meet(clusters(1)[0], 0.0)


def test_reports_the_missing_worker_and_gives_up(monkeypatch, capsys):
    monkeypatch.setattr(rendezvous, "REPORT_EVERY_S", 0.5)
    first, second = clusters(2)
    began = time.monotonic()
    with pytest.raises(WorkerLostError) as caught:
        meet(first, 2.0)
    assert 2 <= time.monotonic() - began < 4
    missing = f"worker 1 ({first.addresses[second.task]}: connection refused)"
    assert str(caught.value) == (
        f"All workers must connect within `start_timeout`, 2 s. Missing: {missing}"
    )
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"Waiting for {missing} (")
    assert lines[0].endswith("of 2 s)")


def test_long_lists_of_missing_workers_are_shortened():
    with pytest.raises(WorkerLostError, match=r"worker 1 .*worker 5 .*; 4 more$"):
        meet(clusters(10)[0], 0.5)


def test_reports_a_worker_that_dies_during_the_wait():
    first, second, _ = clusters(3)
    threads, ends = start([first], 4.0)
    with pytest.raises(WorkerLostError, match="has not reached all.*worker 2"):
        meet(second, 2.0)
    join(threads)
    assert "worker 1 (127.0.0.1" in str(ends["worker 0"])
    assert "lost, connection refused" in str(ends["worker 0"])


def test_rejects_another_cluster():
    first, second = clusters(2)
    other = Cluster({**second.addresses, "worker 2": "127.0.0.1:1"}, second.task)
    threads, ends = start([first, other], 5.0)
    join(threads)
    assert (
        "describe the same cluster to all workers; it differs between worker 0 a"
        in str(ends["worker 0"])
    )
    assert all(isinstance(error, ValueError) for error in ends.values())


def test_rejects_the_same_task_twice():
    first, second = clusters(2)
    # The process at the second address takes itself for the first one.
    swapped = dict(
        zip(first.addresses, reversed(first.addresses.values()), strict=True)
    )
    threads, ends = start([first], 5.0)
    more, _ = start([Cluster(swapped, "worker 0")], 5.0)
    join([*threads, *more])
    message = f"Received: 'worker 0' at {second.addresses['worker 1']}, the address of"
    assert message in str(ends["worker 0"])


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (b"SSH-2.0\r\n", "another program answers"),
        (b"", "another program answers"),
        (b'{"program": "other"}\n', "another program answers"),
        (b"x" * 10**6, "another program answers|reset"),
        (SETTINGS, "busy with an earlier run"),
    ],
)
def test_answer_of_another_program_is_not_a_greeting(server, answer, state):
    first, second = clusters(2)
    server(int(first.addresses[second.task].rpartition(":")[2]), answer)
    with pytest.raises(WorkerLostError, match=f"Missing: worker 1 .*: ({state})"):
        meet(first, 1.5)


def test_worker_that_has_started_tensorflow_has_met_all(server, monkeypatch):
    first, second = clusters(2)
    peer = rendezvous._Peer(first, second.task)
    greeting = {"program": "keras_efficientnet", "task": "worker 1"}
    answers = [{**greeting, "cluster": first.digest, "has_met_all": False}, None]
    monkeypatch.setattr(rendezvous, "_ask", lambda host, port: answers.pop(0))
    peer.run()
    assert peer.has_met_all
    assert not answers


def test_waits_for_its_own_port():
    first, second = clusters(2)
    port = int(first.addresses["worker 0"].rpartition(":")[2])
    with socket.create_server(("", port)):
        match = f"Missing: port {port} of this machine, which another process uses"
        with pytest.raises(WorkerLostError, match=match):
            meet(first, 0.5)
        threads, ends = start([first, second])
        time.sleep(0.5)
    join(threads)
    assert ends == {"worker 0": "met", "worker 1": "met"}


def test_rejects_a_privileged_port(monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(rendezvous, "_Listener", refuse)
    with pytest.raises(ValueError, match="may listen on. Received: worker 0='127"):
        meet(clusters(2)[0], 1.0)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (signal.SIGTERM, 75),
        pytest.param(signal.SIGINT, 75, marks=pytest.mark.slow),
        pytest.param(None, 69, marks=pytest.mark.slow),
    ],
)
def test_command_reports_the_wait_and_ends_on_signal_or_timeout(tmp_path, sent, code):
    ports = tiny_run.free_ports(2)
    timeout = 600 if sent else 3
    process = tiny_run.start("slow", tmp_path, ports=ports, start_timeout=timeout)
    for line in process.stderr:
        if line.startswith("Waiting for worker 1 (127.0.0.1:"):
            break
    else:
        pytest.fail("No word about the missing worker.")
    began = time.monotonic()
    if sent:
        process.send_signal(sent)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert time.monotonic() - began < 10
    last = error.splitlines()[-1]
    if sent:
        assert last.startswith(f"Stopped ({sent.name})")
    else:
        assert last.startswith("Error: All workers must connect within `start_timeout`")
    assert not any(tmp_path.iterdir())
