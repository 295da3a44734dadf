import asyncio
import threading

import httpx
import pytest

pytest.importorskip("fastapi", reason="extra `serve` is not installed")

from tests.served import Encoder, ask, ask_all, of_cells, problem

from mora.serve import Limits, make_app
from mora.serve import limits as module
from mora.serve.limits import TokenBuckets

PARIS = of_cells()
NAMES = PARIS.tokens.names()


def app_with(token=None, hosts=None, encoder=None, **limits):
    return make_app(PARIS, encoder, token, Limits(**limits), hosts=hosts)


# Buckets


def test_a_bucket_by_hand():
    now = [0.0]
    buckets = TokenBuckets(2.0, 3, lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] = 0.25
    assert buckets.take("a") == pytest.approx(0.25)
    now[0] = 0.5
    assert buckets.take("a") == 0
    now[0] = 100.0  # a bucket holds no more than its burst
    assert [buckets.take("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_each_client_has_a_bucket():
    buckets = TokenBuckets(1.0, 1, lambda: 0.0)
    assert [buckets.take(c) > 0 for c in "abab"] == [False, False, True, True]


@pytest.mark.parametrize("idle", [0.0, 10.0])
def test_buckets_are_bounded(monkeypatch, idle):
    monkeypatch.setattr(module, "MOST_CLIENTS", 10)
    now = [0.0]
    buckets = TokenBuckets(1.0, 1, lambda: now[0])
    for client in range(50):
        now[0] += idle
        assert buckets.take(str(client)) == 0
        assert len(buckets) <= 10
    assert buckets.take("49") > 0


# Rate


def test_a_client_that_asks_too_often_waits():
    app = app_with(per_second=0.5, burst=2)
    first = ask_all(app, [("GET", "/meta")] * 4)
    assert [r.status_code for r in first] == [200, 200, 429, 429]
    assert "0.5 requests a second, 2 at once" in problem(first[2], 429)
    assert 1 <= int(first[2].headers["retry-after"]) <= 2
    assert ask(app, "GET", "/meta", host="127.0.0.2").status_code == 200
    assert ask(app, "GET", "/health").status_code == 200


# Token


def test_a_token_must_be_borne():
    app = app_with(token="sesame")
    for headers in (
        {},
        {"authorization": "Bearer open"},
        {"authorization": "Bearer sesame2"},
        {"authorization": "Basic sesame"},
        {"authorization": "sesame"},
        {"authorization": "Bearer sésame".encode()},
    ):
        response = ask(app, "GET", "/meta", headers=headers)
        assert "Authorization: Bearer TOKEN" in problem(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"
    right = {"authorization": "Bearer sesame"}
    assert ask(app, "GET", "/meta", headers=right).status_code == 200
    assert ask(app, "GET", "/health").status_code == 200
    described = ask(app, "GET", "/openapi.json", headers=right).json()
    assert "HTTPBearer" in described["components"]["securitySchemes"]
    open_ = ask(app_with(), "GET", "/openapi.json").json()
    assert "securitySchemes" not in open_["components"]


# Host


def test_only_the_given_hosts_are_answered():
    app = app_with(hosts=("localhost", "[::1]"))
    for address, status in [
        ("http://localhost:80", 200),
        ("http://localhost", 200),
        ("http://[::1]:8000", 200),
        ("http://evil.example:8000", 400),
    ]:
        response = ask(app, "GET", "/meta", address=address)
        assert response.status_code == status
    assert "host 'evil.example'" in problem(response, 400)
    assert ask(app_with(), "GET", "/meta", address=address).status_code == 200


# Size


def test_large_bodies_are_refused():
    body = {"tokens": NAMES[:1] * 20}
    assert ask(app_with(), "POST", "/embed", json=body).status_code == 200
    response = ask(app_with(body_bytes=300), "POST", "/embed", json=body)
    assert "expected" not in problem(response, 413)
    assert "Split the request" in response.text


def test_a_body_of_unknown_length_is_refused_once_it_is_too_large():
    sent = []

    async def chunks():
        for _ in range(100):
            sent.append(1)
            yield b" " * 100

    headers = {"content-type": "application/json"}
    app = app_with(body_bytes=1000)
    response = ask(app, "POST", "/embed", content=chunks(), headers=headers)
    assert "more than 1000 bytes" in problem(response, 413)
    assert len(sent) < 20


def test_a_slow_body_is_given_up():
    async def slow():
        yield b"{"
        await asyncio.sleep(60)
        yield b"}"

    app = app_with(body_seconds=0.05)
    response = ask(app, "POST", "/embed", content=slow())
    assert "did not arrive within 0.05 s" in problem(response, 400)


@pytest.mark.parametrize(
    ("limit", "path", "body"),
    [
        ("points", "/embed", {"points": [[0, 0]] * 5}),
        ("points", "/embed", {"tokens": NAMES[:5]}),
        ("points", "/similar", {"plus": NAMES[:3], "minus": NAMES[3:5]}),
        ("points", "/similar", {"plus": NAMES[:1], "within": {"tokens": NAMES[:5]}}),
        ("answers", "/similar", {"plus": NAMES[:1], "k": 5}),
        ("answers", "/similar", {"vector": [1, 2, 3, 4], "k": 5}),
        (
            "corners",
            "/embed",
            {
                "polygon": {
                    "type": "Polygon",
                    "coordinates": [[[2, 48], [3, 48], [3, 49], [2, 49], [2, 48]]],
                }
            },
        ),
    ],
)
def test_one_request_may_not_ask_for_too_much(limit, path, body):
    assert ask(app_with(**{limit: 5}), "POST", path, json=body).status_code == 200
    said = problem(ask(app_with(**{limit: 4}), "POST", path, json=body), 413)
    assert "the request has 5" in said


def test_an_area_may_not_cover_too_much():
    world = [[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]
    body = {"polygon": {"type": "Polygon", "coordinates": [world]}}
    said = problem(ask(app_with(), "POST", "/embed", json=body), 413)
    assert "places under its polygon" in said


# Requests at the same time


class Slow(Encoder):
    """Answers when it is told to."""

    def __init__(self):
        self.go, self.begun, self.first = threading.Event(), threading.Event(), True

    def encode(self, lonlat):
        if not self.first:
            self.begun.set()
            self.go.wait(20)
        self.first = False
        return super().encode(lonlat)


def test_more_requests_than_can_be_worked_on_are_told_so():
    encoder = Slow()
    app = app_with(encoder=encoder, in_flight=1)

    async def send():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://a", timeout=30
        ) as client:
            body = {"points": [[0, 0]]}
            waiting = asyncio.create_task(client.post("/embed", json=body))
            while not encoder.begun.is_set():
                await asyncio.sleep(0.01)
            refused, healthy = await client.get("/meta"), await client.get("/health")
            encoder.go.set()
            answered = await waiting
            return refused, healthy, answered, await client.get("/meta")

    refused, healthy, answered, after = asyncio.run(send())
    assert "1 requests are being worked on" in problem(refused, 503)
    assert refused.headers["retry-after"] == "1"
    assert [r.status_code for r in (healthy, answered, after)] == [200, 200, 200]


@pytest.mark.parametrize("name", sorted(Limits.model_fields))
def test_limits_are_positive(name):
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})
