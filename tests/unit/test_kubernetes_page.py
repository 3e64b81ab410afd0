"""deploy/kubernetes/README.md: what it has people write and run, against what is rendered."""

import re
import subprocess

import pytest
import yaml

from manifests import (
    DATABASE,
    DATABASE_SECRETS,
    FOLDER,
    PROCESSES,
    TOP,
    faults,
    of_kind,
    render_with,
    rendered,
    workloads,
)
from scantrail.api.recalls import CSV_BYTES_MAX

README = (FOLDER / "README.md").read_text()

#: The plurals of step 3 in docs/operations.md.
IN_WORDS = {f"{name}s": name for name in PROCESSES}


def test_the_readme_replaces_processes_in_the_order_of_the_page() -> None:
    page = (TOP / "docs" / "operations.md").read_text()
    [told] = re.findall(r"One process after the other.*?: ([a-z, ]+)\. End", page, re.DOTALL)
    order = [IN_WORDS[each] for each in told.split(", ")]
    assert sorted(order) == PROCESSES
    workload = r"(?:statefulset|deployment)/([a-z]+)"
    [loop] = re.findall(r"^for each in (.*); do$", README, re.MULTILINE)
    assert re.findall(workload, loop) == order
    [back] = re.findall(r"in the opposite order: `(.*?)`", README, re.DOTALL)
    assert re.findall(workload, back) == order[::-1]
    kinds = {name: workloads("base")[name]["kind"].lower() for name in order}
    for text in (loop, back):
        assert {f"{kinds[name]}/{name}" for name in order} == set(text.split())
    [not_yet] = re.findall(r"notin \((.*?)\)", README)
    assert not_yet.split(",") == order
    assert README.index("create job") < README.index("for each in"), "the tables come first"


# ------------------------------------------------------------------------------ what the page shows

SHOWN = [yaml.safe_load(each) for each in re.findall(r"^```yaml\n(.*?)^```", README, re.M | re.S)]
PATCHES = [each for each in SHOWN if "patches" in each]


@pytest.mark.parametrize("number", range(len(PATCHES)))
def test_a_patch_that_the_readme_shows_can_be_applied(number: int) -> None:
    patched = render_with("hub", patches=PATCHES[number]["patches"])
    assert [fault for manifest in patched for fault in faults(manifest)] == []
    assert patched != rendered("hub")


def test_the_readme_tells_what_names_are_called_on_openshift() -> None:
    told = " ".join(str(each) for each in PATCHES)
    assert "openshift-dns" in told
    assert "port: 5353" in told
    assert "'kind': '(PodMonitor|PrometheusRule)'" in told


def test_the_ingress_that_the_readme_shows_takes_the_largest_list_of_a_recall() -> None:
    [ingress] = [each for each in SHOWN if each.get("kind") == "Ingress"]
    assert faults(ingress) == []
    notes = ingress["metadata"]["annotations"]
    size = notes["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(size.removesuffix("m")) << 20 >= CSV_BYTES_MAX
    assert not any("upstream-vhost" in each for each in notes), "Host is kept"
    [backend] = [
        path["backend"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]
    ]
    service = of_kind(rendered("base"), "Service")[backend["service"]["name"]]
    assert backend["service"]["port"]["name"] in {each["name"] for each in service["spec"]["ports"]}


def test_the_readme_says_what_the_monitoring_needs_to_be_seen() -> None:
    for each in (
        "podMonitorSelector",
        "podMonitorNamespaceSelector",
        "ruleSelector",
        "ruleNamespaceSelector",
        "inhibit_rules",
    ):
        assert f"`{each}`" in README, each
    assert "inhibit_rules" in yaml.safe_load(
        (TOP / "deploy" / "alertmanager" / "alertmanager.yml").read_text()
    )


SCRIPTS = re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S)


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_a_script_that_the_readme_shows_can_be_read_by_a_shell(number: int) -> None:
    done = subprocess.run(
        ["sh", "-n"], input=SCRIPTS[number], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_script_of_several_steps_ends_where_one_fails() -> None:
    for script in SCRIPTS:
        assert script.startswith("set -eu\n") or "$STAMP" not in script
    [release] = [each for each in SCRIPTS if "rollout status" in each]
    assert release.startswith("set -eu\n")
    assert "||" not in release


def test_backup_and_restore_speak_of_what_is_there() -> None:
    """Claims are made again by the names that they had, and as their schema says."""
    written = "\n".join(SCRIPTS)
    filled = written.replace("$claim-$STAMP", "data-1").replace("$claim", "data")
    filled = filled.replace("$size", "1Ti").replace("$class", "disks")
    documents = [
        yaml.safe_load(each) for each in re.findall(r"<<EOF\n(.*?)^EOF", filled, re.M | re.S)
    ]
    shown = {each["kind"]: each for each in documents}
    assert set(shown) == {"VolumeSnapshot", "PersistentVolumeClaim", "Pod"}
    assert faults(shown["PersistentVolumeClaim"]) == []
    snapshot, again = shown["VolumeSnapshot"], shown["PersistentVolumeClaim"]
    assert snapshot["spec"]["source"]["persistentVolumeClaimName"] == again["metadata"]["name"]
    assert again["spec"]["dataSource"]["name"] == snapshot["metadata"]["name"] == "data-1"
    [claim] = of_kind(rendered("base"), "PersistentVolumeClaim")
    [volume] = shown["Pod"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim
    [pool] = set(re.findall(r"strimzi.io/pool-name=([a-z]+)", written))
    assert pool in of_kind(rendered("hub"), "KafkaNodePool")
    for command in re.findall(r"--from=cronjob/([a-z]+)", written):
        assert command in of_kind(rendered("base"), "CronJob")
    for stopped in re.findall(r"scale (deployment/gateway.*) --replicas=0", written):
        kinds = {f"{one['kind'].lower()}/{name}" for name, one in workloads("base").items()}
        assert set(stopped.split()) == kinds - {"cronjob/setup"}


def test_every_address_of_postgresql_asks_for_a_certificate_of_the_authority() -> None:
    assert f"CHECKED='sslmode=verify-full&sslrootcert={DATABASE}/ca.crt'" in README
    for secret in DATABASE_SECRETS:
        [line] = re.findall(rf"^kubectl .*secret generic {secret} .*$", README, re.MULTILINE)
        assert "--from-file=ca.crt" in line
        assert re.search(r'url="postgresql://\S+\?\$CHECKED"', line)
    assert README.count("postgresql://") == len(DATABASE_SECRETS), "no address without"


def test_the_readme_says_how_something_is_deleted_on_purpose() -> None:
    policy = of_kind(rendered("cluster"), "ValidatingAdmissionPolicy")["scantrail-kept"]
    [validation] = policy["spec"]["validations"]
    [annotation] = set(re.findall(r"'(scantrail\.io/[a-z-]+)'", validation["expression"]))
    for kind in ("kafkatopic NAME", "pvc"):
        assert re.search(rf"annotate {kind}.* {annotation}=true", README), kind


def test_the_readme_says_where_webhooks_are_not_let_out_to() -> None:
    rules = of_kind(rendered("base"), "NetworkPolicy")["api"]["spec"]["egress"]
    [block] = [each["to"][0]["ipBlock"] for each in rules if "ipBlock" in each["to"][0]]
    for network in block["except"]:
        address, _, length = network.partition("/")
        while address.endswith(".0"):
            address = address.removesuffix(".0")
        assert f"{address}/{length}" in README, network
