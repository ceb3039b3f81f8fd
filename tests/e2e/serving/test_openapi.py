"""docs/openapi/gateway.yaml against the running service: every path, every status, every field."""

import json
import pathlib

import jsonschema
import pytest
import referencing
import referencing.jsonschema
import yaml

import wire
from deployment import MODEL_NAME, eventually

FILE = pathlib.Path(__file__).resolve().parents[3] / "docs/openapi/gateway.yaml"
DOCUMENT = yaml.safe_load(FILE.read_text())
REGISTRY = referencing.Registry().with_resource(
    "gateway", referencing.Resource(DOCUMENT, referencing.jsonschema.DRAFT202012))
OPERATIONS = [(path, method) for path, operations in DOCUMENT["paths"].items() for method in operations]

USER = [{"role": "user", "content": "What is 47 + 85?"}]
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
CHAT = {"model": MODEL_NAME, "messages": USER}
TEXT = {"model": MODEL_NAME, "prompt": "20 + 31 ="}
ALL_SHARED = {
    "n": 2, "seed": 3, "max_tokens": 20, "max_completion_tokens": 12, "temperature": 1.5, "top_p": 0.9, "top_k": 50,
    "min_p": 0.01, "presence_penalty": 0.5, "frequency_penalty": -0.5, "repetition_penalty": 1.1,
    "logit_bias": {"5": -10}, "stop": ["zzz"], "stop_token_ids": [7], "ignore_eos": False, "user": "somebody"}
STREAM = {"stream": True, "stream_options": {"include_usage": True}}

