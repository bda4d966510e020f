r"""Trains on a Ray cluster, one worker per node.

python launch/train_on_ray.py --nodes=2 --gpus=8 --cpus=64 -- \
    efficientnet-train --config=imagenet:b0 --workdir=/shared/runs/b0

Run it on a node of the cluster, or with RAY_ADDRESS set. Ray chooses the nodes, and
the command after `--` runs on each of them with TF_CONFIG set. After exit code 75, and
up to `--restarts` times after 69, all workers start again and the run resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys

import ray
from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

WORKER_LOST, INTERRUPTED = 69, 75  # exit codes after which a run can be resumed
SAVE_WITHIN_S = 120  # seconds that a stopped worker has for its checkpoint


class Worker:
    """Actor on a node, which runs one worker of the run."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def choose_address(self) -> str:
        """Returns the node's address with a port that is free at the moment."""
        with socket.create_server(("", 0)) as server:
            port = server.getsockname()[1]
        return f"{ray.util.get_node_ip_address()}:{port}"

    def run(self, command: list[str], addresses: list[str], index: int) -> int:
        """Runs the command to its end and returns its exit code."""
        task = {"type": "worker", "index": index}
        config = {"cluster": {"worker": addresses}, "task": task}
        environment = os.environ | {"TF_CONFIG": json.dumps(config)}
        self._process = subprocess.Popen(command, env=environment)
        return self._process.wait()

    def stop(self) -> None:
        """Lets the command save, and kills it if it takes too long."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(SAVE_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()


def run_once(group: PlacementGroup, command: list[str]) -> int:
    """Starts a worker on each node and waits for all of them.

    Args:
        group: Placement group with a bundle per node.
        command: Command of each worker.

    Returns:
        Largest exit code of the workers; 69 if a node was lost.
    """
    actor = ray.remote(max_concurrency=2)(Worker)  # `stop` runs beside `run`
    workers = [
        actor.options(
            num_cpus=bundle["CPU"],
            num_gpus=bundle.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, i),
        ).remote()
        for i, bundle in enumerate(group.bundle_specs)
    ]
    try:
        addresses = ray.get([worker.choose_address.remote() for worker in workers])
        runs = [w.run.remote(command, addresses, i) for i, w in enumerate(workers)]
        return max(ray.get(runs))
    except ray.exceptions.RayActorError as error:
        print(f"Lost a node: {error}", file=sys.stderr)
        return WORKER_LOST
    finally:
        stops = [worker.stop.remote() for worker in workers]
        ray.wait(stops, num_returns=len(stops), timeout=SAVE_WITHIN_S + 10)
        for worker in workers:
            ray.kill(worker)


def run_until_done(group: PlacementGroup, command: list[str], restarts: int) -> int:
    """Runs the workers again after exit codes 75 and 69.

    Args:
        group: Placement group with a bundle per node.
        command: Command of each worker.
        restarts: Number of restarts after exit code 69.

    Returns:
        Exit code of the last attempt.
    """
    while True:
        code = run_once(group, command)
        if code not in (WORKER_LOST, INTERRUPTED) or (
            code == WORKER_LOST and restarts == 0
        ):
            return code
        restarts -= code == WORKER_LOST
        print(f"The workers ended with exit code {code}; starting them again")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Runs the command line and returns the exit code of the run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, required=True, help="number of nodes")
    parser.add_argument("--cpus", type=int, default=1, help="processors per node")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs per node")
    parser.add_argument("--restarts", type=int, default=10, help="after exit code 69")
    parser.add_argument("command", nargs="+", help="training command, after --")
    args = parser.parse_args()
    ray.init()
    signal.signal(signal.SIGTERM, _interrupt)  # in place of Ray's own handler
    bundle = {"CPU": args.cpus, **({"GPU": args.gpus} if args.gpus else {})}
    group = placement_group([bundle] * args.nodes, strategy="STRICT_SPREAD")
    print(f"Waiting for {args.nodes} nodes with {bundle}", file=sys.stderr)
    try:
        ray.get(group.ready())
        return run_until_done(group, args.command, args.restarts)
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
