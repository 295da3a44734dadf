"""Fetching from a server that cuts connections, is busy, forgets and changes."""

import hashlib
import io
import subprocess
import tarfile
import threading
import zipfile
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mora.errors import ConfigError, MissingFileError
from mora.sources import download as downloading
from mora.sources import unpack as unpacking
from mora.sources.download import Patience, download, remote_size
from mora.sources.fetch import IncompleteFetchError, fetch, read_sums
from mora.sources.fetch_plan import FETCHABLE, FetchError, FetchFile, check_plan
from mora.sources.fetchable import BY_HAND, plan_of, read_plan
from mora.sources.registry import SOURCES, SourceEntry
from mora.sources.unpack import is_archive, unpack

BODY = bytes(range(256)) * 40  # 10,240 bytes
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``files``; each request takes the next of ``faults`` of its path."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/a.csv": BODY}
        self.faults: dict[str, deque] = {}
        self.seen: list[tuple] = []
        self.version = '"1"'  # ETag; "" for none
        self.ranges = True

    def address(self, path: str = "/a.csv") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def plan(self, *paths: str, **options) -> list[FetchFile]:
        names = paths or ("/a.csv",)
        return [FetchFile(self.address(p), p.strip("/"), **options) for p in names]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool):
        server = self.server
        span = self.headers.get("Range")
        server.seen.append((self.command, self.path, span))
        todo = server.faults.get(self.path)
        fault = todo.popleft() if todo else {}
        if self.path not in server.files or "status" in fault:
            self.send_response(fault.get("status", 404))
            for name, value in fault.get("headers", {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        content, start = server.files[self.path], 0
        same = self.headers.get("If-Range") == server.version or fault.get("careless")
        if span and same and server.ranges:
            start = int(span.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
        if "first" in fault:
            few = fault["first"]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-{few - 1}/{len(content)}")
            self.send_header("Content-Length", str(few))
            self.end_headers()
            return self.wfile.write(content[:few])
        start += fault.get("shift", 0)
        self.send_response(206 if start else 200)
        if start:
            end = len(content) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(content)}")
        if server.version:
            self.send_header("ETag", server.version)
        if not fault.get("no_length"):
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if body:
            self.wfile.write(content[start:][: fault.get("cut")])
        return None


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def get(server: Server, folder: Path, *paths: str, **options):
    return fetch(server.plan(*paths), folder, wait_seconds=0.0, **options)


def test_a_file_and_its_checksum(server, tmp_path):
    [row] = get(server, tmp_path / "new")
    assert (row.status, row.size, row.sha256) == ("fetched", len(BODY), DIGEST)
    assert (tmp_path / "new/a.csv").read_bytes() == BODY
    assert (tmp_path / "new/SHA256SUMS").read_text() == f"{DIGEST}  a.csv\n"
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"a.csv", "SHA256SUMS"}


def test_sha256sum_reads_the_checksums(server, tmp_path):
    get(server, tmp_path)
    found = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True
    )
    assert found.stdout == b"a.csv: OK\n"


def test_a_second_fetch_asks_nobody(server, tmp_path):
    get(server, tmp_path)
    server.seen.clear()
    [row] = get(server, tmp_path)
    assert (row.status, row.sha256, server.seen) == ("kept", DIGEST, [])


def test_an_empty_file(server, tmp_path):
    server.files["/a.csv"] = b""
    [row] = get(server, tmp_path)
    assert row.size == 0
    assert row.sha256 == hashlib.sha256(b"").hexdigest()


def test_a_file_put_there_by_hand_is_recorded(server, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"mine")
    [row] = get(server, tmp_path)
    assert (row.status, server.seen) == ("kept", [])
    assert read_sums(tmp_path) == {"a.csv": hashlib.sha256(b"mine").hexdigest()}


