import json
import os
import pathlib

import pytest

from deployment import Deployment

DEMO = pathlib.Path(__file__).resolve().parents[2] / "demo_model"


@pytest.fixture(scope="session")
def deployment():
    running = Deployment(pathlib.Path(os.environ["DSL_DSLAUNCH"]), DEMO / "arith-bf16")
    yield running
    running.close()


@pytest.fixture(scope="session")
def address(deployment):
    return deployment.gateway.address


@pytest.fixture(scope="session")
def key(deployment):
    return deployment.api_key


@pytest.fixture(scope="session")
def additions():
    """Questions of the held-out set that the model answers right, with their sums."""
    questions = [json.loads(line) for line in (DEMO / "heldout.jsonl").read_text().splitlines()]
    return [(entry["question"], entry["answer"]) for entry in questions if entry["operation"] == "+"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows what the deployment logged."""
    report = yield
    running = item.funcargs.get("deployment") if hasattr(item, "funcargs") else None
    if report.failed and running is not None:
        report.sections.append(("deployment", running.logs()[-6000:]))
    return report
