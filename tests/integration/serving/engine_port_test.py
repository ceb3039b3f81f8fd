#!/usr/bin/env python3
"""Compares a running dsengine with docs/openapi/engine.yaml, and its metrics with promtool's rules.

usage: engine_port_test.py DSENGINE MODEL_DIR ENGINE_YAML
"""
import asyncio
import http.client
import json
import os
import re
import subprocess
import sys
import time
import unittest

import jsonschema
import yaml

DSENGINE, MODEL, DOCUMENT = sys.argv[1:4]
SECRET = "0123456789abcdef"
AUTHORIZATION = {"Authorization": f"Bearer {SECRET}"}
SECONDS = 60


class Engine:
    """A world of one on a free port."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [DSENGINE, "--model", MODEL, "--threads", "1", *arguments],
            env={**os.environ, "DSLAUNCH_SECRET": SECRET}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            report = json.loads(line)
            if report["event"] == "ready":
                self.endpoint = report["endpoint"]
                return
        raise AssertionError("dsengine ended before it was ready")

    def ask(self, method, target, body=None, headers=AUTHORIZATION):
        connection = http.client.HTTPConnection(self.endpoint, timeout=SECONDS)
        try:
            connection.request(method, target, body if body is None or isinstance(body, str) else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def end(self):
        self.process.terminate()
        code = self.process.wait(SECONDS)
        self.process.stdout.close()
        return code


class Contract:
    """The OpenAPI document, as checks of answers."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.document = yaml.safe_load(file)
        self.seen = set()

    def schema(self, schema):
        return {**schema, "components": self.document["components"]}

    def resolved(self, node):
        while "$ref" in node:
            target = self.document
            for key in node["$ref"].removeprefix("#/").split("/"):
                target = target[key]
            node = target
        return node

    def operation(self, method, path):
        return self.document["paths"][path][method.lower()]

    def check(self, method, target, status, headers, body):
        path = target.partition("?")[0]
        response = self.resolved(self.operation(method, path)["responses"][str(status)])
        self.seen.add((method, path, status))
        for name in response.get("headers", {}):
            assert name in headers, f"{method} {target} {status}: no header {name}"
        kind = headers.get_content_type()
        schema = response["content"][kind].get("schema")
        if kind == "application/json":
            jsonschema.validate(json.loads(body), self.schema(schema))
        elif kind == "application/x-ndjson":
            for line in body.splitlines():
                jsonschema.validate(json.loads(line), self.schema(schema))

    def request_schema(self, method, path):
        return self.schema(self.operation(method, path)["requestBody"]["content"]["application/json"]["schema"])


class EnginePortTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine()
        cls.contract = Contract(DOCUMENT)

    @classmethod
    def tearDownClass(cls):
        assert cls.engine.end() == 0

    def ask(self, method, target, body=None, headers=AUTHORIZATION, status=200):
        found, answer_headers, answer = self.engine.ask(method, target, body, headers)
        self.assertEqual(found, status, answer)
        self.contract.check(method, target, found, answer_headers, answer)
        return answer

    def test_every_path_answers_as_written(self):
        generate = {"prompt": "1+1=", "max_tokens": 4, "tenant": "t", "priority": 1, "request_id": "r1",
                    "sampling": {"logprobs": 2, "ignore_eos": True, "seed": 5}}
        lines = self.ask("POST", "/v1/generate", generate).splitlines()
        self.assertEqual(json.loads(lines[-1])["finish_reason"], "length")
        self.assertNotIn(b'"text"', self.ask("POST", "/v1/generate", {**generate, "return_text": False}))
        self.ask("POST", "/v1/generate", "{", status=400)
        self.ask("POST", "/v1/generate", generate, headers={}, status=401)
        self.ask("POST", "/v1/stop", {"stream_id": "nobody's"})
        self.ask("POST", "/v1/stop", {"stream_id": ""}, status=400)
        self.ask("POST", "/v1/stop", {"stream_id": "s"}, headers={}, status=401)
        self.ask("POST", "/v1/score", {"token_ids": [1, 2]})
        self.ask("POST", "/v1/score", {"token_ids": []}, status=400)
        self.ask("POST", "/v1/score", {"token_ids": [1]}, headers={}, status=401)
        self.ask("GET", "/v1/info")
        self.ask("GET", "/v1/info", headers={}, status=401)
        self.ask("GET", "/v1/identity?nonce=" + "0f" * 16, headers={})
        self.ask("GET", "/v1/identity", headers={}, status=400)
        self.ask("GET", "/health", headers={})
        self.ask("GET", "/metrics")
        self.ask("GET", "/metrics", headers={}, status=401)
        self.ask("POST", "/v1/drain", headers={}, status=401)
        reached = {(method, path) for method, path, status in self.contract.seen if status == 200}
        written = {(method.upper(), path) for path, item in self.contract.document["paths"].items() for method in item}
        self.assertEqual(written - reached, {("POST", "/v1/drain")})

    def test_request_fields_are_those_of_the_schema(self):
        schema = self.contract.request_schema("POST", "/v1/generate")
        examples = {
            "max_tokens": 2, "emitted_token_ids": [3], "tenant": "t", "priority": -10, "request_id": "r", "stream_id": "s",
            "return_text": True,
            "sampling": {"temperature": 0.5, "top_k": 2, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.1,
                         "presence_penalty": 0.1, "frequency_penalty": 0.1, "logit_bias": {"1": 1.5}, "seed": 1,
                         "logprobs": 0, "stop": ["x"], "stop_token_ids": [2], "ignore_eos": True}}
        prompts = [{"token_ids": [1]}, {"prompt": "a"},
                   {"messages": [{"role": "user", "content": "a"}], "tools": [], "chat_template_kwargs": {}}]
        used = set()
        for prompt in prompts:
            body = {**prompt, **examples}
            jsonschema.validate(body, schema)
            used |= set(body)
            self.ask("POST", "/v1/generate", body)
        self.assertEqual(used, set(self.contract.resolved(schema)["properties"]))
        sampling = self.contract.document["components"]["schemas"]["Sampling"]["properties"]
        self.assertEqual(set(examples["sampling"]), set(sampling))
        for wrong in ({"unknown": 1}, {"priority": 11}, {"tenant": "t" * 65}, {"request_id": "a\nb"}, {"max_tokens": 0}):
            with self.assertRaises(jsonschema.ValidationError):
                jsonschema.validate({"prompt": "a", **wrong}, schema)
            self.ask("POST", "/v1/generate", {"prompt": "a", **wrong}, status=400)

    def test_metrics_please_promtool(self):
        self.ask("POST", "/v1/generate", {"prompt": "1+1=", "max_tokens": 2})
        text = self.ask("GET", "/metrics")
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=SECONDS)
        complaints = checked.stderr.decode().splitlines() + checked.stdout.decode().splitlines()
        # Dashboards want vLLM's names, which have a colon.
        allowed = re.compile(r"vllm:\S+ metric names should not contain ':'")
        self.assertEqual([line for line in complaints if not allowed.fullmatch(line)], [])
        for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prefix_cache_queries_total",
                     "prefix_cache_hits_total", "prompt_tokens_total", "generation_tokens_total", "request_success_total",
                     "num_preemptions_total", "time_to_first_token_seconds_bucket", "inter_token_latency_seconds_bucket",
                     "e2e_request_latency_seconds_bucket", "request_queue_time_seconds_bucket",
                     "request_prefill_time_seconds_bucket", "request_decode_time_seconds_bucket"):
            self.assertIn(f'vllm:{name}{{'.encode(), text)