def test_goes_on_where_the_connection_was_cut(server, tmp_path):
    server.faults["/a.csv"] = deque([{"cut": 4000}, {"cut": 2000}])
    [row] = get(server, tmp_path)
    assert row.sha256 == DIGEST
    assert [span for _, _, span in server.seen] == [
        None,
        "bytes=4000-",
        "bytes=6000-",
    ]


def test_goes_on_in_a_later_run(server, tmp_path):
    server.faults["/a.csv"] = deque([{"cut": 4000}])
    with pytest.raises(IncompleteFetchError, match=r"ended at byte 4000 of 10240"):
        get(server, tmp_path, attempts=1)
    assert not (tmp_path / "a.csv").exists()
    assert (tmp_path / "a.csv.part").stat().st_size == 4000
    [row] = get(server, tmp_path)
    assert row.sha256 == DIGEST
    assert server.seen[-1] == ("GET", "/a.csv", "bytes=4000-")
    assert {p.name for p in tmp_path.iterdir()} == {"a.csv", "SHA256SUMS"}


def test_cuts_that_bring_something_do_not_count_as_failures(server, tmp_path):
    server.faults["/a.csv"] = deque([{"cut": 100}] * 9)
    [row] = get(server, tmp_path, attempts=2)
    assert row.sha256 == DIGEST


@pytest.mark.parametrize("status", [429, 500, 503])
def test_tries_again_when_the_server_is_busy(server, tmp_path, status):
    server.faults["/a.csv"] = deque([{"status": status}] * 3)
    [row] = get(server, tmp_path)
    assert (row.sha256, len(server.seen)) == (DIGEST, 4)


def test_gives_up_after_so_many_attempts(server, tmp_path):
    server.faults["/a.csv"] = deque([{"status": 503}] * 3)
    with pytest.raises(IncompleteFetchError, match=r"503 .*, 3 times in a row"):
        get(server, tmp_path, attempts=3)
    assert len(server.seen) == 3


def test_waits_longer_each_time_or_as_long_as_asked(server, tmp_path, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(downloading.time, "sleep", waits.append)
    asked = {"status": 503, "headers": {"Retry-After": "7"}}
    long = {"status": 503, "headers": {"Retry-After": "7000"}}
    busy = {"status": 503}
    server.faults["/a.csv"] = deque([busy, busy, busy, asked, long])
    fetch(server.plan(), tmp_path, wait_seconds=0.5, attempts=9)
    assert waits == [0.5, 1.0, 2.0, 7.0, 60.0]


def test_a_server_that_does_not_answer(server, tmp_path):
    silent = threading.Event()

    class Deaf(Handler):
        def do_GET(self):
            silent.wait(5)

    server.RequestHandlerClass = Deaf
    with pytest.raises(IncompleteFetchError, match="timed out"):
        get(server, tmp_path, attempts=1, timeout_seconds=0.1)
    silent.set()


def test_begins_again_when_the_server_ignores_ranges(server, tmp_path):
    server.ranges = False
    server.faults["/a.csv"] = deque([{"cut": 4000}])
    [row] = get(server, tmp_path)
    assert (row.sha256, server.seen[-1][2]) == (DIGEST, "bytes=4000-")


def test_begins_again_when_the_file_has_changed_meanwhile(server, tmp_path):
    server.faults["/a.csv"] = deque([{"cut": 4000}])
    with pytest.raises(IncompleteFetchError):
        get(server, tmp_path, attempts=1)
    server.files["/a.csv"], server.version = BODY[::-1], '"2"'
    get(server, tmp_path)
    assert (tmp_path / "a.csv").read_bytes() == BODY[::-1]


def test_a_server_that_goes_on_with_another_version(server, tmp_path):
    server.faults["/a.csv"] = deque([{"cut": 4000}, {"careless": True}])
    with pytest.raises(IncompleteFetchError):
        get(server, tmp_path, attempts=1)
    server.files["/a.csv"], server.version = BODY[::-1], '"2"'
    get(server, tmp_path)
    assert (tmp_path / "a.csv").read_bytes() == BODY[::-1]


@pytest.mark.parametrize("version", ["", 'W/"1"'])
def test_begins_again_when_versions_cannot_be_told_apart(server, tmp_path, version):
    server.version = version
    server.faults["/a.csv"] = deque([{"cut": 4000}])
    [row] = get(server, tmp_path)
    assert (row.sha256, server.seen[-1][2]) == (DIGEST, None)


@pytest.mark.parametrize("shift", [-1, 1])
def test_another_part_than_asked_for_is_not_appended(server, tmp_path, shift):
    server.faults["/a.csv"] = deque([{"cut": 4000}, {"shift": shift}])
    [row] = get(server, tmp_path)
    assert (row.sha256, server.seen[-1][2]) == (DIGEST, None)


@pytest.mark.parametrize("fault", [{"shift": 5}, {"first": 5}])
def test_a_part_that_was_not_asked_for_is_not_taken(server, tmp_path, fault):
    server.faults["/a.csv"] = deque([fault])
    [row] = get(server, tmp_path)
    assert row.sha256 == DIGEST


def test_a_whole_part_is_not_fetched_again(server, tmp_path):
    (tmp_path / "a.csv.part").write_bytes(BODY)
    (tmp_path / "a.csv.part.version").write_text('"1"')
    [row] = get(server, tmp_path)
    assert row.sha256 == DIGEST
    assert server.seen == [("GET", "/a.csv", "bytes=10240-")]


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "a.csv.part").write_bytes(BODY + b"more")
    (tmp_path / "a.csv.part.version").write_text('"1"')
    [row] = get(server, tmp_path)
    assert row.sha256 == DIGEST


