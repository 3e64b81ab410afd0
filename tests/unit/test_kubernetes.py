"""deploy/kubernetes as it is rendered: by the schemas, against the code, and what it must have."""

import ipaddress
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
import yaml

from manifests import (
    DATABASE,
    DATABASE_SECRETS,
    FOLDER,
    OVERLAYS,
    PROCESSES,
    QUANTITY,
    SHAPES,
    TOP,
    WORKLOADS,
    Manifest,
    beside,
    container_of,
    environ_of,
    faults,
    of_kind,
    pod_of,
    render_with,
    rendered,
    settings_of,
    template_of,
    workloads,
)
from scantrail.api.delivering import is_public
from scantrail.cli.addresses import page_address
from scantrail.contracts.topics import Topic, topic_name, topic_specs
from scantrail.gateway.app import JOURNAL_SHARE
from scantrail.gateway.readers_file import load_readers
from scantrail.infra.kafka_rights import rights_of
from scantrail.infra.process import STOP_S_MAX
from scantrail.infra.rights import ADMIN, GROUPS, READS, writers
from scantrail.infra.settings import ENV_PREFIX, Settings, load_settings
from scantrail.infra.topic_admin import topic_config

CLUSTER = "scantrail"


def told(value: Any) -> Iterator[str]:
    """Every text in a manifest."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from told(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from told(inner)
    else:
        yield str(value)


# ------------------------------------------------------------------------------------ the schemas


@pytest.mark.parametrize("shape", [*SHAPES, "cluster"])
def test_every_object_is_as_its_schema_says(shape: str) -> None:
    found = [fault for manifest in rendered(shape) for fault in faults(manifest)]
    assert found == []


@pytest.mark.parametrize(
    ("kind", "path", "value", "told"),
    [
        ("Deployment", ("spec", "replcas"), 1, "replcas"),
        ("StatefulSet", ("spec", "serviceName"), 1, "not of type"),
        ("NetworkPolicy", ("spec", "podSelector"), None, "podSelector"),
        ("KafkaTopic", ("spec", "partitions"), "12", "not of type"),
        ("KafkaUser", ("spec", "authorization", "type"), "any", "any"),
        ("KafkaNodePool", ("spec", "roles"), ["boss"], "boss"),
        ("Kafka", ("spec", "kafka", "listners"), [], "listners"),
        ("PodMonitor", ("spec", "podMetricsEndpoints"), "health", "not of type"),
        ("PrometheusRule", ("spec", "groups"), [{"name": "a", "ruls": []}], "ruls"),
    ],
)
def test_the_schemas_see_what_is_wrong(
    kind: str, path: tuple[str, ...], value: object, told: str
) -> None:
    [manifest, *_] = [
        yaml.safe_load(yaml.safe_dump(one)) for one in rendered("hub") if one["kind"] == kind
    ]
    inner = manifest
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    assert any(told in fault for fault in faults(manifest)), faults(manifest)


# --------------------------------------------------------------------------------- topics, users


@pytest.mark.parametrize("shape", SHAPES)
def test_the_topics_are_those_of_the_code(shape: str) -> None:
    manifests = rendered(shape)
    settings = load_settings(
        {name: settings_of(manifests)[name] for name in NUMBERS if name in settings_of(manifests)}
    )
    topics = of_kind(manifests, "KafkaTopic")
    for spec in topic_specs():
        topic = topics.pop(topic_name(settings.topic_prefix, spec.topic))["spec"]
        assert topic["partitions"] == (spec.partitions or settings.partitions), spec.topic
        assert topic["replicas"] == settings.replication, spec.topic
        config = {name: str(value) for name, value in topic["config"].items()}
        assert config == topic_config(settings, spec), spec.topic
    assert topics == {}


NUMBERS = ("SCANTRAIL_PARTITIONS", "SCANTRAIL_REPLICATION", "SCANTRAIL_TRACKER_FENCE")


def test_a_user_may_what_its_process_does_and_no_more() -> None:
    users = of_kind(rendered("base"), "KafkaUser")
    setup = users.pop("setup")
    assert sorted(users) == PROCESSES, "nobody is admin but who says so"
    for name, user in users.items():
        rights = {"Read": set[Topic](), "Write": set[Topic]()}
        for acl in user["spec"]["authorization"]["acls"]:
            resource = acl["resource"]
            assert resource["patternType"] == "literal"
            if resource["type"] == "group":
                assert (resource["name"], acl["operations"]) == (f"scantrail.{name}", ["Read"])
                assert name in GROUPS
                continue
            assert resource["type"] == "topic"
            [short] = [t for t in Topic if topic_name("scantrail", t) == resource["name"]]
            for operation in acl["operations"]:
                rights[operation].add(short)
        assert rights == {"Read": READS[name], "Write": writers()[name]}, name
        assert user["spec"]["authentication"] == {"type": "scram-sha-512"}
    assert setup["spec"]["authorization"]["acls"] == [
        {
            "resource": {"type": "topic", "name": "scantrail.", "patternType": "prefix"},
            "operations": ["Describe", "DescribeConfigs"],
        }
    ]


def test_whoever_runs_commands_may_what_admin_does_but_to_make_and_set_topics() -> None:
    admin = of_kind(rendered("hub+commands"), "KafkaUser")[ADMIN]
    found = {
        (RESOURCES[acl["resource"]["type"]], acl["resource"]["name"], PATTERNS[pattern], operation)
        for acl in admin["spec"]["authorization"]["acls"]
        for pattern in [acl["resource"]["patternType"]]
        for operation in acl["operations"]
    }
    rights = {
        (each.resource_type, each.resource_name, each.pattern, OPERATIONS[each.operation])
        for each in rights_of(Settings(), ADMIN)
    }
    assert found == {each for each in rights if each[-1] not in ("Create", "AlterConfigs")}
    assert len(found) < len(rights)


#: As Kafka's protocol numbers them.
RESOURCES = {"topic": 2, "group": 3}
PATTERNS = {"literal": 3, "prefix": 4}
OPERATIONS = {3: "Read", 4: "Write", 5: "Create", 8: "Describe", 10: "DescribeConfigs"} | {
    11: "AlterConfigs"
}


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_a_process_with_a_group_may_join_it(name: str) -> None:
    user = of_kind(rendered("base"), "KafkaUser")[name]
    groups = [a for a in user["spec"]["authorization"]["acls"] if a["resource"]["type"] == "group"]
    assert len(groups) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_kafka_lets_nobody_in_without_tls_and_a_password(shape: str) -> None:
    [kafka] = of_kind(rendered(shape), "Kafka").values()
    spec = kafka["spec"]["kafka"]
    assert spec["authorization"] == {"type": "simple"}
    assert [(each["tls"], each["authentication"]) for each in spec["listeners"]] == [
        (True, {"type": "scram-sha-512"})
    ]
    assert spec["config"]["auto.create.topics.enable"] is False
    copies = load_settings(settings_of_numbers(shape)).replication
    assert spec["config"]["default.replication.factor"] == copies
    assert spec["config"]["min.insync.replicas"] == (2 if copies >= 3 else 1)
    brokers = [
        pool["spec"]["replicas"]
        for pool in of_kind(rendered(shape), "KafkaNodePool").values()
        if "broker" in pool["spec"]["roles"]
    ]
    assert sum(brokers) >= copies


def settings_of_numbers(shape: str) -> dict[str, str]:
    found = settings_of(rendered(shape))
    return {name: found[name] for name in NUMBERS if name in found}


# ------------------------------------------------------------------------------------ the cluster


def rules_of(policy: str) -> dict[str, list[str]]:
    """What each operation is refused of, as a policy in force in the namespace says."""
    manifests = rendered("cluster")
    spec = of_kind(manifests, "ValidatingAdmissionPolicy")[policy]["spec"]
    assert spec["failurePolicy"] == "Fail"
    binding = of_kind(manifests, "ValidatingAdmissionPolicyBinding")[policy]["spec"]
    assert (binding["policyName"], binding["validationActions"]) == (policy, ["Deny"])
    [namespace] = of_kind(manifests, "Namespace")
    assert binding["matchResources"] == {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    }
    found: dict[str, list[str]] = {}
    for rule in spec["matchConstraints"]["resourceRules"]:
        for operation in rule["operations"]:
            found.setdefault(operation, []).extend(rule["resources"])
    return found


def test_the_number_of_partitions_cannot_be_changed() -> None:
    assert rules_of("scantrail-fixed-partitions") == {"UPDATE": ["kafkatopics"]}


def test_what_cannot_be_made_again_is_deleted_only_on_purpose() -> None:
    [(operation, kept)] = rules_of("scantrail-kept").items()
    assert operation == "DELETE"
    assert set(kept) == {
        "kafkatopics",
        "kafkas",
        "kafkanodepools",
        "persistentvolumeclaims",
        "namespaces",
    }
    policy = of_kind(rendered("cluster"), "ValidatingAdmissionPolicy")["scantrail-kept"]
    [validation] = policy["spec"]["validations"]
    [annotation] = set(re.findall(r"'(scantrail\.io/[a-z-]+)'", validation["expression"]))
    assert f"{annotation}=true" in validation["message"]
    # Whoever deletes it is asked about what there is: the object of a DELETE is null.
    assert not re.search(r"\bobject\b", validation["expression"])


@pytest.mark.parametrize("shape", SHAPES)
def test_kafka_deletes_no_topic(shape: str) -> None:
    [kafka] = of_kind(rendered(shape), "Kafka").values()
    assert kafka["spec"]["kafka"]["config"]["delete.topic.enable"] is False
    for pool in of_kind(rendered(shape), "KafkaNodePool").values():
        for volume in pool["spec"]["storage"]["volumes"]:
            assert volume["deleteClaim"] is False


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_applied_and_deleted_has_no_namespace_and_none_of_its_guards(shape: str) -> None:
    """Whoever deletes an overlay's objects deletes neither the disks nor what holds them."""
    for manifest in rendered(shape):
        assert manifest["kind"] not in {one["kind"] for one in rendered("cluster")}
        assert manifest["metadata"].get("namespace") == "scantrail", "only what is in it"


