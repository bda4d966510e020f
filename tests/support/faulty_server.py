"""HTTP server that fails in the same ways as real servers."""

import contextlib
import dataclasses
import http.server
import re
import threading


@dataclasses.dataclass
class Answer:
    """Answer of the server to one request."""

    content: bytes
    status: int = 200
    etag: str | None = '"one"'
    modified: str | None = None
    stops_after: int | None = None  # bytes
    stalls: bool = False  # keeps the connection open after `stops_after`
    drips: bool = False  # sends one byte at a time
    waits: bool = False  # before the last byte, until `go_on` is set
    has_ranges: bool = True
    has_conditions: bool = True
    is_chunked: bool = False
    raw_body: bytes | None = None  # sent unchanged
    drips_head: bool = False
    headers: dict = dataclasses.field(default_factory=dict)


class FaultyServer:
    """Gives its answers in turn, and repeats the last one."""

    def __init__(self, httpd):
        self._httpd = httpd
        self.answers = []
        self.requests = []  # headers, and "path"
        self.stopped = threading.Event()  # wakes the handlers that stall
        self.go_on = threading.Event()
        self.lock = threading.Lock()

    def url(self, path="/net.h5"):
        return f"http://127.0.0.1:{self._httpd.server_port}{path}"

    def next_answer(self, request):
        with self.lock:
            self.requests.append(request)
            return self.answers[min(len(self.requests), len(self.answers)) - 1]

    def ranges(self):
        return [request.get("Range") for request in self.requests]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        faulty = self.server.faulty
        answer = faulty.next_answer({**self.headers, "path": self.path})
        start = self._start(answer)
        if start is not None and start >= len(answer.content):
            self.send_error(416)
            return
        if answer.drips_head:
            self._drip_head(faulty)
            return
        self._send_head(answer, start)
        with contextlib.suppress(ConnectionError):
            self._send_body(answer, answer.content[start or 0 : answer.stops_after])
            if answer.stalls:
                faulty.stopped.wait(30)

    def _start(self, answer):
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if not match or not answer.has_ranges:
            return None
        condition = self.headers.get("If-Range")
        if answer.has_conditions and condition not in (answer.etag, answer.modified):
            return None
        return int(match[1])

    def _drip_head(self, faulty):
        with contextlib.suppress(ConnectionError):
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
            while not faulty.stopped.wait(0.02):
                self.wfile.write(b"x")

    def _send_head(self, answer, start):
        size = len(answer.content)
        self.send_response(answer.status if start is None else 206)
        if answer.etag:
            self.send_header("ETag", answer.etag)
        if answer.modified:
            self.send_header("Last-Modified", answer.modified)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if answer.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(size - (start or 0)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send_body(self, answer, body):
        if answer.raw_body is not None:
            self.wfile.write(answer.raw_body)
        elif answer.is_chunked:
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        elif answer.drips:
            for byte in body:
                self.wfile.write(bytes([byte]))
                if self.server.faulty.stopped.wait(0.02):
                    return
        elif answer.waits:
            self.wfile.write(body[:-1])
            self.server.faulty.go_on.wait(30)
            self.wfile.write(body[-1:])
        else:
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(*answers):
    """Runs a server in a thread."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        httpd.faulty = FaultyServer(httpd)
        httpd.faulty.answers = list(answers)
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield httpd.faulty
        finally:
            httpd.faulty.stopped.set()
            httpd.shutdown()
            thread.join()