def test_a_changed_file_on_disk_is_named_and_left_alone(server, tmp_path):
    get(server, tmp_path)
    (tmp_path / "a.csv").write_bytes(b"edited")
    with pytest.raises(IncompleteFetchError, match=f"expected {DIGEST}") as caught:
        get(server, tmp_path)
    assert [row.status for row in caught.value.rows] == ["changed"]
    assert (tmp_path / "a.csv").read_bytes() == b"edited"


def test_a_changed_file_at_the_server_is_kept_beside_its_place(server, tmp_path):
    get(server, tmp_path)
    (tmp_path / "a.csv").unlink()
    server.files["/a.csv"] = b"new release"
    with pytest.raises(IncompleteFetchError, match=r"is in a\.csv\.changed"):
        get(server, tmp_path)
    assert not (tmp_path / "a.csv").exists()
    assert (tmp_path / "a.csv.changed").read_bytes() == b"new release"
    assert read_sums(tmp_path) == {"a.csv": DIGEST}


def test_a_published_checksum_counts(server, tmp_path):
    [row] = fetch(server.plan(sha256=DIGEST.upper()), tmp_path / "right")
    assert row.status == "fetched"
    with pytest.raises(IncompleteFetchError, match=f"expected {'0' * 64}"):
        fetch(server.plan(sha256="0" * 64), tmp_path / "wrong")


def test_lists_everything_that_is_missing_and_fetches_the_rest(server, tmp_path):
    with pytest.raises(IncompleteFetchError) as caught:
        get(server, tmp_path, "/no.csv", "/a.csv", "/neither.csv")
    message = str(caught.value)
    assert "2 of 3 files are missing or changed" in message
    assert f"no.csv: the server answered 404 Not Found ({server.address()[:-6]}" in (
        message
    )
    assert "neither.csv: the server answered 404" in message
    statuses = [row.status for row in caught.value.rows]
    assert statuses == ["missing", "fetched", "missing"]
    assert len(server.seen) == 3  # a 404 does not pass


