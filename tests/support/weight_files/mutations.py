"""Small weight files in every format, and mutations that damage them."""

import gzip
import io
import tarfile
import zipfile

import h5py
import safetensors.numpy

from tests.support.weight_files import tf_files, torch_files

# Boundary values of sizes and counts.
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)
_NUMBERS += (2**40, 2**63 - 1, 2**63, 2**64 - 1)


def write_legacy_h5(path, arrays):
    layers = list(dict.fromkeys(name.split("/")[0] for name in arrays))
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer)
            names = [name for name in arrays if name.startswith(f"{layer}/")]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name in names:
                group.create_dataset(name, data=arrays[name], compression="gzip")


def write_legacy_pth(path, arrays, layout="legacy"):
    content = {
        n: torch_files.tensor(str(i), a) for i, (n, a) in enumerate(arrays.items())
    }
    torch_files.write(path, content, layout)


def write_zip_pth(path, arrays):
    write_legacy_pth(path, arrays, "zip")


def write_safetensors(path, arrays):
    safetensors.numpy.save_file(arrays, path)


def write_tar(path, arrays):
    folder = path.with_name(f"{path.name}.unpacked")
    folder.mkdir()
    tf_files.write(folder / "model.ckpt", arrays)
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.glob("model.ckpt.[id]*")):
            archive.add(file, f"net/{file.name}")


def in_gzip(mutate, data):
    return gzip.compress(mutate(gzip.decompress(data)), 1)


def in_zip(mutate, data, rng):
    """Damages one file of an archive and corrects its checksum."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    inner = [name for name in files if name.endswith((".pkl", ".h5", "config.json"))]
    chosen = rng.choice(inner)
    files[chosen] = mutate(files[chosen])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def mutate(data, rng):
    """Returns a file that differs from `data` in one to four places."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(_WAYS)(data, rng)
    return data


def _place(data, rng):
    """Chooses a position, mostly near an end, where the structure is stored."""
    place = int(len(data) * rng.random() ** rng.choice((1, 1, 3)))
    return len(data) - 1 - place if data and rng.random() < 0.2 else place


def _flip(data, rng):
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(data, rng):
    place = _place(data, rng)
    noise = rng.randbytes(rng.randint(1, 16))
    return data[:place] + noise + data[place + len(noise) :]


def _number(data, rng):
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(_NUMBERS) % 2 ** (8 * size)
    place = _place(data, rng)
    order = rng.choice(("little", "big"))
    return data[:place] + number.to_bytes(size, order) + data[place + size :]


def _cut(data, rng):
    return data[: _place(data, rng)]


def _splice(data, rng):
    """Copies a range to another position, by overwriting or by inserting."""
    start, end = sorted((_place(data, rng), _place(data, rng)))
    piece = data[start : min(end, start + 300)]
    place = _place(data, rng)
    return data[:place] + piece + data[place + rng.choice((0, len(piece))) :]


def _remove(data, rng):
    place = _place(data, rng)
    return data[:place] + data[place + rng.randint(1, 64) :]


_WAYS = (_flip, _flip, _overwrite, _number, _number, _cut, _splice, _remove)
