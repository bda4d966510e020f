"""npm packages in the format of the npm registry."""

import base64
import hashlib
import io
import tarfile

from export.formats import npm, web


def tarball(files):
    """Returns a package as an npm tarball."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def fake_litert(folder, monkeypatch):
    """Replaces the packages of LiteRT.js by files of the same names in a folder."""
    code = b'import {x} from "@litertjs/wasm-utils";\n//# sourceMappingURL=index.js.map'
    members = {f"wasm/{name}": name.encode() for name in web._BUILDS}
    for key, files in {
        "CORE": {"dist/index.js": code} | members,
        "WASM_UTILS": {"dist/index.js": b"export let x;"},
    }.items():
        content = tarball(files)
        digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
        package = npm.Package(getattr(web, key).name, "0.0.1", f"sha512-{digest}")
        monkeypatch.setattr(web, key, package)
        (folder / package.tarball).write_bytes(content)
    monkeypatch.setenv(npm.FOLDER_VARIABLE, str(folder))