class LoadTest(unittest.TestCase):
    NUM_STREAMS = 500
    NUM_KINDS = 50

    @staticmethod
    def request(kind):
        shared = [5, 6, 7, 8] * (10 * (kind % 3))
        own = [10 + (kind * 7 + i) % 80 for i in range(1 + kind % 40)]
        sampling = {"ignore_eos": True, "seed": kind, "temperature": kind % 2, "logprobs": 0}
        return {"token_ids": shared + own, "max_tokens": 4 + kind % 45, "tenant": f"key {kind % 5}", "priority": kind % 3,
                "sampling": sampling}

    @staticmethod
    async def answer(endpoint, body):
        host, port = endpoint.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        text = json.dumps(body)
        writer.write((f"POST /v1/generate HTTP/1.1\r\nHost: {endpoint}\r\nAuthorization: Bearer {SECRET}\r\n"
                      f"Connection: close\r\nContent-Length: {len(text)}\r\n\r\n{text}").encode())
        received = await reader.read()
        writer.close()
        lines = [json.loads(line) for line in received.splitlines() if line.startswith(b"{")]
        assert "finish_reason" in lines[-1], received[:500]
        return [(token["token_id"], token["logprob"]) for line in lines[:-1] for token in line["logprobs"]]

    def test_five_hundred_streams_get_what_they_get_alone(self):
        engine = Engine("--kv-tokens", "512", "--max-batch-tokens", "128")
        try:
            requests = [self.request(kind) for kind in range(self.NUM_KINDS)]
            alone = [asyncio.run(self.answer(engine.endpoint, request)) for request in requests]

            async def together():
                kinds = [i % self.NUM_KINDS for i in range(self.NUM_STREAMS)]
                answers = await asyncio.gather(*(self.answer(engine.endpoint, requests[kind]) for kind in kinds))
                return zip(kinds, answers)

            for kind, answer in asyncio.run(together()):
                self.assertEqual(answer, alone[kind], f"request {kind}")

            def value(name):
                metrics = engine.ask("GET", "/metrics")[2].decode()
                return float(re.search(rf"^vllm:{name}{{[^}}]*}} (\S+)$", metrics, re.M)[1])

            self.assertGreater(value("num_preemptions_total"), 0)
            self.assertGreater(value("prefix_cache_hits_total"), 0)
            # The engine's thread notes the end of an answer after it has sent it.
            deadline = time.monotonic() + SECONDS
            while value("num_requests_running") and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertEqual(value("num_requests_running"), 0)
        finally:
            self.assertEqual(engine.end(), 0)


class DrainTest(unittest.TestCase):
    def test_drained_engine_refuses_and_ends_in_good_order(self):
        engine = Engine()
        contract = Contract(DOCUMENT)
        try:
            for target, status in (("/v1/drain", 200), ("/v1/generate", 503), ("/v1/score", 503)):
                body = {"token_ids": [1]} if status == 503 else None
                found, headers, answer = engine.ask("POST", target, body)
                self.assertEqual(found, status, answer)
                contract.check("POST", target, found, headers, answer)
            self.assertEqual(engine.ask("GET", "/health")[0], 200)
            self.assertTrue(json.loads(engine.ask("GET", "/v1/info")[2])["draining"])
        finally:
            self.assertEqual(engine.end(), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
