#!/usr/bin/env python3
"""docs/grafana/dslaunch.json against what a running engine and gateway export.

usage: dashboard_test.py PROGRAM_DIR MODEL_DIR DASHBOARD_JSON
"""
import json
import pathlib
import re
import subprocess
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).parent / "serving"))
from deployment import Deployment, eventually  # noqa: E402

PROGRAMS, MODEL, DASHBOARD = sys.argv[1:4]
SECONDS = 30  # of patience with anything
METRIC = re.compile(r"\b(?:vllm:|dslaunch_|process_)\w+")
SELECTOR = re.compile(r"\b(?:vllm:|dslaunch_|process_)\w+\{([^}]*)\}")
# Exported where there is such hardware: adapters in /sys/class/infiniband, GPUs with NVIDIA's management library.
NEEDS_HARDWARE = {
    "dslaunch_fabric_transmitted_bytes_total", "dslaunch_fabric_received_bytes_total", "dslaunch_fabric_counter_total",
    "dslaunch_gpu_busy_ratio", "dslaunch_gpu_memory_bytes", "dslaunch_gpu_memory_used_bytes", "dslaunch_gpu_power_watts",
    "dslaunch_gpu_temperature_celsius", "dslaunch_gpu_uncorrected_ecc_errors", "dslaunch_gpu_throttled",
    "dslaunch_gpu_xid_errors_total", "dslaunch_rank_device_memory_bytes", "dslaunch_rank_device_memory_planned_bytes"}


def samples_of(text):
    """Names of samples with the names of their labels."""
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name = re.match(r"[\w:]+", line)[0]
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', line))
    return found


class DashboardTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with open(DASHBOARD, encoding="utf-8") as file:
            cls.dashboard = json.load(file)
        cls.panels = [panel for panel in cls.dashboard["panels"] if panel["type"] != "row"]
        # Two ranks, so that there are hops and links.
        deployment = Deployment(pathlib.Path(PROGRAMS) / "dslaunch", pathlib.Path(MODEL), "--tp", "2")
        try:
            deployment.dslaunch("complete", "demo", "--prompt", "1+1=", "--max-tokens", "8")
            assert eventually(lambda: cls.ranks_that_tell_of_sums(deployment) == {"0", "1"}, SECONDS)
            cls.engine = deployment.scrape(deployment.engine)
            cls.gateway = deployment.scrape(deployment.gateway)
        finally:
            deployment.close()
        cls.exported = samples_of(cls.engine)
        for name, labels in samples_of(cls.gateway).items():
            cls.exported.setdefault(name, set()).update(labels)

    @staticmethod
    def ranks_that_tell_of_sums(deployment):
        hop = re.compile(r'^dslaunch_hop_sent_bytes_total{.*purpose="tensor",rank="(\d+)"', re.M)
        return set(hop.findall(deployment.scrape(deployment.engine)))

    def expressions(self):
        for panel in self.panels:
            for target in panel["targets"]:
                yield panel["title"], target["expr"]
        for variable in self.dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield f"variable {variable['name']}", variable["query"]["query"]

    def test_every_metric_is_exported_with_its_labels(self):
        used = set()
        for where, expression in self.expressions():
            names = set(METRIC.findall(expression))
            self.assertTrue(names, f"{where}: {expression}")
            used |= names
            for name in names - NEEDS_HARDWARE:
                self.assertIn(name, self.exported, where)
        self.assertLessEqual(NEEDS_HARDWARE, used, "listed, but in no panel")
        missing = used - set(self.exported)
        print(f"{len(used)} metrics in panels, {len(used - missing)} of them scraped, without hardware: {sorted(missing)}")
        for where, expression in self.expressions():
            for match in SELECTOR.finditer(expression):
                name = METRIC.match(match[0])[0]
                # The scraper adds job and instance.
                labels = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", match[1])) - {"instance", "job"}
                if name in self.exported:
                    self.assertLessEqual(labels, self.exported[name], f"{where}: {expression}")
        self.assertGreater(len(used), 45)

    def test_engine_and_gateway_call_the_model_alike(self):
        names = [set(re.findall(r'model_name="([^"]*)"', text)) for text in (self.engine, self.gateway)]
        self.assertEqual(names, [{"demo"}, {"demo"}])

    def test_panels_are_whole(self):
        ids = [panel["id"] for panel in self.dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        taken = set()
        for panel in self.dashboard["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, f"{panel['title']} lies over another panel")
            taken |= cells
        for panel in self.panels:
            self.assertTrue(panel["description"], panel["title"])
            self.assertEqual(panel["datasource"]["uid"], "${datasource}", panel["title"])

    def test_expressions_please_promtool(self):
        rules = {"groups": [{"name": "dashboard", "rules": [
            {"record": f"panel:expression{i}", "expr": self.filled_in(expression)}
            for i, (where, expression) in enumerate(self.expressions()) if not where.startswith("variable")]}]}
        checked = subprocess.run(["promtool", "check", "rules", "/dev/stdin"], input=json.dumps(rules).encode(),
                                 capture_output=True, timeout=SECONDS)
        self.assertEqual(checked.returncode, 0, checked.stderr.decode() + checked.stdout.decode())

    @staticmethod
    def filled_in(expression):
        return expression.replace("$__rate_interval", "1m").replace("$model_name", "demo").replace("$instance", ".*")

    def test_metrics_please_promtool(self):
        for metrics in (self.engine, self.gateway):
            checked = subprocess.run(["promtool", "check", "metrics"], input=metrics.encode(), capture_output=True, timeout=SECONDS)
            complaints = checked.stderr.decode().splitlines() + checked.stdout.decode().splitlines()
            # Dashboards want vLLM's names, which have a colon.
            allowed = re.compile(r"vllm:\S+ metric names should not contain ':'")
            self.assertEqual([line for line in complaints if not allowed.fullmatch(line)], [])

    def test_what_was_sent_has_arrived(self):
        """Rank 0 and rank 1 count the same hop, each at its end."""
        for purpose in ("plan", "tensor"):
            sent = self.bytes_of("sent", 0, 1, purpose)
            received = self.bytes_of("received", 1, 0, purpose)
            self.assertGreater(received, 0)
            # Rank 1 told a moment before rank 0 was asked.
            self.assertLessEqual(received, sent)

    def bytes_of(self, direction, rank, peer, purpose):
        labels = rf'[^}}]*peer="{peer}",purpose="{purpose}",rank="{rank}"'
        return float(re.search(rf"^dslaunch_hop_{direction}_bytes_total{{{labels}}} (\S+)$", self.engine, re.M)[1])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