# ------------------------------------------------------------------------------------- processes


@pytest.mark.parametrize("shape", SHAPES)
def test_one_workload_per_process_the_tracker_with_a_disk_per_ordinal(shape: str) -> None:
    found = workloads(shape)
    assert sorted(found) == sorted([*PROCESSES, *beside(shape)])
    kinds = {name: one["kind"] for name, one in found.items()}
    others = {"tracker": "StatefulSet", "setup": "CronJob", "months": "CronJob"}
    assert kinds == {name: others.get(name, "Deployment") for name in found}
    for name in PROCESSES:
        assert container_of(found[name])["command"] == ["python", "-m", f"scantrail.{name}"]
    tracker = found["tracker"]
    [claim] = tracker["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    data_dir = settings_of(rendered(shape))["SCANTRAIL_DATA_DIR"]
    for name in ("tracker", "gateway"):
        mounts = {m["name"]: m["mountPath"] for m in container_of(found[name])["volumeMounts"]}
        assert mounts["data"] == data_dir
    [ordinal] = [
        each for each in container_of(tracker)["env"] if each["name"] == "SCANTRAIL_TRACKER_ORDINAL"
    ]
    index = "metadata.labels['apps.kubernetes.io/pod-index']"
    assert ordinal["valueFrom"]["fieldRef"]["fieldPath"] == index
    partitions = load_settings(settings_of_numbers(shape)).partitions
    assert tracker["spec"]["replicas"] <= partitions


@pytest.mark.parametrize("shape", SHAPES)
def test_a_gateway_never_runs_twice_on_one_disk(shape: str) -> None:
    gateway = workloads(shape)["gateway"]
    assert gateway["spec"]["replicas"] == 1
    assert gateway["spec"]["strategy"] == {"type": "Recreate"}
    [claim] = of_kind(rendered(shape), "PersistentVolumeClaim").values()
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]


