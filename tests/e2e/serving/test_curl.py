"""curl: what is on the wire."""

import json
import subprocess

import pytest

from deployment import MODEL_NAME

CHAT = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "What is 47 + 85?"}]}


@pytest.fixture(scope="module")
def curl(deployment):
    def run(path, *arguments, body=None):
        """Status, headers and body of one request."""
        # The key goes through standard input: command lines are for all to see.
        config = f'header = "Authorization: Bearer {deployment.api_key}"\n'
        command = ["curl", "--silent", "--show-error", "--no-buffer", "--include", "--max-time", "30", "--config", "-",
                   *arguments]
        if body is not None:
            command += ["--header", "Content-Type: application/json", "--data-binary", json.dumps(body)]
        done = subprocess.run([*command, f"http://{deployment.gateway.endpoint}{path}"],
                              input=config.encode(), capture_output=True, check=True)
        lines, text = done.stdout.decode().split("\r\n\r\n", 1)
        status, *headers = lines.split("\r\n")
        return int(status.split()[1]), {k.lower(): v for k, v in (h.split(": ", 1) for h in headers)}, text

    return run


def test_server_sent_events(curl):
    status, headers, body = curl("/v1/chat/completions", body={**CHAT, "stream": True})
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-cache"
    *events, end = body.split("\n\n")
    assert end == "" and events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert "132" in "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks)


def test_request_id(curl, deployment):
    status, headers, _ = curl("/v1/chat/completions", "--header", "X-Request-Id: trace-4711", body=CHAT)
    assert status == 200 and headers["x-request-id"] == "trace-4711"
    assert '"trace-4711"' in deployment.logs()
    first = curl("/v1/chat/completions", body=CHAT)[1]["x-request-id"]
    second = curl("/v1/chat/completions", body=CHAT)[1]["x-request-id"]
    assert first and first != second
    # An id that could forge lines of the log is replaced.
    strange = curl("/v1/chat/completions", "--header", "X-Request-Id: a b\"}", body=CHAT)[1]["x-request-id"]
    assert strange != 'a b"}'


@pytest.mark.parametrize("path, body", [
    ("/v1/chat/completions", {**CHAT, "model": "other"}), ("/v1/nothing", None), ("/tokenize", {"prompt": 1}),
    ("/v1/models", None), ("/health", None)])
def test_every_answer_has_a_request_id(curl, path, body):
    assert curl(path, "--header", "X-Request-Id: trace-1", body=body)[1]["x-request-id"] == "trace-1"


def test_health_and_readiness_need_no_key(deployment):
    for path in ("/health", "/ready"):
        done = subprocess.run(["curl", "--silent", "--fail", f"http://{deployment.gateway.endpoint}{path}"],
                              capture_output=True, check=True)
        assert json.loads(done.stdout)["status"] in ("ok", "ready")


def test_metrics(curl):
    status, headers, body = curl("/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "vllm:time_to_first_token_seconds_bucket" in body


def test_tokenize_and_back(curl):
    _, _, body = curl("/tokenize", body={"prompt": "20 + 31", "add_special_tokens": False})
    tokens = json.loads(body)["tokens"]
    _, _, body = curl("/detokenize", body={"tokens": tokens})
    assert json.loads(body)["prompt"] == "20 + 31"
