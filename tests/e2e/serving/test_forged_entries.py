"""Entries of the services folder that are not what they say: no traffic, no secret, no disturbance."""

import contextlib
import http.server
import json
import os
import socket
import threading
import time
import urllib.request

import pytest

import wire
from bystander import Bystander
from deployment import MODEL_NAME, eventually

# Longer than it takes to follow the folder (2 s) and to look at a new engine's health (1 s).
SETTLED_S = 3.5


def honest_proof(endpoint, nonce):
    with urllib.request.urlopen(f"http://{endpoint}/v1/identity?nonce={nonce}", timeout=5) as answer:
        return answer.read()


class Impostor(http.server.ThreadingHTTPServer):
    """Pretends to be a healthy engine, and keeps what it is told."""

    daemon_threads = True

    def __init__(self, prove):
        impostor = self
        self.prove = prove
        self.asked, self.heard = [], []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                impostor.asked.append(self.path)
                impostor.heard.append(str(self.headers))
                length = int(self.headers.get("Content-Length", 0))
                impostor.heard.append(self.rfile.read(length).decode(errors="replace"))
                body = b'{"status":"ok"}'
                if self.path.startswith("/v1/identity"):
                    body = impostor.prove(self.path.rpartition("=")[2])
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            do_GET = do_POST = answer

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()

    @property
    def endpoint(self):
        return f"127.0.0.1:{self.server_address[1]}"

    def close(self):
        self.shutdown()
        self._thread.join()
        self.server_close()


@pytest.fixture
def forge(deployment):
    """Writes entries like that of the engine, with other values; they go after the test."""
    genuine = json.loads((deployment.services_folder / "engine-0.json").read_text())
    with contextlib.ExitStack() as stack:
        def write(entry_id, mode=0o600, **fields):
            path = deployment.services_folder / f"{entry_id}.json"
            part = path.with_suffix(".part")
            part.touch(mode)
            os.chmod(part, mode)
            part.write_text(json.dumps({**genuine, "id": entry_id, **fields}))
            part.rename(path)
            stack.callback(path.unlink, missing_ok=True)

        yield write


def ask(address, key):
    request = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "What is 47 + 85?"}]}
    answer = wire.post(address, "/v1/chat/completions", request, key)
    assert answer.status == 200 and "132" in answer.json()["choices"][0]["message"]["content"], answer.body


def ask_for(seconds, address, key):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ask(address, key)


@pytest.mark.parametrize("kind", ["no proof", "nonsense", "replayed proof", "relayed proof"])
def test_impostors_get_nothing(deployment, address, key, forge, kind):
    engine = deployment.engine.endpoint
    replayed = honest_proof(engine, "0" * 32)
    prove = {"no proof": lambda nonce: None,
             "nonsense": lambda nonce: b'{"proof":"' + b"0" * 64 + b'"}',
             "replayed proof": lambda nonce: replayed,
             "relayed proof": lambda nonce: honest_proof(engine, nonce)}[kind]
    impostor = Impostor(prove)
    try:
        beside = Bystander(address, key)
        forge("engine-7", endpoint=impostor.endpoint)
        assert eventually(lambda: any(path.startswith("/v1/identity") for path in impostor.asked), 5)
        ask_for(SETTLED_S, address, key)
        beside.finish()
    finally:
        impostor.close()
    assert not any(path.startswith("/v1/generate") for path in impostor.asked)
    heard = "".join(impostor.heard)
    assert deployment.secret not in heard and "Bearer" not in heard and "47 + 85" not in heard


@pytest.mark.parametrize("role", ["preprocess", "postprocess"])
def test_impostors_of_text_services_get_nothing(deployment, address, key, forge, role):
    impostor = Impostor(lambda nonce: b'{"proof":"00"}')
    try:
        forge(f"{role}-7", role=role, endpoint=impostor.endpoint)
        ask_for(SETTLED_S, address, key)
    finally:
        impostor.close()
    heard = "".join(impostor.heard)
    assert deployment.secret not in heard and "Bearer" not in heard and "47 + 85" not in heard


def test_entries_of_the_dead(address, key, forge):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    forge("engine-7", endpoint=f"127.0.0.1:{port}", pid=2**22 + 1)
    beside = Bystander(address, key)
    ask_for(SETTLED_S, address, key)
    beside.finish()


def test_an_entry_of_the_engine_under_another_name(address, key, forge, deployment):
    """A replayed copy of a genuine entry leads to the same engine: no harm."""
    forge("engine-7")
    ask_for(SETTLED_S, address, key)


def test_files_that_are_no_entries(address, key, deployment, forge):
    folder = deployment.services_folder
    impostor = Impostor(lambda nonce: None)
    strangers = {"engine-a.json": b"{", "engine-b.json": b"\xff" * 100, "engine-c.json": b"[" * 100_000,
                 "engine-d.json": b"{}", "engine-e.json": b'{"id":"engine-e","role":"king","endpoint":7}'}
    try:
        for name, content in strangers.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
        os.mkfifo(folder / "engine-f.json", 0o600)
        (folder / "engine-g.json").mkdir()
        (folder / "engine-h.json").symlink_to("/dev/zero")
        forge("engine-i", mode=0o666, endpoint=impostor.endpoint)  # anybody may have written it
        forge("engine-j", endpoint="no endpoint")
        forge("engine-k", endpoint="127.0.0.1:99999")
        beside = Bystander(address, key)
        ask_for(SETTLED_S, address, key)
        beside.finish()
        assert impostor.asked == []
    finally:
        impostor.close()
        for name in [*strangers, "engine-f.json", "engine-h.json"]:
            (folder / name).unlink(missing_ok=True)
        if (folder / "engine-g.json").exists():
            (folder / "engine-g.json").rmdir()