#: Of the spool's bytes, what SQLite needs beside them; and what else is on that disk.
SQLITE_SHARE = 1.25
COPIES_GIB = 1.0


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gateways_disk_has_room_for_all_that_it_may_keep(shape: str) -> None:
    [claim] = of_kind(rendered(shape), "PersistentVolumeClaim").values()
    room_gib = amount(claim["spec"]["resources"]["requests"]["storage"])
    assert kept_gib(shape) + COPIES_GIB <= room_gib


@pytest.mark.parametrize("shape", SHAPES)
def test_a_gateway_has_time_to_read_through_what_it_kept(shape: str) -> None:
    """It does so before it answers anything; a slow disk reads some 100 MB a second."""
    probe = container_of(workloads(shape)["gateway"])["startupProbe"]
    reading_s = kept_gib(shape) * (1 << 30) / 100e6
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60 + 2 * reading_s


def kept_gib(shape: str) -> float:
    """GiB of the files of spool and questions, when they are full."""
    environ = environ_of(rendered(shape), workloads(shape)["gateway"])
    name = f"{ENV_PREFIX}SPOOL_BYTES_MAX"
    settings = load_settings({name: environ[name]} if name in environ else {})
    return settings.spool_bytes_max * (1 + 1 / JOURNAL_SHARE) / (1 << 30) * SQLITE_SHARE


