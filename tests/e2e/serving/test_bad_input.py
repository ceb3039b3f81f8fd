"""What no client should send: the right status, an error in OpenAI's form, and nobody else notices."""

import contextlib
import json
import time

import pytest

import wire
from bystander import Bystander
from deployment import MODEL_NAME, eventually

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "What is 47 + 85?"}]
NUM_IDLE_CONNECTIONS = 300


@pytest.fixture(scope="module", autouse=True)
def bystander(address, key):
    beside = Bystander(address, key)
    yield beside
    beside.finish()


def request(**fields):
    return {"model": MODEL_NAME, "messages": MESSAGES, "max_tokens": 1, **fields}


def assert_refused(answer, status, *, code=None, param=None):
    assert answer.status == status, answer.body
    error = answer.error
    assert set(error) == {"message", "type", "param", "code"} and error["message"], error
    if code is not None:
        assert error["code"] == code, error
    if param is not None:
        assert error["param"] == param, error


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b'"text"', b"{'model': 'demo'}", b'{"model": "demo",}', b'{"a": NaN}',
    b"[" * 100_000, b'{"messages":' * 50_000, b'{"model": "\xff\xfe", "messages": []}',
    b'{"model": "demo", "messages": [{"role": "user", "content": "\xc3\x28"}]}',
    b'{"model": "demo", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
    b'{"model": "demo", "messages": [{"role": "user", "content": "\\ud800"}]}', b"\x00" * 100])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/tokenize", "/detokenize"])
def test_malformed_bodies(address, key, path, body):
    assert_refused(wire.post(address, path, body, key), 400)


@pytest.mark.parametrize("field, value", [
    ("model", 7), ("messages", "text"), ("messages", []), ("messages", [7]), ("messages", None),
    ("max_tokens", "5"), ("max_tokens", 0), ("max_tokens", -1), ("max_tokens", 1.5), ("max_tokens", 2**63),
    ("max_completion_tokens", 1e308), ("temperature", "hot"), ("temperature", -0.1), ("temperature", 1e9),
    ("top_p", 0), ("top_p", 1.1), ("n", 0), ("n", 129), ("n", "two"), ("stream", "yes"), ("stop", 5),
    ("stop", [1]), ("stop", ["a"] * 17), ("seed", "lucky"), ("logprobs", 1), ("top_logprobs", 21),
    ("presence_penalty", 3), ("frequency_penalty", []), ("logit_bias", [1]), ("logit_bias", {"x": 1}),
    ("logit_bias", {"99999999": 1}), ("tools", {}), ("tools", [{"type": "function"}]), ("tool_choice", "must"),
    ("stream_options", []), ("user", 5), ("response_format", {"type": "json_object"}),
    ("chat_template_kwargs", [])])
def test_wrong_values_are_named(address, key, field, value):
    answer = wire.post(address, CHAT, request(**{field: value}), key)
    assert_refused(answer, 400)
    assert (answer.error["param"] or "").split("[")[0].split(".")[0] == field, answer.error


@pytest.mark.parametrize("message, param", [
    ({"role": "user"}, "messages[0].content"), ({"role": "robot", "content": "x"}, "messages[0].role"),
    ({"content": "x"}, "messages[0].role"), ({"role": "user", "content": 5}, "messages[0].content"),
    ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, None)])
def test_wrong_messages_are_named(address, key, message, param):
    assert_refused(wire.post(address, CHAT, request(messages=[message]), key), 400, param=param)


def test_unknown_model(address, key):
    assert_refused(wire.post(address, CHAT, request(model="gpt-4"), key), 404, code="model_not_found", param="model")


@pytest.mark.parametrize("fields", [
    {"messages": [{"role": "user", "content": "1 + " * 300}]}, {"max_tokens": 512},
    {"messages": [{"role": "user", "content": "x" * 2_000_000}]}])
def test_context_overflow(address, key, fields):
    assert_refused(wire.post(address, CHAT, request(**fields), key), 400, code="context_length_exceeded")


def test_unknown_paths_and_methods(address, key):
    assert_refused(wire.get(address, "/v1/nothing", key), 404)
    assert_refused(wire.get(address, "/" + "x" * 5000, key), 404)
    for answer, allowed in [(wire.get(address, CHAT, key), "POST"), (wire.post(address, "/v1/models", {}, key), "GET, HEAD")]:
        assert_refused(answer, 405)
        assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("authorization", [
    {}, {"Authorization": "Bearer "}, {"Authorization": "Bearer sk-wrong"}, {"Authorization": "Basic eDp5"},
    {"Authorization": "Bearer " + "x" * 8000}], ids=["none", "empty", "wrong", "basic", "long"])
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/metrics"])
def test_wrong_keys(address, path, authorization):
    method = "POST" if path == CHAT else "GET"
    assert_refused(wire.exchange(address, wire.head(method, path, authorization)), 401)


def test_the_deployments_secret_is_no_api_key(address, deployment):
    assert_refused(wire.post(address, CHAT, request(), deployment.secret), 401)


def test_revoked_keys(address, deployment):
    key = deployment.add_key("brief")
    assert eventually(lambda: wire.get(address, "/v1/models", key).status == 200, 5)
    with wire.Connection(address) as connection:  # keep-alive does not keep a key alive
        connection.send(wire.head("GET", "/v1/models", wire.bearer(key)))
        assert connection.answer().status == 200
        deployment.revoke_key("brief")
        assert eventually(lambda: wire.get(address, "/v1/models", key).status == 401, 5)
        connection.send(wire.head("GET", "/v1/models", wire.bearer(key)))
        assert_refused(connection.answer(), 401)


