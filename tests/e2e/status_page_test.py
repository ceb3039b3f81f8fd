#!/usr/bin/env python3
"""The status page in a real browser, over a real engine and gateway.

usage: status_page_test.py PROGRAM_DIR MODEL_DIR SCREENSHOT_DIR
"""
import json
import os
import pathlib
import signal
import sys
import threading
import unittest

from browser import Browser
from serving_processes import KEY, SECRET, SECONDS, Deployment

sys.path.append(str(pathlib.Path(__file__).parent / "serving"))
import deployment as launched  # noqa: E402

PROGRAMS, MODEL, SCREENSHOTS = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
PHONE, DESKTOP = (360, 740), (1280, 900)
TEXT = "31+26="


class Load:
    """Requests one after another until it ends. A context manager."""

    def __init__(self, deployment):
        self.deployment = deployment
        self.is_over = threading.Event()
        self.statuses = []
        self.threads = [threading.Thread(target=self.work) for _ in range(3)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def work(self):
        while not self.is_over.is_set():
            self.statuses.append(self.deployment.chat(TEXT)[0])


class PageTest(unittest.TestCase):
    def enter(self, manager):
        value = manager.__enter__()
        self.addCleanup(manager.__exit__, None, None, None)
        return value

    def text_of(self, selector):
        return self.browser.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def log_in(self, key):
        self.browser.wait_for("!document.getElementById('login').hidden")
        self.browser.evaluate(f"(document.getElementById('key').value = {json.dumps(key)},"
                              " document.querySelector('#login button').click())")

    def take_screenshots(self, name):
        for screen, scheme, label in ((DESKTOP, "light", "desktop"), (DESKTOP, "dark", "desktop-dark"),
                                      (PHONE, "light", "phone"), (PHONE, "dark", "phone-dark")):
            self.browser.set_screen(*screen, scheme)
            self.browser.wait_for(f"document.documentElement.clientWidth === {screen[0]}")
            self.assertLessEqual(self.browser.evaluate("document.documentElement.scrollWidth"), screen[0], label)
            path = SCREENSHOTS / f"{name}-{label}.png"
            self.browser.save_screenshot(path)
            print(path)


class StatusPageTest(PageTest):
    def setUp(self):
        self.deployment = self.enter(Deployment(PROGRAMS, MODEL))

    def test_page_follows_a_deployment(self):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.browser = browser = self.enter(Browser(SECONDS))
        deployment = self.deployment
        browser.open(f"http://{deployment.gateway.endpoint}/status")
        self.log_in("a-wrong-key")
        browser.wait_for("document.getElementById('login-reason').innerText.includes('wrong')")
        self.assertIn("401", "".join(browser.console()))
        self.log_in(KEY)
        with Load(deployment) as load:
            browser.wait_for("document.getElementById('pill').innerText === '1 of 1 healthy'")
            browser.wait_for("parseFloat(document.querySelector('#tiles dd').innerText) > 0")
            browser.wait_for("document.querySelectorAll('#plots path.series-0')[3].getAttribute('d').length > 60")
            self.assertIn("healthy", self.text_of("#replicas .pill"))
            self.assertIn("preprocess-0", self.text_of("#services"))
            self.assertIn("(this one)", self.text_of("#services"))
            self.take_screenshots("healthy")
        self.assertEqual(set(load.statuses), {200})
        self.assertEqual(browser.console(), [])
        self.assertNotIn(KEY, browser.evaluate("location.href"))

        deployment.engine.kill()
        browser.wait_for("document.querySelector('#replicas .pill').innerText === 'unhealthy'")
        browser.wait_for("document.getElementById('pill').innerText === '0 of 1 healthy'")
        browser.wait_for("document.querySelector('#errors .remedy') !== null")
        self.assertIn("engine-0", self.text_of("#errors"))
        self.assertIn("Remedy", browser.evaluate("getComputedStyle(document.querySelector('.remedy'), '::before').content"))
        self.take_screenshots("engine-lost")
        shown = deployment.gateway.ask("GET", "/status/data", token=KEY)[2]
        for private in (TEXT, KEY, SECRET):
            self.assertNotIn(private, shown)

        deployment.gateway.kill()
        browser.wait_for("document.getElementById('gone').innerText.includes('has not answered')")
        self.take_screenshots("gateway-lost")

    def test_data_need_a_key_and_files_are_guarded(self):
        gateway = self.deployment.gateway
        self.assertEqual(gateway.ask("GET", "/status/data", token=None)[0], 401)
        self.assertEqual(gateway.ask("GET", "/status/data", token="wrong")[0], 401)
        for target, kind in (("/status", "text/html"), ("/status/status.css", "text/css"),
                             ("/status/status.js?v=1", "text/javascript"), ("/status/data?since=3", "application/json")):
            status, headers, _ = gateway.ask("GET", target, token=SECRET if "data" in target else None)
            self.assertEqual((status, headers.get_content_type()), (200, kind), target)
            self.assertTrue(headers["Content-Security-Policy"].startswith("default-src 'none'"), target)
            self.assertNotIn("unsafe", headers["Content-Security-Policy"])
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff", target)
        self.assertEqual(gateway.ask("GET", "/status/data")[1]["Cache-Control"], "no-store")
        page = gateway.ask("GET", "/status", token=None)[2]
        self.assertNotIn("@", page)


class WorldPageTest(PageTest):
    """A replica of four ranks, as its launcher starts it."""

    def setUp(self):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        # The failure detector would end the world while the test still looks at it.
        self.deployment = launched.Deployment(pathlib.Path(PROGRAMS) / "dslaunch", pathlib.Path(MODEL),
                                              "--tp", "2", "--pp", "2", "--deadline-ms", "60000")
        self.addCleanup(self.deployment.close)

    def test_page_shows_every_hop_and_names_the_rank_that_stands_still(self):
        self.browser = browser = self.enter(Browser(SECONDS))
        browser.open(f"http://{self.deployment.gateway.endpoint}/status")
        self.log_in(self.deployment.api_key)
        browser.wait_for("document.querySelectorAll('#replicas .chip[data-state=good]').length === 4")
        browser.wait_for("!document.getElementById('hops-section').hidden")
        browser.evaluate("document.getElementById('hops-summary').click()")
        # Of the canary alone: sums inside a stage, activations from stage to stage, plans, tokens.
        for hop in ("0 → 1\ttensor", "3 → 2\ttensor", "1 → 3\tpipeline", "0 → 3\tplan", "2 → 0\ttokens"):
            browser.wait_for(f"document.getElementById('hops').innerText.includes({json.dumps(hop)})")
        self.assertRegex(self.text_of("#hops"), r"0 → 1\ttensor\t\S+ \(\S+\)\t")
        self.take_screenshots("world")
        stopped = self.pid_of_rank(2)
        self.addCleanup(os.kill, stopped, signal.SIGKILL)
        os.kill(stopped, signal.SIGSTOP)
        browser.wait_for("document.querySelector('#replicas .chip[data-state=bad]') !== null")
        self.assertRegex(self.text_of("#replicas .chip[data-state=bad]"), "^2 unhealthy on .*, silent for [2-9]")
        self.assertEqual(browser.evaluate("document.querySelectorAll('#replicas .chip[data-state=good]').length"), 3)
        browser.wait_for("document.querySelector('#replicas .pill').innerText === 'out of rotation'")
        self.assertEqual([line for line in browser.console() if "favicon" not in line], [])

    def pid_of_rank(self, rank):
        for pid, argv in self.deployment.processes().items():
            if pathlib.Path(argv[0]).name == "dsengine" and argv[argv.index("--rank") + 1] == str(rank):
                return pid
        raise AssertionError(f"there is no rank {rank}")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
