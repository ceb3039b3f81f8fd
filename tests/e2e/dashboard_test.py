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

from serving_processes import KEY, SECONDS, Deployment

PROGRAMS, MODEL, DASHBOARD = sys.argv[1:4]
METRIC = re.compile(r"\b(?:vllm:|dslaunch_)\w+")
SELECTOR = re.compile(r"\b(?:vllm:|dslaunch_)\w+\{([^}]*)\}")
# Exported where there are fabric adapters, or other ranks to link to.
NOT_EVERYWHERE = {"dslaunch_fabric_transmitted_bytes_total", "dslaunch_fabric_received_bytes_total",
                  "dslaunch_transport_link_info"}


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
        with Deployment(PROGRAMS, MODEL) as deployment:
            cls.status = deployment.chat("1+1=")[0]
            cls.engine = deployment.engine.ask("GET", "/metrics")[2]
            cls.gateway = deployment.gateway.ask("GET", "/metrics", token=KEY)[2]
        cls.exported = samples_of(cls.engine)
        for name, labels in samples_of(cls.gateway).items():
            cls.exported.setdefault(name, set()).update(labels)

    def expressions(self):
        for panel in self.panels:
            for target in panel["targets"]:
                yield panel["title"], target["expr"]
        for variable in self.dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield f"variable {variable['name']}", variable["query"]["query"]

    def test_every_metric_is_exported_with_its_labels(self):
        self.assertEqual(self.status, 200)
        used = set()
        for where, expression in self.expressions():
            names = set(METRIC.findall(expression))
            self.assertTrue(names, f"{where}: {expression}")
            used |= names
            for name in names - NOT_EVERYWHERE:
                self.assertIn(name, self.exported, where)
        program = (pathlib.Path(PROGRAMS) / "dsengine").read_bytes()
        for name in used & NOT_EVERYWHERE:
            self.assertIn(name.encode(), program)
        for where, expression in self.expressions():
            for match in SELECTOR.finditer(expression):
                name = METRIC.match(match[0])[0]
                # The scraper adds job and instance.
                labels = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", match[1])) - {"instance", "job"}
                if name not in NOT_EVERYWHERE:
                    self.assertLessEqual(labels, self.exported[name], f"{where}: {expression}")
        self.assertGreater(len(used), 25)

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

    def test_gateway_metrics_please_promtool(self):
        checked = subprocess.run(["promtool", "check", "metrics"], input=self.gateway.encode(), capture_output=True, timeout=SECONDS)
        complaints = checked.stderr.decode().splitlines() + checked.stdout.decode().splitlines()
        # Dashboards want vLLM's names, which have a colon.
        allowed = re.compile(r"vllm:\S+ metric names should not contain ':'")
        self.assertEqual([line for line in complaints if not allowed.fullmatch(line)], [])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
