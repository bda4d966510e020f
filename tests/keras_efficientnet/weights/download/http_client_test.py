import base64
import errno
import hashlib
import io
import json
import shutil
import socket
import ssl
import sys
import urllib.error
import urllib.request

import keras
import pytest

from keras_efficientnet.weights.download import http_client
from tests.support.faulty_server import Answer, serving

CONTENT = bytes(range(256)) * 50
OTHER = CONTENT[::-1]
SIZE = len(CONTENT)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(http_client, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(http_client, "TIMEOUT_SECONDS", 0.3)


@pytest.fixture
def part(tmp_path):
    return tmp_path / "net.h5.part"


def get(server, part):
    return http_client.download(server.url(), part, "net.h5")


def begin(part, size, **changes):
    """Leaves the files of a killed download on the disk."""
    with serving(Answer(CONTENT, stops_after=size, **changes)) as server:
        attempts, http_client.ATTEMPTS = http_client.ATTEMPTS, 1
        try:
            with pytest.raises(OSError, match=f"ended after {size} of {SIZE} bytes"):
                get(server, part)
        finally:
            http_client.ATTEMPTS = attempts
    assert part.stat().st_size == size
    return server


def test_downloads_a_file(part):
    with serving(Answer(CONTENT)) as server:
        assert get(server, part) is False
    assert part.read_bytes() == CONTENT
    assert server.ranges() == [None]
    assert "keras_efficientnet" in server.requests[0]["User-Agent"]


def test_resumes_after_a_broken_connection(part):
    answers = [Answer(CONTENT, stops_after=n) for n in (1000, 5000)]
    with serving(*answers, Answer(CONTENT)) as server:
        assert get(server, part) is True
    assert part.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=1000-", "bytes=5000-"]
    assert server.requests[1]["If-Range"] == '"one"'


def resume(part, url_of, *answers):
    """Resumes the files of `begin`, from another server with the same URL."""
    notes = part.with_name(f"{part.name}.json")
    with serving(*answers) as server:
        known = json.loads(notes.read_text())
        assert known["url"] == url_of.url()
        notes.write_text(json.dumps({**known, "url": server.url()}))
        get(server, part)
    return server


def test_resumes_the_file_of_a_killed_process(part):
    server = resume(part, begin(part, 1000), Answer(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=1000-"]


def test_complete_file_left_by_a_killed_process_is_not_requested_again(part):
    with serving(Answer(CONTENT)) as server:
        get(server, part)
        assert get(server, part) is True
    assert len(server.requests) == 1


def test_does_not_resume_a_file_from_another_url(part):
    begin(part, 1000)
    with serving(Answer(OTHER)) as server:
        get(server, part)
    assert part.read_bytes() == OTHER
    assert server.ranges() == [None]


@pytest.mark.parametrize("notes", ["", "[1]", '{"a": 1}', None])
def test_does_not_resume_a_file_with_damaged_metadata(part, notes):
    begin(part, 1000)
    path = part.with_name(f"{part.name}.json")
    path.unlink() if notes is None else path.write_text(notes)
    with serving(Answer(CONTENT)) as server:
        get(server, part)
    assert part.read_bytes() == CONTENT
    assert server.ranges() == [None]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"has_conditions": False},  # sends the rest of the other file
        {"has_ranges": False},
        {"etag": None},
        {"etag": None, "has_conditions": False},
    ],
)
def test_does_not_combine_versions_of_a_changed_file(part, options):
    begun = begin(part, 1000)
    server = resume(part, begun, Answer(OTHER, **{"etag": '"two"', **options}))
    assert part.read_bytes() == OTHER
    assert server.ranges()[0] == "bytes=1000-"


def test_does_not_combine_versions_of_different_sizes(part):
    begun = begin(part, 1000)
    resume(part, begun, Answer(OTHER + b"more"))
    assert part.read_bytes() == OTHER + b"more"


def test_restarts_if_the_file_shrank(part):
    begun = begin(part, 1000)
    server = resume(part, begun, Answer(b"short", has_conditions=False))
    assert part.read_bytes() == b"short"
    assert server.ranges() == ["bytes=1000-", None]


def test_ignores_a_range_that_was_not_requested(part):
    begun = begin(part, 1000)
    shifted = {"Content-Range": f"bytes 500-{SIZE - 1}/{SIZE}"}
    wrong = Answer(CONTENT[500:], status=206, has_ranges=False, headers=shifted)
    server = resume(part, begun, wrong, Answer(CONTENT))
    assert part.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=1000-", None]


