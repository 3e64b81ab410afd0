"""Passwords and rights in Kafka, made as infra.rights says: by the brokers' own principal alone."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import (
    CreateAclsRequest_v1,
    DeleteAclsRequest_v1,
    DescribeAclsRequest_v1,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactBytes,
    CompactString,
    Int8,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from scantrail.infra.credentials import kafka_access
from scantrail.infra.rights import ADMIN, GROUPS, PRINCIPALS, READS, writers
from scantrail.infra.settings import Settings, SettingsError
from scantrail.infra.topic_admin import name_of

WAIT_S = 60.0
ITERATIONS: Final = 8192

_ANY, _ALLOW, _LITERAL, _PREFIXED = 1, 3, 3, 4
_TOPIC, _GROUP = 2, 3
_READ, _WRITE, _CREATE, _DESCRIBE, _DESCRIBE_CONFIGS, _ALTER_CONFIGS = 3, 4, 5, 8, 10, 11
_SCRAM_SHA_512 = 2


class Right(NamedTuple):
    """One entry of Kafka's authorizer, in the order and the numbers of its protocol."""

    resource_type: int
    resource_name: str
    pattern: int
    principal: str
    host: str
    operation: int
    permission: int


def rights_of(settings: Settings, name: str) -> frozenset[Right]:
    """What the principal is allowed; all else is refused."""

    def allow(kind: int, resource: str, pattern: int, *operations: int) -> set[Right]:
        user = f"User:{name}"
        return {Right(kind, resource, pattern, user, "*", each, _ALLOW) for each in operations}

    rights = set[Right]()
    for topic in writers()[name]:
        rights |= allow(_TOPIC, name_of(settings, topic), _LITERAL, _WRITE)
    own = f"{settings.topic_prefix}."
    if name == ADMIN:
        setting_up = (_READ, _CREATE, _DESCRIBE, _DESCRIBE_CONFIGS, _ALTER_CONFIGS)
        rights |= allow(_TOPIC, own, _PREFIXED, *setting_up)
        rights |= allow(_GROUP, own, _PREFIXED, _READ, _DESCRIBE)
        return frozenset(rights)
    for topic in READS[name]:
        rights |= allow(_TOPIC, name_of(settings, topic), _LITERAL, _READ)
    if name in GROUPS:
        rights |= allow(_GROUP, f"{own}{name}", _LITERAL, _READ)
    return frozenset(rights)


async def apply_access(settings: Settings, passwords: Mapping[str, str]) -> None:
    """Give each of PRINCIPALS its rights in this installation, no other, and those of `passwords`
    their passwords; `settings` are those of the brokers' own principal. SettingsError where Kafka
    is away or refuses."""
    async with _client(settings) as client:
        await _set_passwords(client, passwords)
        wanted = {right for name in PRINCIPALS for right in rights_of(settings, name)}
        present = await _rights_there(client, settings)
        # What is needed first, so that nobody is refused meanwhile.
        if wanted - present:
            made = await _ask(client, _CreateAcls(sorted(wanted - present)))
            _check([result[0] for result in made.creation_responses], "rights")
        if present - wanted:
            gone = await _ask(client, _DeleteAcls(sorted(present - wanted)))
            _check([result[0] for result in gone.filter_responses], "rights")


async def set_password(settings: Settings, name: str, password: str) -> None:
    """From now on only who has this password may connect as `name`; open connections go on."""
    async with _client(settings) as client:
        await _set_passwords(client, {name: password})


async def _set_passwords(client: AIOKafkaClient, passwords: Mapping[str, str]) -> None:
    if passwords:
        rows = [_upsertion(name, password) for name, password in passwords.items()]
        done = await _ask(client, _AlterScram(rows))
        _check([code for _, code, *_ in done.results], "passwords")


def _upsertion(name: str, password: str) -> tuple[Any, ...]:
    salt = secrets.token_bytes(24)
    salted = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS)
    return name, _SCRAM_SHA_512, ITERATIONS, salt, salted, {}


async def _rights_there(client: AIOKafkaClient, settings: Settings) -> set[Right]:
    """Of our principals in this installation: others' are others' business."""
    told = await _ask(client, _DescribeAcls())
    _check([told.error_code], "rights")
    users = {f"User:{name}" for name in PRINCIPALS}
    return {
        Right(kind, name, pattern, principal, host, operation, permission)
        for kind, name, pattern, entries in told.resources
        for principal, host, operation, permission in entries
        if principal in users and name.startswith(f"{settings.topic_prefix}.")
    }


def _check(codes: Iterable[int], what: str) -> None:
    for code in codes:
        if code:
            raise SettingsError(
                f"Kafka did not set the {what}: {for_code(code).__name__}: SCANTRAIL_KAFKA_USER"
                " must be one of its super.users"
            )


@asynccontextmanager
async def _client(settings: Settings) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(bootstrap_servers=settings.kafka_bootstrap, **kafka_access(settings))
    deadline = time.monotonic() + WAIT_S
    try:
        while True:
            try:
                await client.bootstrap()
                break
            except KafkaError as error:
                if time.monotonic() > deadline:
                    raise SettingsError(
                        f"SCANTRAIL_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}: no Kafka lets"
                        f" {settings.kafka_user!r} in there"
                    ) from error
                await asyncio.sleep(0.2)
        yield client
    finally:
        await client.close()


async def _ask(client: AIOKafkaClient, request: Request[Any]) -> Any:
    try:
        return await client.send(client.get_random_node(), request)
    except KafkaError as error:
        raise SettingsError(
            f"Kafka did not answer about rights and passwords: {error!r}"
        ) from error


class _CreateAcls(Request[CreateAclsRequest_v1]):
    API_KEY = 30

    def __init__(self, rights: Sequence[Right]) -> None:
        self._rights = rights

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        return request_struct_class(list(map(tuple, self._rights)))


class _DeleteAcls(Request[DeleteAclsRequest_v1]):
    API_KEY = 31

    def __init__(self, rights: Sequence[Right]) -> None:
        self._rights = rights

    def build(self, request_struct_class: type[DeleteAclsRequest_v1]) -> DeleteAclsRequest_v1:
        return request_struct_class(list(map(tuple, self._rights)))


class _DescribeAcls(Request[DescribeAclsRequest_v1]):
    API_KEY = 29

    def build(self, request_struct_class: type[DescribeAclsRequest_v1]) -> DescribeAclsRequest_v1:
        return request_struct_class(_ANY, None, _ANY, None, None, _ANY, _ANY)


class _AlterScramResponse(Response):
    """AlterUserScramCredentials, version 0, which aiokafka lacks."""

    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScramStruct(RequestStruct):
    API_KEY = 51
    API_VERSION = 0
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _AlterScramResponse
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(
                ("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)
            ),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _AlterScram(Request[_AlterScramStruct]):
    API_KEY = 51

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self._rows = rows

    def build(self, request_struct_class: type[_AlterScramStruct]) -> _AlterScramStruct:
        return request_struct_class([], self._rows, {})
