"""A deployment of the demo model, brought up with dslaunch in a home of its own."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.request

NAME = "demo"
MODEL_NAME = "demo"


@dataclasses.dataclass(frozen=True)
class Service:
    id: str
    role: str
    endpoint: str

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.endpoint.rsplit(":", 1)
        return host, int(port)


class Deployment:
    def __init__(self, dslaunch: pathlib.Path, model: pathlib.Path, *up_arguments: str):
        self._dslaunch = dslaunch
        self._home = pathlib.Path(tempfile.mkdtemp(prefix="dsl-serving-"))
        self._environment = {
            "HOME": str(self._home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8",
            "XDG_STATE_HOME": str(self._home / "state")}
        try:
            self.dslaunch("up", str(model), "--name", NAME, "--gateways", "1", "--threads", "2",
                          "--kv-tokens", "65536", *up_arguments)
            environment = json.loads(self.dslaunch("env", NAME, "--json"))
            self.base_url = environment["OPENAI_BASE_URL"]
            self.api_key = environment["OPENAI_API_KEY"]
            self.gateway = self._service("gateway")
            self.engine = self._service("engine")
            (secret,) = (self._home / "state/dslaunch/secrets").glob("*")
            self.secret = secret.read_text().splitlines()[0]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Everything down and gone; a process that is left is a failure."""
        subprocess.run([self._dslaunch, "down", NAME], env=self._environment, capture_output=True, timeout=120)
        eventually(lambda: not self.processes(), 10)
        left = self.processes()
        shutil.rmtree(self._home)
        assert not left, f"processes are left: {left}"

    def dslaunch(self, *arguments: str) -> str:
        done = subprocess.run([self._dslaunch, *arguments], env=self._environment, capture_output=True,
                              text=True, errors="replace", timeout=180)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def logs(self) -> str:
        return self.dslaunch("logs", NAME)

    @property
    def services_folder(self) -> pathlib.Path:
        return self._home / "state/dslaunch/deployments" / NAME / "services"

    def add_key(self, name: str, *limits: str) -> str:
        return json.loads(self.dslaunch("keys", NAME, "add", name, *limits, "--json"))["key"]

    def revoke_key(self, name: str) -> None:
        self.dslaunch("keys", NAME, "revoke", name)

    def resident_bytes(self) -> dict[str, int]:
        """Of the gateway and the engine."""
        sizes = {}
        for pid, argv in self.processes().items():
            program = pathlib.Path(argv[0]).name
            if program in ("dsgateway", "dsengine"):
                pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
                sizes[program] = pages * os.sysconf("SC_PAGE_SIZE")
        assert set(sizes) == {"dsgateway", "dsengine"}, sizes
        return sizes

    def num_running(self) -> dict[str, int]:
        """Requests that the gateway and the engine still work on, waiting ones included."""
        gateway = self.gateway_metrics()
        engine = _samples(self.scrape(self.engine))
        return {"gateway": int(gateway["vllm:num_requests_running"]),
                "engine": int(engine["vllm:num_requests_running"] + engine["vllm:num_requests_waiting"])}

    def gateway_metrics(self) -> dict[str, float]:
        return _samples(self.scrape(self.gateway))

    def scrape(self, service: Service) -> str:
        return _get(service.endpoint, "/metrics", self.secret)

    def is_idle(self) -> bool:
        return not any(self.num_running().values())

    def _service(self, role: str) -> Service:
        entries = [json.loads(path.read_text()) for path in self.services_folder.glob(f"{role}-*.json")]
        (entry,) = entries
        return Service(entry["id"], entry["role"], entry["endpoint"])

    def processes(self) -> dict[int, list[str]]:
        """Command lines of the processes that were started from this home."""
        mark = f"XDG_STATE_HOME={self._home}/state".encode()
        found = {}
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    if argv[0]:  # a zombie has none
                        found[int(folder.name)] = argv
            except OSError:
                pass  # ended meanwhile, or another user's
        return found


def eventually(condition, patience_s: float) -> bool:
    end = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _get(endpoint: str, path: str, token: str) -> str:
    request = urllib.request.Request(f"http://{endpoint}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def _samples(metrics: str) -> dict[str, float]:
    """Sum over the labels of each metric."""
    sums: dict[str, float] = {}
    for line in metrics.splitlines():
        if line and not line.startswith("#"):
            name = line.split("{")[0].split(" ")[0]
            sums[name] = sums.get(name, 0) + float(line.rsplit(" ", 1)[1])
    return sums