def test_dry_run_asks_nobody_and_writes_nothing(server, tmp_path):
    (tmp_path / "b.csv").write_bytes(b"12345")
    plan = [*server.plan(), *server.plan("/b.csv"), *server.plan("/c", size_mb=2)]
    rows = fetch(plan, tmp_path, dry_run=True)
    assert [(r.name, r.status, r.size) for r in rows] == [
        ("a.csv", "to fetch", None),
        ("b.csv", "kept", 5),
        ("c", "to fetch", 2_000_000),
    ]
    assert rows[0].address == server.address()
    assert server.seen == []
    assert [p.name for p in tmp_path.iterdir()] == ["b.csv"]


def test_dry_run_may_ask_for_sizes(server, tmp_path):
    server.faults["/r"] = deque(
        [{"status": 302, "headers": {"Location": server.address()}}]
    )
    plan = server.plan("/a.csv", "/none", "/r")
    rows = fetch(plan, tmp_path, dry_run=True, ask_sizes=True)
    assert [row.size for row in rows] == [len(BODY), None, len(BODY)]
    assert {command for command, *_ in server.seen} == {"HEAD"}


def test_tells_how_far_it_is(server, tmp_path):
    seen: list[tuple[int, int]] = []
    get(server, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(BODY), len(BODY))


def test_a_server_that_does_not_say_the_length(server, tmp_path):
    server.faults["/a.csv"] = deque([{"no_length": True}, {"no_length": True}])
    assert remote_size(server.address()) is None
    [row] = get(server, tmp_path)
    assert row.sha256 == DIGEST


def test_follows_a_redirect_but_not_to_plain_http(server, tmp_path):
    there = {"status": 302, "headers": {"Location": server.address()}}
    server.faults["/r"] = deque([there])
    assert get(server, tmp_path, "/r")[0].sha256 == DIGEST
    away = {"status": 302, "headers": {"Location": "http://example.org/a"}}
    server.faults["/s"] = deque([away])
    with pytest.raises(FetchError, match=r"expected one that begins with https"):
        get(server, tmp_path, "/s")


def test_https_does_not_lead_to_http_on_this_computer(server):
    handler = downloading._CheckedRedirects()
    request = downloading.Request("https://example.org/a")
    with pytest.raises(FetchError, match="expected https"):
        handler.redirect_request(request, None, 302, "", {}, server.address())


def test_no_room_on_the_disk(server, tmp_path, monkeypatch):
    full = type("Usage", (), {"free": 10})
    monkeypatch.setattr(downloading.shutil, "disk_usage", lambda _: full)
    with pytest.raises(IncompleteFetchError, match="needs 10240 bytes more"):
        get(server, tmp_path)


def test_download_alone(server, tmp_path):
    download(server.address(), tmp_path / "x.part", Patience())
    assert (tmp_path / "x.part").read_bytes() == BODY


@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/a",
        "http://127.0.0.1@example.org/a",
        "http://localhost/a",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "https://",
        "a.csv",
    ],
)
def test_only_https(address, tmp_path):
    with pytest.raises(FetchError, match=r"expected one that begins with https"):
        fetch([FetchFile(address, "a")], tmp_path)
    with pytest.raises(FetchError, match=r"expected one that begins with https"):
        remote_size(address)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "/a", "b/a", "b\\a", "c:a", ".a", "a.part", "SHA256SUMS"],
)
def test_only_plain_names(name):
    with pytest.raises(FetchError, match="expected a plain name"):
        check_plan([FetchFile("https://example.org/a", name)])


def test_plans_that_make_no_sense():
    one = FetchFile("https://example.org/a", "a")
    with pytest.raises(FetchError, match="no files to fetch"):
        check_plan([])
    with pytest.raises(FetchError, match=r"1 file names come twice \(a\)"):
        check_plan([one, FetchFile("https://example.org/A", "A")])
    with pytest.raises(FetchError, match="expected 64 hexadecimal digits"):
        check_plan([FetchFile("https://example.org/a", "a", sha256="12")])


