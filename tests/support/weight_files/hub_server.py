"""HTTP server that speaks the Hugging Face Hub's download protocol.

Source: huggingface_hub, file_download.py: `get_hf_file_metadata`, `hf_hub_download`;
utils/_http.py: `hf_raise_for_status` (error codes).
"""

import contextlib
import hashlib
import http.server
import re
import threading

import huggingface_hub.constants

from keras_efficientnet.weights.download import hub

BRANCH = "main"


class FakeHub:
    """Repositories by "owner/name", each a dict commit -> files.

    Files of at least `lfs_bytes` are served like those in Git LFS: by a redirect to
    another address, with their SHA-256 as entity tag.
    """

    def __init__(self, httpd):
        self._httpd = httpd
        self.repositories = {}
        self.branches = {}  # (repository, branch or tag) -> commit
        self.tokens = {}  # repository -> token that it requires
        self.requests = []  # "METHOD path"
        self.lfs_bytes = 10_000

    @property
    def url(self):
        return f"http://127.0.0.1:{self._httpd.server_port}"

    @property
    def downloads(self):
        """Paths of the files that were downloaded."""
        gets = [line for line in self.requests if line.startswith("GET ")]
        return [line.removeprefix("GET ") for line in gets]

    @property
    def storage_url(self):
        # The library treats a redirect to the same host as another page of the hub.
        return f"http://localhost:{self._httpd.server_port}"

    def commit(self, repository, files, branch=BRANCH):
        """Adds a commit of all files of a repository, and returns its hash."""
        commits = self.repositories.setdefault(repository, {})
        commit = hashlib.sha1(f"{repository} {len(commits)}".encode()).hexdigest()
        commits[commit] = files
        self.branches[repository, branch] = commit
        return commit

    def blob(self, digest):
        for commits in self.repositories.values():
            for files in commits.values():
                for content in files.values():
                    if hashlib.sha256(content).hexdigest() == digest:
                        return content
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer(has_body=False)

    def do_GET(self):
        self._answer(has_body=True)

    def _answer(self, has_body):
        hub = self.server.hub
        hub.requests.append(f"{self.command} {self.path}")
        stored = re.fullmatch("/lfs/([0-9a-f]{64})", self.path)
        if stored:
            self._send(200, hub.blob(stored[1]), {"ETag": '"s3"'}, has_body)
            return
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        repository, revision, name = match.groups() if match else ("", "", "")
        commits = hub.repositories.get(repository)
        token = hub.tokens.get(repository)
        if commits is None or (
            token and self.headers.get("Authorization") != f"Bearer {token}"
        ):
            # The Hub does not say whether a private repository exists.
            self._send(401, b"", {"X-Error-Code": "RepoNotFound"}, has_body)
            return
        commit = hub.branches.get((repository, revision), revision)
        if commit not in commits:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"}, has_body)
            return
        headers = {"X-Repo-Commit": commit}
        if name not in commits[commit]:
            headers["X-Error-Code"] = "EntryNotFound"
            self._send(404, b"", headers, has_body)
            return
        self._send_file(commits[commit][name], headers, has_body)

    def _send_file(self, content, headers, has_body):
        if len(content) < self.server.hub.lfs_bytes:
            header = f"blob {len(content)}\0".encode()
            etag = hashlib.sha1(header + content).hexdigest()
            self._send(200, content, headers | {"ETag": f'"{etag}"'}, has_body)
            return
        digest = hashlib.sha256(content).hexdigest()
        headers |= {
            "X-Linked-ETag": f'"{digest}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{self.server.hub.storage_url}/lfs/{digest}",
        }
        self._send(302, b"", headers, has_body)

    def _send(self, status, content, headers, has_body):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if has_body:
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving():
    """Runs a server in a thread."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        httpd.hub = FakeHub(httpd)
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield httpd.hub
        finally:
            httpd.shutdown()
            thread.join()


def use(server, monkeypatch, folder):
    """Lets the library use a server, with an empty cache and without a token."""
    constants = huggingface_hub.constants
    template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    for name, value in {
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_TOKEN_PATH": str(folder / "token"),
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("KERAS_HOME", str(folder / "keras"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    hub.find_record.cache_clear()