# What answers 200, by operation: requests that use every documented field between them.
GOOD = {
    ("/v1/chat/completions", "post"): [
        CHAT, {**CHAT, **STREAM}, {**CHAT, "stream": True}, {**CHAT, "logprobs": True, "top_logprobs": 2},
        {**CHAT, "logprobs": True, "top_logprobs": 2, **STREAM}, {**CHAT, **ALL_SHARED}, {**CHAT, **ALL_SHARED, **STREAM},
        {**CHAT, "tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": True, "max_tokens": 5},
        {**CHAT, "chat_template_kwargs": {"thinking": True}, "stop": "never"},
        {**CHAT, "max_tokens": 5, "messages": [
            {"role": "developer", "content": "Answer briefly."},
            {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "somebody"},
            {"role": "assistant", "content": None, "reasoning_content": "hm", "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "x"}, *USER]}],
    ("/v1/completions", "post"): [
        TEXT, {**TEXT, **STREAM}, {**TEXT, "logprobs": 2}, {**TEXT, "logprobs": 2, **STREAM}, {**TEXT, **ALL_SHARED},
        {**TEXT, "echo": True, "add_special_tokens": False}, {**TEXT, "prompt": ["a", "b"]}, {**TEXT, "prompt": [1, 2]},
        {**TEXT, "prompt": [[5], [6, 7]], **STREAM}],
    ("/v1/models", "get"): [None],
    ("/v1/models/{model}", "get"): [None],
    ("/tokenize", "post"): [
        {"prompt": "1", "model": MODEL_NAME, "add_special_tokens": False, "return_token_strs": True},
        {"messages": USER, "add_generation_prompt": False, "tools": [TOOL], "chat_template_kwargs": {}}],
    ("/detokenize", "post"): [{"tokens": [5, 6], "model": MODEL_NAME}, {"tokens": []}],
    ("/health", "get"): [None], ("/ready", "get"): [None], ("/metrics", "get"): [None], ("/v1/identity", "get"): [None],
    ("/status", "get"): [None], ("/status/data", "get"): [None]}

# What is refused, by operation and status.
POSTS = [operation for operation in OPERATIONS if operation[1] == "post"]
BAD = {
    **{(*operation, 400): {"model": MODEL_NAME, "prompt": 1, "messages": 1, "tokens": 1} for operation in POSTS},
    **{(*operation, 404): {**GOOD[operation][0], "model": "other"} for operation in POSTS}}


# Statuses that this test does not bring about: a gateway without engines is another deployment, see the gateway's
# own tests.
ELSEWHERE = {("/v1/chat/completions", "post", 503), ("/v1/completions", "post", 503), ("/ready", "get", 503)}


def documented(path, method, status):
    responses = DOCUMENT["paths"][path][method]["responses"]
    assert str(status) in responses, f"{method} {path} answers {status}, which is not documented"
    response = responses[str(status)]
    if "$ref" in response:
        response = REGISTRY.resolver("gateway").lookup(response["$ref"]).contents
    return response


def check(value, schema):
    # References are relative to the whole document.
    pointed = json.loads(json.dumps(schema).replace('"$ref": "#', '"$ref": "gateway#'))
    jsonschema.Draft202012Validator(pointed, registry=REGISTRY).validate(value)


def check_answer(path, method, answer):
    response = documented(path, method, answer.status)
    for header in response.get("headers", {}):
        assert header.lower() in answer.headers, f"{method} {path} {answer.status} has no {header}"
    content_type = answer.headers["content-type"].split(";")[0]
    assert content_type in response["content"], (path, answer.status, content_type)
    schema = response["content"][content_type].get("schema", {})
    if content_type == "application/json":
        check(answer.json(), schema)
    elif content_type == "text/event-stream":
        *events, done, end = answer.body.decode().split("\n\n")
        assert done == "data: [DONE]" and end == ""
        for event in events:
            check(json.loads(event.removeprefix("data: ")), schema)


def url_of(path):
    nonce = "?nonce=" + "0" * 32 if path == "/v1/identity" else ""
    return path.replace("{model}", MODEL_NAME) + nonce


def send(address, path, method, body, key, url=None):
    url = url or url_of(path)
    return wire.get(address, url, key) if method == "get" else wire.post(address, url, body, key)


@pytest.fixture(scope="module")
def seen(address, key, deployment):
    """Every documented outcome brought about once; what came of it was checked."""
    statuses = set()

    def take(path, method, answer, status):
        assert answer.status == status, (path, answer.body)
        check_answer(path, method, answer)
        statuses.add((path, method, status))

    for (path, method), bodies in GOOD.items():
        for body in bodies:
            take(path, method, send(address, path, method, body, key), 200)
        if DOCUMENT["paths"][path][method].get("security") != []:
            take(path, method, send(address, path, method, bodies[0], "wrong"), 401)
    for (path, method, status), body in BAD.items():
        take(path, method, send(address, path, method, body, key), status)
    for path, method in POSTS:
        head = wire.head("POST", path, {"Content-Length": str(100 << 20), **wire.bearer(key)})
        take(path, method, wire.exchange(address, head), 413)
    take("/v1/models/{model}", "get", wire.get(address, "/v1/models/other", key), 404)
    take("/v1/identity", "get", wire.get(address, "/v1/identity?nonce=0"), 400)
    limited = deployment.add_key("rare", "--requests-per-minute", "1")
    assert eventually(lambda: wire.get(address, "/v1/models", limited).status == 200, 5)
    for path, method in [("/v1/chat/completions", "post"), ("/v1/completions", "post")]:
        send(address, path, method, {**GOOD[path, method][0], "max_tokens": 1}, limited)
        take(path, method, send(address, path, method, GOOD[path, method][0], limited), 429)
    deployment.revoke_key("rare")
    return statuses


def test_every_documented_status_is_true(seen):
    all_documented = {(path, method, int(status)) for path, method in OPERATIONS
                      for status in DOCUMENT["paths"][path][method]["responses"]}
    assert all_documented - seen == ELSEWHERE


@pytest.mark.parametrize("operation", POSTS, ids=str)
def test_requests_are_those_documented(operation):
    """The good requests fit their schema, and use each of its fields."""
    path, method = operation
    schema = DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    for body in GOOD[operation]:
        check(body, schema)
    resolver = REGISTRY.resolver("gateway")
    contents = resolver.lookup(schema["$ref"]).contents
    fields = set(contents["properties"])
    for part in contents.get("allOf", []):
        fields |= set(resolver.lookup(part["$ref"]).contents["properties"])
    assert fields - {field for body in GOOD[operation] for field in body} == set()
