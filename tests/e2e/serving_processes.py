"""A deployment's processes without its launcher, for tests in Python: an engine, a text service and a gateway."""
import hashlib
import http.client
import json
import os
import pathlib
import subprocess
import tempfile

SECRET = "0123456789abcdef"
KEY = "sk-for-tests-only"
SECONDS = 30  # of patience with anything


class Service:
    """A process that says on standard output where it listens."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, env={**os.environ, "DSLAUNCH_SECRET": SECRET},
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            report = json.loads(line)
            if report["event"] == "ready":
                self.endpoint = report["endpoint"]
                return
        raise AssertionError(f"{command[0]} ended before it was ready")

    def ask(self, method, target, body=None, token=SECRET):
        connection = http.client.HTTPConnection(self.endpoint, timeout=SECONDS)
        try:
            connection.request(method, target, None if body is None else json.dumps(body),
                               {} if token is None else {"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Deployment:
    """One engine, one preprocess service and one gateway for a model. A context manager."""

    def __init__(self, programs, model):
        self.folder = tempfile.TemporaryDirectory()
        self.running = []
        self.programs = pathlib.Path(programs)
        self.model = model

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for service in self.running:
            if service.process.poll() is None:
                service.kill()
        self.folder.cleanup()

    def start(self):
        root = pathlib.Path(self.folder.name)
        services = root / "services"
        services.mkdir(mode=0o700)
        digest = hashlib.sha256(KEY.encode()).hexdigest()
        self.write(root / "keys.json", {"keys": [{"name": "default", "sha256": digest, "created_unix_s": 1, "priority": 0}]})
        self.engine = self.run("dsengine", "--model", self.model, "--threads", "1")
        self.text = self.run("dstext", "--role", "preprocess", "--model", self.model, "--served-model-name", "demo")
        self.register(services, "engine-0", "engine", self.engine)
        self.register(services, "preprocess-0", "preprocess", self.text)
        self.gateway = self.run("dsgateway", "--model", self.model, "--served-model-name", "demo", "--services", services,
                                "--keys", root / "keys.json", "--listen", "127.0.0.1:0", "--recovery-timeout-s", "2")
        self.register(services, "gateway-0", "gateway", self.gateway)

    def run(self, program, *arguments):
        service = Service(str(self.programs / program), *map(str, arguments))
        self.running.append(service)
        return service

    def register(self, services, name, role, service):
        self.write(services / f"{name}.json",
                   {"id": name, "role": role, "endpoint": service.endpoint, "state": "ready", "version": "0.1.0",
                    "model": "demo", "tp": 1, "pp": 1, "launch_id": "test-launch", "pid": service.process.pid,
                    "start_ticks": 1, "host": "localhost"})

    @staticmethod
    def write(path, content):
        part = path.with_suffix(".part")
        part.touch(mode=0o600)
        part.write_text(json.dumps(content), encoding="utf-8")
        part.rename(path)

    def chat(self, text, max_tokens=64):
        return self.gateway.ask("POST", "/v1/chat/completions", {
            "model": "demo", "max_tokens": max_tokens, "messages": [{"role": "user", "content": text}]}, KEY)
