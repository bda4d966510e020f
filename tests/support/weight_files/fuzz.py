"""Fuzzer of the weight readers: loads damaged files and reports misbehaviour.

    python -m tests.support.weight_files.fuzz --count=500 --seed=0 [READER ...]

Prints one line per reader; the exit code is 1 after a failure, whose file is kept.
Loading must end in time, use little memory, raise only ValueError and then leave the
model unchanged, and must not write files, start processes or connect to hosts.
"""

import argparse
import collections
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np

from keras_efficientnet import EfficientNet
from keras_efficientnet.weights import load_weights
from keras_efficientnet.weights.formats import hdf5_sandbox, tensor_bundle
from tests.support.weight_files import mutations

SECONDS = 60  # per file; processes that read HDF5 get 10 s of processor time
MEMORY_BYTES = 1 << 30  # in addition to the memory before the first file
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Watch:
    """Audit hook that records side effects of loading a file."""

    EVENTS = (
        *("os.exec", "os.fork", "os.posix_spawn", "os.system", "pickle.find_class"),
        *("os.chmod", "os.link", "os.rename", "os.symlink", "socket.connect"),
    )

    ON_PATHS = ("os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")

    def __init__(self):
        self.on = False
        self.seen = []
        sys.addaudithook(self.hook)

    def hook(self, event, args):
        if not self.on:
            return
        if event == "open":
            if isinstance(args[2], int) and args[2] & _WRITING:
                self.check_path(event, args[0])
        elif event in self.ON_PATHS:
            self.check_path(event, args[0])
        elif event == "subprocess.Popen":
            if args[1][-1] != hdf5_sandbox.__file__:
                self.seen.append((event, args[1]))
        elif event in self.EVENTS:
            self.seen.append((event, args))

    def check_path(self, event, path):
        if isinstance(path, int) or path == os.devnull:
            return  # pipes to a process
        # Archives are unpacked there; `rmtree` passes names without folders.
        text = os.fspath(path)
        own = f"{tempfile.gettempdir()}/keras_efficientnet-"
        if not (text.startswith(own) or (event != "open" and "/" not in text)):
            self.seen.append((event, path))


class AnyNumber(int):
    def __ne__(self, other):
        return False


def damaged(reader, good, rng):
    """Returns a damaged file for `reader`."""

    def change(data):
        return mutations.mutate(data, rng)

    if reader.endswith("(inner)"):
        if good.startswith(b"PK"):
            return mutations.in_zip(change, good, rng)
        return mutations.in_gzip(change, good)
    return change(good)


def good_files(model, folder):
    """Writes the weights of `model` in every format; returns reader -> path."""
    arrays = {w.path: np.array(w) for w in model.weights}
    for name, write in (
        ("legacy.h5", mutations.write_legacy_h5),
        ("legacy.pth", mutations.write_legacy_pth),
        ("zip.pth", mutations.write_zip_pth),
        ("a.safetensors", mutations.write_safetensors),
        ("a.tar", mutations.write_tar),
    ):
        write(folder / name, arrays)
    model.save_weights(folder / "a.weights.h5")
    model.save(folder / "a.keras")
    (folder / "a.tar.gz").write_bytes(
        mutations.gzip.compress((folder / "a.tar").read_bytes(), 1)
    )
    unpacked = folder / "a.tar.unpacked"
    return {
        "legacy.h5": folder / "legacy.h5",
        "weights.h5": folder / "a.weights.h5",
        "keras": folder / "a.keras",
        "keras (inner)": folder / "a.keras",
        "legacy.pth": folder / "legacy.pth",
        "zip.pth": folder / "zip.pth",
        "zip.pth (inner)": folder / "zip.pth",
        "safetensors": folder / "a.safetensors",
        "tar": folder / "a.tar",
        "tar.gz": folder / "a.tar.gz",
        "tar.gz (inner)": folder / "a.tar.gz",
        "index": unpacked / "model.ckpt.index",
        "index (unchecked)": unpacked / "model.ckpt.index",
        "data": unpacked / "model.ckpt.data-00000-of-00001",
    }


class Fuzzer:
    def __init__(self, model, watch):
        self.model, self.watch = model, watch
        self.values = model.get_weights()

    def is_unchanged(self):
        pairs = zip(self.model.get_weights(), self.values, strict=True)
        return all(a.tobytes() == b.tobytes() for a, b in pairs)

    def load(self, path):
        """Returns "loaded", "refused" or a description of the failure."""
        self.watch.seen.clear()
        signal.alarm(SECONDS)
        outcome = "loaded"
        try:
            self.watch.on = True
            load_weights(self.model, path)
        except ValueError as error:
            outcome = "refused"
            if isinstance(error.__cause__, MemoryError):
                outcome = "MemoryError"
        except Exception as error:
            outcome = repr(error)
        finally:
            self.watch.on = False
            signal.alarm(0)
        if self.watch.seen:
            return f"did {self.watch.seen[:3]}"
        if outcome == "loaded":
            self.model.set_weights(self.values)
        elif not self.is_unchanged():
            return "changed the model"
        return outcome

    def run(self, reader, path, count, seed):
        good = path.read_bytes()
        outcome = self.load(target_of(path))
        assert outcome == "loaded", (reader, outcome)
        outcomes = collections.Counter()
        slowest = 0.0
        for i in range(count):
            rng = random.Random(f"{reader} {seed} {i}")
            path.write_bytes(damaged(reader, good, rng))
            began = time.monotonic()
            # Printed before loading, so that a crash shows which file caused it.
            print(f"\r{reader} {seed} {i} ", end="", flush=True, file=sys.stderr)
            outcome = self.load(target_of(path))
            slowest = max(slowest, time.monotonic() - began)
            outcomes[outcome] += 1
            if outcome not in ("loaded", "refused"):
                kept = Path(tempfile.gettempdir(), f"fuzz-{seed}-{i}-{path.name}")
                kept.write_bytes(path.read_bytes())
                print(f"FAILED {reader} {seed} {i}: {outcome}; kept as {kept}")
        path.write_bytes(good)
        counts = ", ".join(f"{n} {what[:60]}" for what, n in sorted(outcomes.items()))
        print(f"{reader}: {counts}; slowest {slowest:.1f} s", flush=True)
        return set(outcomes) <= {"loaded", "refused"}


def target_of(path):
    # A checkpoint is opened by its index, whichever of its files is damaged.
    return path.with_name("model.ckpt.index") if ".ckpt." in path.name else path


def limit_memory():
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("readers", nargs="*")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--hdf5_count", type=int, help="count for slow readers")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    hdf5_sandbox._CPU_SECONDS = 10
    model = EfficientNet(0.25, 0.3, 32, classes=4, features=(1,))
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        paths = good_files(model, Path(folder))
        fuzzer = Fuzzer(model, Watch())
        limit_memory()
        crc = tensor_bundle._masked_crc32c
        good = True
        for reader in options.readers or paths:
            unchecked = reader.endswith("(unchecked)")
            tensor_bundle._masked_crc32c = (lambda _: AnyNumber()) if unchecked else crc
            is_hdf5 = "h5" in reader or "keras" in reader
            count = (is_hdf5 and options.hdf5_count) or options.count
            good &= fuzzer.run(reader, paths[reader], count, options.seed)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