def test_restarts_if_the_server_ignores_the_range(part):
    answer = Answer(CONTENT, has_ranges=False)
    server = resume(part, begin(part, 1000), answer)
    assert part.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=1000-"]


@pytest.mark.parametrize("etag", [None, 'W/"one"'])
def test_does_not_resume_without_a_strong_entity_tag(part, etag):
    begun = begin(part, 1000, etag=etag)
    server = resume(part, begun, Answer(CONTENT, etag=etag))
    assert part.read_bytes() == CONTENT
    assert server.ranges() == [None]


def test_resumes_by_a_modification_date_that_is_old_enough(part):
    options = {"etag": None, "modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server = resume(part, begin(part, 1000, **options), Answer(CONTENT, **options))
    assert part.read_bytes() == CONTENT
    assert server.requests[0]["If-Range"] == options["modified"]
    part.unlink()
    options["modified"] = "Wed, 21 Oct 2215 07:28:00 GMT"  # later than the response
    server = resume(part, begin(part, 1000, **options), Answer(CONTENT, **options))
    assert server.ranges() == [None]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_retries_a_busy_server(part, status):
    with serving(Answer(b"", status), Answer(b"", status), Answer(CONTENT)) as server:
        get(server, part)
    assert part.read_bytes() == CONTENT
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_does_not_retry_client_errors(part, status):
    with (
        serving(Answer(b"no", status)) as server,
        pytest.raises(urllib.error.HTTPError, match=str(status)),
    ):
        get(server, part)
    assert len(server.requests) == 1
    assert list(part.parent.iterdir()) == []


def test_limits_the_number_of_attempts(part):
    with (
        serving(Answer(b"", 500)) as server,
        pytest.raises(OSError, match="500: .* in the last of 5 attempts"),
    ):
        get(server, part)
    assert len(server.requests) == 5


def test_attempts_with_progress_do_not_count(part):
    content = CONTENT * 1000
    step = len(content) // 8
    answers = [Answer(content, stops_after=n * step) for n in range(1, 8)]
    with serving(*answers, Answer(content)) as server:
        get(server, part)
    assert part.read_bytes() == content
    assert len(server.requests) == 8


def test_gives_up_on_a_file_that_keeps_changing(part):
    content = CONTENT * 200
    answers = [
        Answer(content, etag=f'"{i}"', stops_after=(i % 2 + 1) << 20) for i in range(20)
    ]
    with serving(*answers) as server, pytest.raises(OSError, match="ended after"):
        get(server, part)
    assert len(server.requests) < 12


@pytest.mark.parametrize("stops_after", [0, 1000])
def test_closes_and_resumes_a_stalled_connection(part, stops_after):
    with serving(
        Answer(CONTENT, stops_after=stops_after, stalls=True), Answer(CONTENT)
    ) as server:
        get(server, part)
    assert part.read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={stops_after}-" if stops_after else None]


def test_closes_a_slow_connection(part):
    with serving(Answer(CONTENT, drips=True), Answer(CONTENT)) as server:
        get(server, part)
    assert part.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_retries_an_unreachable_server(part):
    with serving() as server:
        pass
    with pytest.raises(OSError, match="refused.* in the last of 5 attempts"):
        get(server, part)


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><title> Log in </title>",
        b"\xef\xbb\xbf\n <html><head><title>Log in</title>",
    ],
)
def test_rejects_a_web_page(part, page):
    with (
        serving(Answer(page)) as server,
        pytest.raises(ValueError, match=r"sent a web page, not a file \('log in'\)"),
    ):
        get(server, part)
    assert len(server.requests) == 1
    assert list(part.parent.iterdir()) == []


def test_downloads_a_file_of_unknown_size(part):
    with serving(Answer(CONTENT, is_chunked=True)) as server:
        get(server, part)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"a",
        b"5\r\n" + CONTENT[:3],
        b"5\r\n" + CONTENT[:5] + b"\r\n",
        b"5\r\n" + CONTENT[:5] + b"\r\n3\r\n" + CONTENT[5:7],
        b"-5\r\n" + CONTENT[:5],
        b"f" * 40 + b"\r\n" + CONTENT[:5],
        b"f" * 70_000 + b"\r\n" + CONTENT[:5],
        b"nonsense\r\n" + CONTENT[:5],
    ],
    ids=lambda body: repr(body[:20]),
)
def test_retries_a_truncated_chunked_response(part, body):
    broken = Answer(CONTENT, is_chunked=True, raw_body=body)
    with serving(broken, Answer(CONTENT, is_chunked=True)) as server:
        get(server, part)
    assert part.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_rejects_an_empty_file(part):
    empty = Answer(b"", is_chunked=True)
    with serving(empty) as server, pytest.raises(OSError, match="sent an empty file"):
        get(server, part)
    assert len(server.requests) == 5


