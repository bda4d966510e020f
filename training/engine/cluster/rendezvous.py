"""Rendezvous of the workers over TCP, before TensorFlow connects them.

TensorFlow's own wait for missing workers is silent and cannot be interrupted. So each
worker first listens on its own port in plain Python, greets every connection, and asks
all others for their greeting. It proceeds once it knows that every worker has reached
every other one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from .tasks import Cluster, split_address

REPORT_EVERY_S = 15.0  # seconds between reports of missing workers
_PROGRAM = "keras_efficientnet"
_ANSWER_S = 2.0  # timeout in seconds of a connection and of its greeting
_LARGEST_GREETING = 4096  # bytes
_SHOWN = 5  # missing workers named in a line


class WorkerLostError(ConnectionError):
    """Another worker of the run has died or cannot be reached."""


def meet(cluster: Cluster, timeout_s: float) -> None:
    """Waits until all workers of a cluster have reached each other.

    Afterwards this worker's port is free again, for TensorFlow. The wait takes place
    in Python, so that signal handlers run at once.

    Args:
        cluster: Tasks of the run.
        timeout_s: Longest wait in seconds.

    Raises:
        WorkerLostError: A worker cannot be reached, or this one's port is not free.
        ValueError: A worker has another cluster, or the same task as another one.
    """
    if len(cluster.addresses) < 2:
        return
    wait = _Wait(timeout_s)
    with _listening(cluster, wait) as listener:
        peers = [
            _Peer(cluster, name) for name in cluster.addresses if name != cluster.task
        ]
        try:
            for peer in peers:
                peer.start()
            while True:
                listener.has_met_all = all(peer.is_met for peer in peers)
                missing = [str(peer) for peer in peers if not peer.has_met_all]
                if not missing or any(peer.mistake for peer in peers):
                    break
                wait.pause(missing)
            # Leave the others time to ask again, so that they learn that this worker
            # has met all, or find the mistake too.
            time.sleep(2 * _ask_every_s(cluster))
        finally:
            for peer in peers:
                peer.stop.set()
    for peer in peers:
        if peer.mistake:
            raise ValueError(peer.mistake)


def _ask_every_s(cluster: Cluster) -> float:
    """Returns the polling interval in seconds, longer for more workers."""
    return 0.25 * math.ceil(len(cluster.addresses) / 32)


class _Wait:
    """Wait that reports missing workers and ends at a deadline."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._began = time.monotonic()
        self._next_report_s = REPORT_EVERY_S

    def pause(self, missing: Sequence[str]) -> None:
        """Sleeps for a moment.

        Raises:
            WorkerLostError: The timeout has passed.
        """
        waited = time.monotonic() - self._began
        rest = len(missing) - _SHOWN
        more = [f"{rest} more"] if rest > 0 else []
        listed = "; ".join([*missing[:_SHOWN], *more])
        if waited >= self._timeout_s:
            raise WorkerLostError(
                f"All workers must connect within `start_timeout`, "
                f"{self._timeout_s:g} s. Missing: {listed}"
            )
        if waited >= self._next_report_s:
            self._next_report_s += REPORT_EVERY_S
            print(
                f"Waiting for {listed} ({waited:.0f} of {self._timeout_s:g} s)",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(0.05)


class _Listener(socketserver.TCPServer):
    """Greets every connection to this worker's port."""

    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, cluster: Cluster, port: int) -> None:
        # As TensorFlow's server does, on every address of this machine.
        if socket.has_dualstack_ipv6():
            self.address_family = socket.AF_INET6
        super().__init__(("", port), _Greeter)
        self.cluster = cluster
        self.has_met_all = False

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores broken connections; the other worker connects again."""


class _Greeter(socketserver.BaseRequestHandler):
    server: _Listener

    def handle(self) -> None:
        cluster = self.server.cluster
        greeting = {
            "program": _PROGRAM,
            "task": cluster.task,
            "cluster": cluster.digest,
            "has_met_all": self.server.has_met_all,
        }
        self.request.settimeout(_ANSWER_S)
        self.request.sendall(json.dumps(greeting).encode() + b"\n")


@contextlib.contextmanager
def _listening(cluster: Cluster, wait: _Wait) -> Iterator[_Listener]:
    """Listens on this worker's port inside a block."""
    listener = _bind(cluster, wait)
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.shutdown()
        listener.server_close()