def test_the_page_says_for_how_long_a_hubs_gateway_keeps_reads() -> None:
    page = (TOP / "docs" / "scale.md").read_text()
    [each] = re.findall(r"`bytes_per_scan_scans` \| (\d+)", page)
    for shape, per_s in (("hub", 2000), ("base", 2000)):
        told = settings_of(rendered(shape)).get(f"{ENV_PREFIX}SPOOL_BYTES_MAX")
        minutes = int(told or Settings().spool_bytes_max) / int(each) / per_s / 60
        assert f"{minutes:.0f} minutes" in page, shape


@pytest.mark.parametrize("shape", SHAPES)
def test_where_a_disk_belongs_to_one_pod_a_lost_node_is_told_soon(shape: str) -> None:
    for name in PROCESSES:
        told = pod_of(workloads(shape)[name]).get("tolerations", [])
        lost = {each["key"]: each["tolerationSeconds"] for each in told}
        wanted = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
        assert lost == (dict.fromkeys(wanted, 30) if name in ("gateway", "tracker") else {}), name
        assert all(each["effect"] == "NoExecute" for each in told)


@pytest.mark.parametrize("shape", SHAPES)
def test_postgresql_has_to_show_a_certificate_of_the_authority_in_the_secret(shape: str) -> None:
    secrets = set()
    for workload in workloads(shape).values():
        for volume in pod_of(workload)["volumes"]:
            if volume["name"] == "database":
                items = {each["key"]: each["path"] for each in volume["secret"]["items"]}
                assert items == {"url": "url", "ca.crt": "ca.crt"}
                secrets.add(volume["secret"]["secretName"])
                [at] = [
                    each["mountPath"]
                    for each in container_of(workload)["volumeMounts"]
                    if each["name"] == "database"
                ]
                assert at == DATABASE
    assert secrets == DATABASE_SECRETS


