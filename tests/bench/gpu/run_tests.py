#!/usr/bin/env python3
"""run_tests.py [OPTIONS] PROGRAM[=FILTER]...: GoogleTest's tests, each in a process of its own, some side by side.

Options: --jobs N, --seconds S (for each test), --results FILE (JSON: how each test ended, and the properties that it
recorded), --under COMMAND (words that each command begins with). Prints what tests that failed printed, and last how
many there were. One that hangs or breaks the device leaves the others alone.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time

MAX_LINES = 40  # of what a test that failed printed
MAX_END_SECONDS = 10  # until a process that was killed is given up


def list_tests(program, chosen):
    said = subprocess.run([program, "--gtest_list_tests", f"--gtest_filter={chosen}"], capture_output=True, text=True,
                          timeout=60, check=True).stdout
    suite, names = "", []
    for line in said.splitlines():
        name = line.split("#")[0].rstrip()
        if name.startswith("  "):
            names.append(suite + name.strip())
        elif name.endswith("."):
            suite = name
    return names


class Runner:
    def __init__(self, arguments):
        self.arguments = arguments
        self.lock = threading.Lock()
        self.processes = set()
        self.ended = []

    def run(self, program, test):
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder, "report.json")
            log = pathlib.Path(folder, "log")
            command = [*shlex.split(self.arguments.under), program, f"--gtest_filter={test}", "--gtest_brief=1",
                       f"--gtest_output=json:{report}"]
            code = self.exit_code(command, log)
            found = self.found(report)
            state = {None: "ran out of time", 0: found.get("state", "failed")}.get(code, "failed")
            lines = log.read_text(errors="replace").splitlines()
        entry = {"program": pathlib.Path(program).name, "test": test, "state": state, "code": code,
                 "seconds": round(time.monotonic() - began, 2), "properties": found.get("properties", {})}
        self.note(entry, lines)

    def exit_code(self, command, log):
        """None: it did not end in time."""
        with open(log, "wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       start_new_session=True)
            with self.lock:
                self.processes.add(process)
            try:
                return process.wait(self.arguments.seconds)
            except subprocess.TimeoutExpired:
                kill_group(process)
                return None
            finally:
                with self.lock:
                    self.processes.discard(process)

    @staticmethod
    def found(report):
        try:
            suite = json.loads(report.read_text())["testsuites"][0]
            test = suite["testsuite"][0]
        except (OSError, ValueError, LookupError):
            return {}
        known = {"name", "value_param", "type_param", "file", "line", "status", "result", "timestamp", "time", "classname",
                 "failures", "skipped"}
        return {"state": "skipped" if test["result"] == "SKIPPED" else "ok",
                "properties": {name: value for name, value in test.items() if name not in known}}

    def note(self, entry, lines):
        with self.lock:
            self.ended.append(entry)
            if entry["state"] not in ("ok", "skipped"):
                print(f"-- {entry['program']} {entry['test']}: {entry['state']}, exit code {entry['code']}")
                print("\n".join(lines[-MAX_LINES:]), flush=True)
            if self.arguments.results:
                part = pathlib.Path(self.arguments.results + ".part")
                part.write_text(json.dumps({"tests": self.ended}, indent=1) + "\n")
                part.rename(self.arguments.results)

    def stop(self, *_):
        """What `timeout` asks for."""
        for process in list(self.processes):
            kill_group(process)
        print(f"stopped after {len(self.ended)} tests, {summary(self.ended)}", flush=True)
        os._exit(1)


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(MAX_END_SECONDS)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass


def summary(ended):
    counts = {state: sum(entry["state"] == state for entry in ended)
              for state in ("ok", "skipped", "failed", "ran out of time")}
    bad = [re.sub(r"^\w+/(?=.*\.)", "", entry["test"]) for entry in ended
           if entry["state"] not in ("ok", "skipped")]
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return said + (": " + " ".join(sorted(set(bad))) if bad else "")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", nargs="+", metavar="PROGRAM[=FILTER]")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--results")
    parser.add_argument("--under", default="")
    arguments = parser.parse_args()
    runner = Runner(arguments)
    signal.signal(signal.SIGTERM, runner.stop)
    tests = []
    for wish in arguments.programs:
        program, _, chosen = wish.partition("=")
        tests += [(program, test) for test in list_tests(program, chosen or "*")]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for running in [pool.submit(runner.run, program, test) for program, test in tests]:
            running.result()
    print(summary(runner.ended) or "no tests")
    return 0 if tests and all(entry["state"] in ("ok", "skipped") for entry in runner.ended) else 1


if __name__ == "__main__":
    sys.exit(main())
