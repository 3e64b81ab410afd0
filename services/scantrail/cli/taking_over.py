"""`scantrail db take-over`: what it says of itself, and of what came of it."""

from scantrail.api.taking_over import TakenOver
from scantrail.contracts.topics import Topic

TAKE_OVER_HELP = """\
After PostgreSQL alone was restored from a dump: take over from Kafka what people entered since of
recalls, holds, links of ids, products, stations and alert policies. Run it once Kafka is there and
before the api starts; what PostgreSQL has as it is in Kafka is left as it is, so twice is once.

A recall becomes one version more, which is looked for in all units again once the api runs. Orders,
parties, claims, returns, counts, the register, tokens and drafts of recalls that name nothing are
in no topic: enter them again.
"""

#: Keys that are named: of recalls and links all, of others their number is enough.
_NAMED = (Topic.RECALLS, Topic.IDENTIFIERS)


def told_of_take_over(done: TakenOver) -> str:
    """What came of it, in words."""
    lines = []
    for topic, keys in done.keys.items():
        named = f": {', '.join(keys)}" if topic in _NAMED else ""
        lines.append(f"{topic}: {len(keys):,} taken over{named}")
    lines += [
        f"{topic}: {key} cannot be read and was left out: run this with a release that reads it"
        f" ({why})"
        for topic, key, why in done.unreadable
    ]
    return "\n".join(lines) or "PostgreSQL has all that Kafka tells of what people entered"