def test_entries_of_a_list():
    file = FetchFile.from_options({"address": "https://example.org/x/a.csv?b=1"})
    assert (file.name, file.sha256, file.size_mb) == ("a.csv", None, None)
    whole = {"address": "https://a.org/x", "name": "b", "sha256": "c", "size_mb": 3}
    assert vars(FetchFile.from_options(whole)) == whole
    with pytest.raises(ConfigError, match="expected `address` and optionally"):
        FetchFile.from_options({"address": "https://a.org/x", "url": "b"})


@pytest.mark.parametrize(
    "options", [{"attempts": 0}, {"wait_seconds": -1}, {"timeout_seconds": 0}]
)
def test_numbers_out_of_range(options, tmp_path):
    plan = [FetchFile("https://example.org/a", "a")]
    with pytest.raises(ConfigError, match="expected at least 1, at least 0"):
        fetch(plan, tmp_path, **options)


def test_publishers_addresses():
    assert [file.address for file in plan_of("lodes", state="de", year=2021)] == [
        "https://lehd.ces.census.gov/data/lodes/LODES8/de/od/"
        "de_od_main_JT00_2021.csv.gz",
        "https://lehd.ces.census.gov/data/lodes/LODES8/de/de_xwalk.csv.gz",
    ]
    jobs = plan_of("lodes_workers", state="de", year=2021)[0].address
    assert jobs.endswith("/LODES8/de/wac/de_wac_S000_JT00_2021.csv.gz")
    other = plan_of("lodes", state="ca", year="2020", part="aux")
    assert other[0].name == "ca_od_aux_JT00_2020.csv.gz"
    assert [file.name for file in plan_of("nyc_tlc", month="2024-01")] == [
        "yellow_tripdata_2024-01.parquet",
        "taxi_zone_lookup.csv",
        "taxi_zones.zip",
    ]
    assert plan_of("remote_clip")[0].name == "RemoteCLIP-ViT-L-14.pt"
    assert plan_of("remote_clip", model="ViT-B-32")[0].size_mb == 605
    assert plan_of("uk_od")[0].name == "odwp01ew.zip"


def test_every_plan_may_be_fetched_and_says_where_it_is_from(tmp_path):
    options = {
        "lodes": {"state": "de", "year": 2021},
        "lodes_workers": {"state": "de", "year": 2021},
        "nyc_tlc": {"month": "2024-01"},
    }
    for name, entry in FETCHABLE.items():
        rows = fetch(plan_of(name, **options.get(name, {})), tmp_path, dry_run=True)
        assert {row.status for row in rows} == {"to fetch"}
        assert entry.about
        assert entry.home.startswith("https://")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lode", {}, "is not known; expected one of brightkite, gowalla, lodes, "),
        ("lodes", {"state": "de"}, "missing a required argument: 'year'"),
        ("lodes", {"state": "de", "years": 2021}, "expected state, year, part"),
        ("lodes", {"state": "../x", "year": 2021}, "expected two lower-case letters"),
        ("lodes", {"state": "de", "year": 21}, "expected a year such as 2021"),
        ("lodes", {"state": "de", "year": 2021, "part": "od"}, "expected main or aux"),
        ("lodes_workers", {"state": "DE", "year": 2021}, "two lower-case letters"),
        ("nyc_tlc", {"month": "2024-13"}, "expected a month such as 2024-01"),
        ("remote_clip", {"model": "RN50"}, "expected ViT-B-32 or ViT-L-14"),
        ("gowalla", {"city": "x"}, "expected no options"),
    ],
)
def test_plans_that_do_not_exist(name, options, message):
    with pytest.raises(ConfigError, match=message):
        plan_of(name, **options)


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_what_has_to_be_got_by_hand_says_how(name):
    with pytest.raises(ConfigError, match="cannot be fetched here"):
        plan_of(name)