def _bind(cluster: Cluster, wait: _Wait) -> _Listener:
    """Binds this worker's port once a process of an earlier run has released it."""
    address = cluster.addresses[cluster.task]
    _, port = split_address(address)
    while True:
        try:
            return _Listener(cluster, port)
        except PermissionError as error:
            raise ValueError(
                f"{cluster.launcher} must give the workers ports that this user may "
                f"listen on. Received: {cluster.task}={address!r}"
            ) from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            wait.pause([f"port {port} of this machine, which another process uses"])


class _Peer(threading.Thread):
    """Thread that repeatedly asks another worker for its greeting.

    Attributes:
        is_met: Whether it has greeted this worker.
        has_met_all: Whether it has reached all workers.
        mistake: Error that waiting cannot fix; empty if there is none.
        stop: Event that ends the thread.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._peer, self._address = name, cluster.addresses[name]
        self._state = "not contacted yet"
        self._every_s = _ask_every_s(cluster)
        self.is_met = self.has_met_all = False
        self.mistake = ""
        self.stop = threading.Event()

    def __str__(self) -> str:
        return f"{self._peer} ({self._address}: {self._state})"

    def run(self) -> None:
        while not (self.has_met_all or self.mistake or self.stop.is_set()):
            try:
                greeting = _ask(*split_address(self._address))
            except OSError as error:
                gone = "lost, " if self.is_met else ""
                self._state = f"{gone}{(error.strerror or str(error)).lower()}"
            else:
                self._take(greeting)
            self.stop.wait(self._every_s)

    def _take(self, greeting: dict[str, Any] | None) -> None:
        launcher = self._cluster.launcher
        if greeting is None:
            # If this worker has met the peer before, the peer has met all and started
            # TensorFlow; otherwise the peer is still in an earlier run.
            self.has_met_all = self.is_met
            self._state = "busy with an earlier run"
        elif greeting.get("task") != self._peer:
            self.mistake = (
                f"{launcher} must give each worker a task of its own. "
                f"Received: {greeting.get('task')!r} at {self._address}, the address "
                f"of {self._peer}"
            )
        elif greeting.get("cluster") != self._cluster.digest:
            self.mistake = (
                f"{launcher} must describe the same cluster to all workers; it differs "
                f"between {self._cluster.task} and {self._peer} ({self._address})"
            )
        else:
            self._state = "has not reached all workers"
            self.is_met = True
            self.has_met_all = bool(greeting.get("has_met_all"))


def _ask(host: str, port: int) -> dict[str, Any] | None:
    """Returns the greeting of a worker; None if TensorFlow's server answers.

    Raises:
        OSError: There is no answer, or another program answers.
    """
    answer = b""
    with socket.create_connection((host, port), _ANSWER_S) as connection:
        while not (b"\n" in answer or _is_grpc(answer)):
            received = connection.recv(_LARGEST_GREETING)
            answer += received
            if not received or len(answer) > _LARGEST_GREETING:
                break
    if _is_grpc(answer):
        return None
    try:
        greeting = json.loads(answer)
        if greeting["program"] == _PROGRAM:
            return greeting
    except (ValueError, KeyError, TypeError):
        pass
    raise ConnectionError("another program answers")


def _is_grpc(answer: bytes) -> bool:
    """Returns whether an answer begins with the SETTINGS frame of HTTP/2."""
    return len(answer) >= 9 and answer[3] == 4 and answer[5:9] == bytes(4)