@pytest.mark.parametrize("shape", SHAPES)
def test_every_variable_is_a_setting_and_its_value_can_be_used(shape: str) -> None:
    for name, workload in workloads(shape).items():
        environ = environ_of(rendered(shape), workload)
        known = {ENV_PREFIX + f.name.upper() for f in fields(Settings)}
        assert set(environ) <= known, name
        if name != "months":
            assert environ["SCANTRAIL_LISTEN_HOST"] == ("api" if name == "commands" else "0.0.0.0")
            assert environ["SCANTRAIL_KAFKA_USER"] == ("admin" if name == "commands" else name)
            assert environ["SCANTRAIL_KAFKA_BOOTSTRAP"] == f"{CLUSTER}-kafka-bootstrap:9093"
        of_files = {v for k, v in environ.items() if k.endswith(("_FILE", "_CA"))}
        mounts = [m["mountPath"] for m in container_of(workload)["volumeMounts"]]
        for path in of_files:
            assert path.rpartition("/")[0] in mounts, (name, path)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_address_is_that_of_a_service_that_leads_to_a_port_that_is_there(shape: str) -> None:
    services = of_kind(rendered(shape), "Service")
    port = Settings().gateway_port
    assert settings_of(rendered(shape))["SCANTRAIL_GATEWAY_URL"] == f"http://gateway:{port}"
    for name, service in services.items():
        container = container_of(workloads(shape)[name])
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        assert service["spec"]["selector"] == {"app.kubernetes.io/name": name}
        for each in service["spec"]["ports"]:
            target = each["targetPort"]
            assert ports.get(target, target) == each["port"]
            assert each["port"] in ports.values()
    for name in PROCESSES:
        ports = {
            p["name"]: p["containerPort"] for p in container_of(workloads(shape)[name])["ports"]
        }
        assert ports["health"] == getattr(Settings(), f"{name}_health_port")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_process_is_probed_and_has_time_to_start_and_to_stop(shape: str) -> None:
    for name in PROCESSES:
        workload = workloads(shape)[name]
        container = container_of(workload)
        probes = {
            kind: (container[f"{kind}Probe"]["httpGet"], container[f"{kind}Probe"])
            for kind in ("startup", "liveness", "readiness")
        }
        assert {get["port"] for get, _ in probes.values()} == {"health"}
        assert probes["liveness"][0]["path"] == "/livez"
        assert probes["readiness"][0]["path"] == "/readyz"
        startup = probes["startup"][1]
        assert startup["httpGet"]["path"] == ("/readyz" if name == "tracker" else "/livez")
        least_s = 3600 if name == "tracker" else 60
        assert startup["periodSeconds"] * startup["failureThreshold"] >= least_s
        stop_s = pod_of(workload)["terminationGracePeriodSeconds"]
        assert stop_s > max(30, STOP_S_MAX + 5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pod_may_nothing_that_it_does_not_need(shape: str) -> None:
    """What the Pod Security Standard calls restricted, and more."""
    for name, workload in workloads(shape).items():
        pod, container = pod_of(workload), container_of(workload)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "SCANTRAIL_…_PORT would be an unknown setting"
        assert pod["serviceAccountName"] == name
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            assert key not in pod
        for volume in pod["volumes"]:
            assert "hostPath" not in volume
        resources = container["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}
        assert "memory" in resources["limits"]
        for amount in (*resources["requests"].values(), *resources["limits"].values()):
            assert QUANTITY.fullmatch(amount)


#: Machines, cores of each, and memory: docs/scale.md#machines. PostgreSQL is elsewhere.
MACHINES = {"small-site": (1, 2.0, 8.0), "hub": (3, 4.0, 16.0)}
#: So much of a machine is not the system's own.
FREE = 0.8


def amount(quantity: str) -> float:
    """Cores, or GiB."""
    units = {"m": 1e-3, "Mi": 2.0**-10, "Gi": 1.0}
    number = quantity.rstrip("mMGi")
    return float(number) * units.get(quantity[len(number) :], 1.0)


@pytest.mark.parametrize("shape", OVERLAYS)
def test_all_that_is_asked_for_is_there_on_the_machines_that_the_docs_name(shape: str) -> None:
    machines, cores, gib = MACHINES[shape]
    asked: list[tuple[int, Manifest]] = [
        (one["spec"].get("replicas", 1), container_of(one)["resources"]["requests"])
        for one in workloads(f"{shape}+commands").values()
    ]
    pools = of_kind(rendered(shape), "KafkaNodePool").values()
    asked += [(one["spec"]["replicas"], one["spec"]["resources"]["requests"]) for one in pools]
    for name, has in (("cpu", cores), ("memory", gib)):
        assert max(amount(each[name]) for _, each in asked) <= FREE * has
        assert sum(times * amount(each[name]) for times, each in asked) <= FREE * machines * has
    told = " ".join((TOP / "docs" / "scale.md").read_text().split())
    words = {1: "One machine", 2: "two cores", 3: "Three machines", 4: "four cores"}
    assert f"{words[machines]} {'with' if machines == 1 else 'of'} {words[int(cores)]}" in told
    assert f"and {gib:.0f} GB" in told


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_there_more_than_once_is_spread_and_disrupted_one_by_one(shape: str) -> None:
    budgets = of_kind(rendered(shape), "PodDisruptionBudget")
    assert sorted(budgets) == PROCESSES
    for name in PROCESSES:
        spec = budgets[name]["spec"]
        labels = {"app.kubernetes.io/name": name}
        assert (spec["maxUnavailable"], spec["selector"]) == (1, {"matchLabels": labels})
        [spread] = pod_of(workloads(shape)[name])["topologySpreadConstraints"]
        assert spread["labelSelector"] == {"matchLabels": labels}
        template = workloads(shape)[name]["spec"]["template"]
        assert labels.items() <= template["metadata"]["labels"].items()


@pytest.mark.parametrize("shape", SHAPES)
def test_no_secret_is_in_a_file(shape: str) -> None:
    manifests = rendered(shape)
    assert of_kind(manifests, "Secret") == {}
    for workload in workloads(shape).values():
        for each in container_of(workload)["env"]:
            if "valueFrom" in each:
                assert "value" not in each
            elif re.search(r"PASSWORD|TOKEN|URL", each["name"]):
                assert each["name"].endswith("_FILE"), each["name"]
                assert each["value"].startswith("/etc/scantrail/")
    secret = {ENV_PREFIX + f.name.upper() for f in fields(Settings) if f.metadata["secret"]}
    assert not secret & set(settings_of(manifests))
    assert not re.search(r"://[^/\s]+:[^/\s]+@", "\n".join(told(manifests)))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_readers_come_by_tls_where_an_overlay_says_so(overlay: str) -> None:
    """The settings that both processes need for it, each file of them mounted."""
    manifests = rendered(f"{overlay}+readers-tls")
    for manifest in manifests:
        assert faults(manifest) == []
    pods = of_kind(manifests, "Deployment")
    for name, setting, key in (
        ("gateway", "tls_certificate", "tls-combined.pem"),
        ("api", "tls_ca", "ca.crt"),
    ):
        environ = environ_of(manifests, pods[name])
        folder, file = environ[f"{ENV_PREFIX}{setting.upper()}"].rsplit("/", 1)
        [mount] = [
            each["name"]
            for each in container_of(pods[name])["volumeMounts"]
            if each["mountPath"] == folder
        ]
        [secret] = [
            each["secret"] for each in pod_of(pods[name])["volumes"] if each["name"] == mount
        ]
        assert secret == {"secretName": "gateway-tls", "items": [{"key": key, "path": file}]}
        assert environ[f"{ENV_PREFIX}GATEWAY_URL"] == "https://gateway:8601"
    assert f"{ENV_PREFIX}TLS_CERTIFICATE" not in environ, "the page's is the Ingress's"


# --------------------------------------------------------------------------------------- network


@pytest.mark.parametrize("shape", SHAPES)
def test_the_network_is_closed_but_for_what_is_named(shape: str) -> None:
    policies = of_kind(rendered(shape), "NetworkPolicy")
    assert policies["deny-by-default"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    kafka = policies["to-kafka"]["spec"]
    assert kafka["podSelector"]["matchLabels"] == {"app.kubernetes.io/part-of": "scantrail"}
    for workload in workloads(shape).values():
        labels = template_of(workload)["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "scantrail"
    [database] = policies["to-database"]["spec"]["podSelector"]["matchExpressions"]
    with_database = {
        name
        for name, workload in workloads(shape).items()
        if any(volume["name"] == "database" for volume in pod_of(workload)["volumes"])
    }
    assert set(database["values"]) == with_database == {"projector", "api", *beside(shape)}
    for policy in policies.values():
        for rule in policy["spec"].get("ingress", []):
            assert rule.get("from"), "from anywhere"
            assert rule["ports"]


@pytest.mark.parametrize("shape", SHAPES)
def test_names_are_asked_where_clusters_answer_them(shape: str) -> None:
    [rule] = of_kind(rendered(shape), "NetworkPolicy")["names"]["spec"]["egress"]
    assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in rule["to"], "NodeLocal DNSCache"
    assert {(each["protocol"], each["port"]) for each in rule["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_webhooks_leave_for_public_addresses_alone(shape: str) -> None:
    rules = of_kind(rendered(shape), "NetworkPolicy")["api"]["spec"]["egress"]
    [(block, ports)] = [
        (each["to"][0]["ipBlock"], each["ports"]) for each in rules if "ipBlock" in each["to"][0]
    ]
    assert ports == [{"protocol": "TCP", "port": 443}]
    kept_in = [ipaddress.ip_network(each) for each in block["except"]]
    for address in ("10.1.2.3", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1"):
        assert not is_public(address)
        assert any(ipaddress.ip_address(address) in network for network in kept_in), address


def test_commands_reach_the_api_and_it_lets_them_in() -> None:
    manifests = rendered("hub+commands")
    commands = of_kind(manifests, "Deployment")["commands"]
    assert commands["spec"]["replicas"] == 0
    settings = replace(Settings(), listen_host=environ_of(manifests, commands)[LISTEN_HOST])
    assert page_address(settings) == f"http://api:{settings.api_port}/"
    rules = of_kind(manifests, "NetworkPolicy")["api"]["spec"]["ingress"]
    labels = {"matchLabels": {"app.kubernetes.io/name": "commands"}}
    assert {
        "from": [{"podSelector": labels}],
        "ports": [{"protocol": "TCP", "port": settings.api_port}],
    } in rules


LISTEN_HOST = f"{ENV_PREFIX}LISTEN_HOST"


@pytest.mark.parametrize("shape", OVERLAYS)
def test_an_overlays_readers_can_be_read_and_reach_the_gateway(shape: str) -> None:
    path = FOLDER / "overlays" / shape / "readers.toml"
    listening = {r.address[1] for r in load_readers(path, {}) if r.mode == "listen"}
    [readers] = [
        one for name, one in of_kind(rendered(shape), "ConfigMap").items() if "readers" in name
    ]
    assert readers["data"] == {"readers.toml": path.read_text()}
    wanted = {Settings().gateway_port, *listening}
    service = of_kind(rendered(shape), "Service")["gateway"]["spec"]
    assert {each["port"] for each in service["ports"]} == wanted
    container = container_of(workloads(shape)["gateway"])
    assert wanted <= {each["containerPort"] for each in container["ports"]}
    rules = of_kind(rendered(shape), "NetworkPolicy")["gateway"]["spec"]["ingress"]
    from_the_floor = [rule for rule in rules if "ipBlock" in rule["from"][0]]
    assert {port["port"] for rule in from_the_floor for port in rule["ports"]} == wanted


def test_the_monitor_scrapes_every_process_at_its_health_port() -> None:
    [monitor] = of_kind(rendered("hub"), "PodMonitor").values()
    [expression] = monitor["spec"]["selector"]["matchExpressions"]
    assert sorted(expression["values"]) == PROCESSES
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("health", "/metrics")
    rule = of_kind(rendered("hub"), "NetworkPolicy")["metrics"]["spec"]["ingress"][0]
    ports = {getattr(Settings(), f"{name}_health_port") for name in PROCESSES}
    assert {each["port"] for each in rule["ports"]} == ports
    assert of_kind(rendered("small-site"), "PodMonitor") == {}


# ----------------------------------------------------------------------------------- the release


@pytest.mark.parametrize("shape", SHAPES)
def test_the_image_and_what_comes_before_it_are_those_of_this_release(shape: str) -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    for workload in workloads(shape).values():
        assert container_of(workload)["image"] == f"scantrail:{project['version']}"
    setup = workloads(shape)["setup"]
    assert container_of(setup)["command"][-1] == (
        "scantrail topics check && scantrail db migrate && scantrail db roles"
    )
    assert setup["spec"]["suspend"] is True, "it runs when it is told to"
    for each in beside(shape):
        if workloads(shape)[each]["kind"] == "CronJob":
            assert pod_of(workloads(shape)[each])["restartPolicy"] == "Never", "logs are kept"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_changed_setting_is_taken_by_what_is_there(shape: str) -> None:
    """A Job could not be changed: `kubectl apply` would be refused whenever a setting was."""
    changed = with_a_setting_changed(shape)
    assert settings_of(changed) != settings_of(rendered(shape))
    for manifests in (changed, rendered(shape)):
        assert of_kind(manifests, "Job") == {}
    for kind, *path in FIXED:
        before, after = of_kind(rendered(shape), kind), of_kind(changed, kind)
        assert before.keys() == after.keys()
        for name in before:
            assert [at(before[name], each) for each in path] == [
                at(after[name], each) for each in path
            ]


#: What Kubernetes refuses to change of an object that is there.
FIXED = (
    ("Deployment", "spec.selector"),
    ("StatefulSet", "spec.selector", "spec.serviceName", "spec.volumeClaimTemplates"),
    ("PersistentVolumeClaim", "spec.accessModes", "spec.storageClassName"),
)


def at(manifest: Manifest, path: str) -> object:
    value: Any = manifest
    for key in path.split("."):
        value = value.get(key)
    return value


def with_a_setting_changed(shape: str) -> list[Manifest]:
    generated = {
        "name": "settings",
        "namespace": "scantrail",
        "behavior": "merge",
        "literals": ["SCANTRAIL_LOG_LEVEL=debug"],
    }
    return render_with(shape, configMapGenerator=[generated])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_process_is_chosen_by_its_label_and_all_it_needs_comes_before(shape: str) -> None:
    """`kubectl apply -l` takes the workload, and no other object has such a label."""
    for manifest in rendered(shape):
        name = manifest["metadata"].get("labels", {}).get("app.kubernetes.io/name")
        assert (name is not None) == (manifest["kind"] in WORKLOADS)
        if name is not None:
            assert name == manifest["metadata"]["name"]
