"""Rules, routes and the dashboard, against the code, the runbook, and Prometheus's own tools.

`python tests/unit/test_alert_rules.py` writes the rules for Kubernetes anew.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from scantrail.cli.commands import run
from scantrail.infra import metrics

TOP = Path(__file__).parents[2]
DEPLOY = TOP / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
TESTS = [DEPLOY / "prometheus" / name for name in ("rules_test.yml", "rules_week_test.yml")]
ROUTES = DEPLOY / "alertmanager" / "alertmanager.yml"
DASHBOARD = DEPLOY / "grafana" / "scantrail.json"
_HEADING = "\n## What to do when an alert comes\n"
RUNBOOK = (TOP / "docs" / "operations.md").read_text().partition(_HEADING)[2]

ON_KUBERNETES = DEPLOY / "kubernetes" / "components" / "monitoring" / "rules.yaml"
KUBERNETES_HEAD = """\
# The rules of deploy/prometheus/rules.yml, which come first: python tests/unit/test_alert_rules.py
# writes these anew.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: scantrail
  namespace: scantrail
  labels: {app.kubernetes.io/part-of: scantrail}
spec:
"""

GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}

#: A page wakes somebody; a ticket waits for the day.
SEVERITIES = {"page", "ticket"}

_SECTION = re.compile(r"^### (\w+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_METRIC = re.compile(r"\b(scantrail_[a-z_]+)")


def tool(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def declared() -> set[str]:
    """Every series that the code has."""
    names = set()
    for collector in vars(metrics).values():
        if isinstance(collector, Counter | Gauge | Histogram):
            [described] = collector.describe()
            ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
            names |= {described.name + end for end in ends.get(described.type, ("",))}
    return names


def queries() -> list[str]:
    """Of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def expected(alert: str) -> tuple[int, int]:
    """In the rules' own tests: how often it must come, and how often it must not."""
    told = [
        case
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]
    comes = sum(1 for case in told if case.get("exp_alerts"))
    return comes, len(told) - comes


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_come_when_they_must_and_only_then(path: Path) -> None:
    done = tool("promtool", "test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_of_each_alert_it_is_tested_that_it_comes_and_that_it_does_not(alert: str) -> None:
    comes, does_not = expected(alert)
    assert comes, "add a case to deploy/prometheus/rules_test.yml"
    assert does_not, "add a case to deploy/prometheus/rules_test.yml"


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_what_it_is_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in SEVERITIES
    told = rule["annotations"]
    assert told["summary"]
    assert told["description"]
    assert told["runbook_url"] == f"docs/operations.md#{alert.lower()}"


def test_the_runbook_has_a_heading_for_each_alert_and_for_nothing_else() -> None:
    assert {name for name, _ in _SECTION.findall(RUNBOOK)} == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_heading_says_what_it_means_what_to_look_at_and_what_to_do(alert: str) -> None:
    text = dict(_SECTION.findall(RUNBOOK))[alert]
    for part in ("It means", "Look at", "Do"):
        assert f"**{part}:**" in text, part


def test_the_runbook_names_only_commands_that_are_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = "".join(text for _, text in _SECTION.findall(RUNBOOK))
    named = set(re.findall(r"`scantrail ([a-z]+(?: [a-z]+)?)", text))
    assert named
    for command in sorted(named):
        with pytest.raises(SystemExit) as ended:
            run([*command.split(), "--help"])
        assert ended.value.code == 0, command
    capsys.readouterr()


def test_rules_and_dashboard_ask_for_what_the_code_has() -> None:
    asked = [rule["expr"] for group in GROUPS for rule in group["rules"]] + queries()
    named = {name for expr in asked for name in _METRIC.findall(expr)}
    assert named <= declared()
    recorded = {name for expr in asked for name in re.findall(r"\bscantrail:[\w:]+", expr)}
    assert recorded <= RECORDED


def test_a_metric_without_labels_is_asked_of_the_process_whose_it_is() -> None:
    """Of all others it is 0, which is no answer."""
    of_all = {"scantrail_ready", "scantrail_kafka_brokers"}
    gauges = [each for each in vars(metrics).values() if isinstance(each, Gauge)]
    bare = {each.describe()[0].name for each in gauges if not each._labelnames} - of_all
    asked = [rule["expr"] for group in GROUPS for rule in group["rules"]] + queries()
    seen = set()
    for expr in asked:
        for name, selected in re.findall(r"\b(scantrail_[a-z_]+)(\{[^}]*\})?", expr):
            if name in bare:
                seen.add(name)
                assert re.search(r'job="[a-z]+"', selected), expr
    assert "scantrail_months_made_timestamp_seconds" in seen
    assert seen == bare


def test_no_query_of_the_dashboard_finds_something_because_it_says_so() -> None:
    """Only that nothing fires has no number of its own."""
    padded = [expr for expr in queries() if "vector(" in expr]
    assert padded == ['count(ALERTS{alertstate="firing"}) or vector(0)']


def test_every_metric_is_looked_at() -> None:
    """By a rule or on the dashboard; else nobody would miss it."""
    asked = "\n".join([rule["expr"] for group in GROUPS for rule in group["rules"]] + queries())
    looked_at = set(_METRIC.findall(asked))
    counted_once = {re.sub("_(bucket|sum|count)$", "_bucket", name) for name in declared()}
    assert counted_once - looked_at == set()


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    told = json.loads(DASHBOARD.read_text())
    numbers = [panel["id"] for panel in told["panels"]]
    assert len(set(numbers)) == len(numbers)
    rows = [panel["title"] for panel in told["panels"] if panel["type"] == "row"]
    assert rows == ["Flow", "Delay", "Readers", "Alerts", "Kafka", "Runtime"]
    [source] = yaml.safe_load((DEPLOY / "grafana" / "datasource.yml").read_text())["datasources"]
    used = {
        target["datasource"]["uid"]
        for panel in told["panels"]
        for target in panel.get("targets", [])
    }
    assert used == {source["uid"]}


@pytest.mark.parametrize("severity", sorted(SEVERITIES))
def test_alertmanager_tells_each_severity_to_its_receiver(severity: str) -> None:
    assert tool("amtool", "check-config", ROUTES).returncode == 0
    done = tool(
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={ROUTES}",
        f"severity={severity}",
        "alertname=A",
    )
    assert done.stdout.split() == [severity], done.stderr


def test_what_alertmanager_holds_back_are_alerts_that_are_there() -> None:
    told = yaml.safe_load(ROUTES.read_text())
    matchers = [
        matcher
        for rule in told["inhibit_rules"]
        for matcher in rule["source_matchers"] + rule["target_matchers"]
        if matcher.startswith("alertname")
    ]
    named = {name for matcher in matchers for name in re.findall(r"Scantrail\w+", matcher)}
    assert named
    assert named <= set(ALERTS)


def test_no_secret_stands_in_the_routes() -> None:
    text = ROUTES.read_text()
    assert not re.search(r"(?m)^\s*-?\s*(routing_key|service_key|api_url|password|token):", text)
    files = re.findall(r"_file: (\S+)", text)
    compose = yaml.safe_load((TOP / "docker-compose.yml").read_text())
    given = {f"/run/secrets/{name}" for name in compose["services"]["alertmanager"]["secrets"]}
    assert set(files) == given == {f"/run/secrets/{name}" for name in compose["secrets"]}


def on_kubernetes() -> str:
    """The same rules, as an object of the Prometheus Operator."""
    groups = RULES.read_text().partition("\ngroups:\n")[2].splitlines()
    return KUBERNETES_HEAD + "\n".join(f"  {line}".rstrip() for line in ["groups:", *groups]) + "\n"


def test_the_rules_on_kubernetes_are_the_same() -> None:
    mend = "write them anew: .venv/bin/python tests/unit/test_alert_rules.py"
    assert ON_KUBERNETES.read_text() == on_kubernetes(), mend
    assert yaml.safe_load(ON_KUBERNETES.read_text())["spec"]["groups"] == GROUPS


if __name__ == "__main__":
    ON_KUBERNETES.write_text(on_kubernetes())