@pytest.mark.parametrize("size", ["9" * 30, "9" * 5000, "-1", "1e3"])
def test_ignores_absurd_sizes(size):
    assert http_client._content_length({"Content-Length": size}) is None
    ranges = {"Content-Range": f"bytes 0-5/{size}"}
    assert http_client._content_range(ranges) == (-1, -1)


def test_compares_the_checksum_of_the_server(part):
    md5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()
    headers = {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5}"}
    bad = Answer(OTHER, headers=headers)
    with serving(bad, Answer(CONTENT, headers=headers)) as server:
        get(server, part)
    assert part.read_bytes() == CONTENT
    assert server.ranges() == [None, None]
    part.unlink()
    with (
        serving(bad) as server,
        pytest.raises(OSError, match="does not match the server's"),
    ):
        get(server, part)
    assert not part.exists()


def test_rejects_a_file_larger_than_the_free_space(part, monkeypatch):
    free = shutil.disk_usage(part.parent)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with (
        serving(Answer(CONTENT * 100, stops_after=10)) as server,
        pytest.raises(ValueError, match="has 1 MB left, the file has 1 MB"),
    ):
        get(server, part)


@pytest.mark.parametrize("is_chunked", [True, False])
def test_rejects_a_file_of_impossible_size(part, monkeypatch, is_chunked):
    monkeypatch.setattr(http_client, "MAX_BYTES", SIZE - 1)
    with (
        serving(Answer(CONTENT, is_chunked=is_chunked)) as server,
        pytest.raises(ValueError, match="A weight file cannot"),
    ):
        get(server, part)
    assert not part.exists() or part.stat().st_size <= SIZE


def test_follows_redirects(part):
    with serving() as server:
        there = {"Location": server.url("/there")}
        server.answers = [Answer(b"", 302, headers=there), Answer(CONTENT)]
        get(server, part)
    assert [r["path"] for r in server.requests] == ["/net.h5", "/there"]
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("error", "temporary"),
    [
        (urllib.error.URLError(ConnectionRefusedError()), True),
        (urllib.error.URLError(socket.gaierror(socket.EAI_AGAIN, "again")), True),
        (urllib.error.URLError(socket.gaierror(socket.EAI_NONAME, "name")), False),
        (urllib.error.URLError(ssl.SSLCertVerificationError()), False),
        (urllib.error.URLError("unknown url type"), False),
        (TimeoutError(), True),
        (OSError(errno.ENOSPC, "disk full"), False),
    ],
)
def test_distinguishes_temporary_errors(error, temporary):
    assert http_client._is_temporary(error) is temporary


def test_backoff_doubles_with_jitter_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(http_client, "FIRST_WAIT_SECONDS", 1.0)
    waits = [[http_client._wait(n, OSError()) for _ in range(50)] for n in range(1, 12)]
    for i, some in enumerate(waits):
        assert len(set(some)) > 1 or i > 6
        assert max(some) <= min(1.5 * 2**i, 60)
        assert min(some) >= min(0.5 * 2**i, 60)
    headers = {"Retry-After": "20"}
    busy = urllib.error.HTTPError("", 503, "", headers, None)
    assert http_client._wait(1, busy) == 20


def test_shows_progress_only_on_a_terminal(part, monkeypatch, capsys):
    with serving(Answer(CONTENT)) as server:
        get(server, part)
        assert capsys.readouterr() == ("", "")
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", terminal)
        http_client.forget(part)
        get(server, part)
        assert "\rnet.h5  0.0 MB  " in terminal.getvalue()
        assert "100%  0 s left" in terminal.getvalue()
        assert terminal.getvalue().endswith("\n")
        shown = terminal.getvalue()
        monkeypatch.setattr(keras.config, "is_interactive_logging_enabled", bool)
        http_client.forget(part)
        get(server, part)
    assert terminal.getvalue() == shown