def test_large_bodies(address, key, deployment):
    before = deployment.resident_bytes()["dsgateway"]
    size = 100 << 20
    told = wire.head("POST", CHAT, {"Content-Length": str(size), **wire.bearer(key)})
    assert_refused(wire.exchange(address, told), 413)  # before the first byte of the body
    block = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with wire.Connection(address) as connection:
        connection.send(wire.head("POST", CHAT, {"Transfer-Encoding": "chunked", **wire.bearer(key)}))
        num_sent = 0
        with contextlib.suppress(ConnectionError):  # it stops reading at its limit
            for _ in range(size // 0x10000):
                connection.send(block)
                num_sent += len(block)
        assert num_sent < size // 2, "it read on"
        with contextlib.suppress(ConnectionError):  # the reset may overtake the answer
            assert_refused(connection.answer(), 413)
    grown = deployment.resident_bytes()["dsgateway"] - before
    assert grown < 48 << 20, grown
    # Without a key nothing is read.
    assert_refused(wire.exchange(address, wire.head("POST", CHAT, {"Content-Length": str(size)})), 401)


def test_large_headers(address, key):
    headers = {**wire.bearer(key), "X-Filler": "x" * 100_000}
    assert_refused(wire.exchange(address, wire.head("GET", "/v1/models", headers)), 431)


@pytest.mark.parametrize("data", [
    b"GARBAGE\r\n\r\n", b"GET /v1/models HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n" * 20,
    b"POST /tokenize HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"POST /tokenize HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    b"POST /tokenize HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nno colon\r\n\r\n", b"GET /a b HTTP/1.1\r\n\r\n"])
def test_what_is_not_http(address, data):
    with wire.Connection(address, timeout_s=5) as connection:
        connection.send(data)
        assert_refused(connection.answer(), 400)
        assert connection.is_closed()


def test_broken_chunks(address, key):
    with wire.Connection(address, timeout_s=5) as connection:
        connection.send(wire.head("POST", "/tokenize", {"Transfer-Encoding": "chunked", **wire.bearer(key)}))
        connection.send(b"zz\r\n")
        assert_refused(connection.answer(), 400)
        assert connection.is_closed()


def test_pipelined_requests_are_answered_in_turn(address, key):
    with wire.Connection(address) as connection:
        one = wire.post_bytes("/tokenize", b'{"prompt": "1"}', key)
        connection.send(one + wire.head("GET", "/v1/models", wire.bearer(key)))
        assert "tokens" in connection.answer().json()
        assert connection.answer().json()["object"] == "list"


def test_slow_and_half_open_connections(address, key):
    """Silent connections, heads and bodies that never end; heads must be complete within 10 s."""
    body = b'{"prompt": "1"}'
    with contextlib.ExitStack() as stack:
        def connect():
            return stack.enter_context(wire.Connection(address, timeout_s=20))

        for _ in range(NUM_IDLE_CONNECTIONS):
            connect()
        half_bodies = [connect() for _ in range(20)]
        for connection in half_bodies:
            connection.send(wire.post_bytes("/tokenize", body, key)[:-4])
        abandoned = connect()
        abandoned.send(wire.post_bytes("/tokenize", body, key)[:-4])
        abandoned.end_sending()
        assert abandoned.is_closed()
        dripping = [connect() for _ in range(20)]
        for connection in dripping:
            connection.send(b"POST /tokenize HTTP/1.1\r\nX-Drip: ")
            connection.set_timeout(0.001)
        open_ones, began = set(range(20)), time.monotonic()
        while open_ones and time.monotonic() - began < 20:
            for index in sorted(open_ones):
                try:
                    dripping[index].send(b"x")
                except (ConnectionError, TimeoutError):
                    open_ones.discard(index)
            time.sleep(0.2)
            assert wire.get(address, "/v1/models", key).status == 200
        assert not open_ones, "heads may take for ever"
        for connection in half_bodies:  # they are only slow: still served
            connection.send(body[-4:])
            assert connection.answer().status == 200


def test_slow_readers_are_dropped(address, key, deployment):
    """Who asks for megabytes and reads nothing costs a bounded queue, then nothing."""
    def num_dropped():
        return deployment.gateway_metrics()["dslaunch_gateway_slow_readers_total"]

    before = num_dropped(), deployment.resident_bytes()["dsgateway"]
    asked = request(max_tokens=400, ignore_eos=True, stream=True, logprobs=True, top_logprobs=20, n=16)
    with wire.Connection(address, receive_buffer_bytes=4096) as connection:
        connection.send(wire.post_bytes(CHAT, json.dumps(asked).encode(), key))
        assert eventually(lambda: num_dropped() > before[0], 30)
        assert eventually(lambda: deployment.num_running()["engine"] <= 1, 5)  # one is the bystander's
    assert deployment.resident_bytes()["dsgateway"] - before[1] < 16 << 20


def test_the_bystander_goes_on(bystander):
    """Last of this file, so that a disturbance has a name of its own."""
    seen = bystander.num_streams
    assert eventually(lambda: bystander.num_streams > seen, 15)