def test_a_plan_in_a_file(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(
        "name: mine\n"
        "files:\n"
        f"- {{address: 'https://example.org/x.csv', sha256: {DIGEST}}}\n"
        "- {publisher: nyc_tlc, month: 2024-01}\n"
    )
    files = read_plan(path)
    assert files[0] == FetchFile("https://example.org/x.csv", "x.csv", DIGEST)
    assert files[1:] == plan_of("nyc_tlc", month="2024-01")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files: [", "is not YAML"),
        ("- a", "expected a list under `files:`"),
        ("files: a", "expected a list under `files:`"),
        ("files: [a]", "expected a list under `files:`"),
        ("files: [{url: a}]", "expected `address`"),
        ("files: [{publisher: nobody}]", "'nobody' is not known"),
    ],
)
def test_plans_in_files_that_cannot_be_followed(tmp_path, text, message):
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_plan(tmp_path / "plan.yaml")
    with pytest.raises(MissingFileError, match="plan of files to fetch"):
        read_plan(tmp_path / "none.yaml")


def test_a_source_without_an_address_says_where_it_is_published(monkeypatch):
    entry = SourceEntry("here", print, home="https://example.org/page")
    monkeypatch.setitem(SOURCES, "here", entry)
    with pytest.raises(ConfigError, match=r"see https://example.org/page\. Fetch it"):
        plan_of("here")


def zipped(names: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, body in names.items():
            file.writestr(name, body)
    return content.getvalue()


def tarred(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        for info, body in members:
            info.size = len(body)
            file.addfile(info, io.BytesIO(body))
    return content.getvalue()


def test_archives_get_a_folder_of_their_own_if_asked(server, tmp_path):
    server.files["/z.zip"] = zipped({"in/a.csv": b"1"})
    server.files["/t.tar.gz"] = tarred((tarfile.TarInfo("b.csv"), b"2"))
    get(server, tmp_path, "/z.zip", "/t.tar.gz", "/a.csv")
    assert not (tmp_path / "z").exists()
    for _ in range(2):  # the second time they are there
        get(server, tmp_path, "/z.zip", "/t.tar.gz", "/a.csv", unpack_archives=True)
        assert (tmp_path / "z/in/a.csv").read_bytes() == b"1"
        assert (tmp_path / "t/b.csv").read_bytes() == b"2"
    assert not list(tmp_path.glob("*.part"))


def test_which_files_are_archives():
    assert [is_archive(n) for n in ("a.ZIP", "a.tar.gz", "a.tgz", "a.csv.gz")] == [
        *3 * [True],
        False,
    ]


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "C:/out", "..\\out"])
def test_archives_do_not_leave_their_folder(tmp_path, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "z.zip").write_bytes(zipped({"fine": b"0", name: b"1"}))
    (inside / "t.tgz").write_bytes(tarred((tarfile.TarInfo(name), b"1")))
    for archive in ("z.zip", "t.tgz"):
        with pytest.raises(FetchError, match=r"holds 1 of \d paths that lead out"):
            unpack(inside / archive)
    assert {p.name for p in inside.iterdir()} == {"z.zip", "t.tgz"}
    assert [p.name for p in tmp_path.iterdir()] == ["inside"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    odd = tarfile.TarInfo("odd")
    odd.type, odd.linkname = kind, "/etc"
    (tmp_path / "t.tar.gz").write_bytes(tarred((odd, b"")))
    with pytest.raises(FetchError, match="holds 1 links or devices"):
        unpack(tmp_path / "t.tar.gz")


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_damaged_archives(tmp_path, name):
    (tmp_path / name).write_bytes(zipped({"a": b"1"})[:20])
    with pytest.raises(FetchError, match="cannot be unpacked"):
        unpack(tmp_path / name)


def test_archives_larger_than_the_disk(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(zipped({"a": b"12345"}))
    full = type("Usage", (), {"free": 4})
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda _: full)
    with pytest.raises(FetchError, match="unpacks to 5 bytes and the disk has 4"):
        unpack(tmp_path / "a.zip")
