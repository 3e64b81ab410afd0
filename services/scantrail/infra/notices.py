"""What speaks against units, as it comes from `recalls` and `holds`."""

from scantrail.contracts.records import UnreadableRecord, holds, recalls
from scantrail.contracts.topics import Topic
from scantrail.domain.hold import Hold
from scantrail.domain.recall import RecallMatcher, RecallRefused
from scantrail.infra.logs import logger

log = logger(__name__)


def take_recall(matcher: RecallMatcher, key: str, value: bytes | None) -> None:
    """Take over a record of `recalls`; one that cannot be applied is logged and left out."""
    if value is None:
        matcher.remove(key)
        return
    try:
        matcher.put(recalls.decode(value))
    except (UnreadableRecord, RecallRefused) as error:
        log.error("recall cannot be applied", recall=key, reason=str(error))


def take_hold(held: dict[str, Hold], key: str, value: bytes | None) -> None:
    """Take over a record of `holds`; of one that cannot be read the version before stands."""
    if value is None:
        held.pop(key, None)
        return
    try:
        held[key] = holds.decode(value)
    except UnreadableRecord as error:
        log.error("record cannot be read", topic=Topic.HOLDS.value, key=key, reason=str(error))
