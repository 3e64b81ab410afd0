"""`scantrail db take-over`: what it says of itself, and of what came of it."""

from scantrail.api.taking_over import TakenOver
from scantrail.contracts.topics import Topic

TAKE_OVER_HELP = """\
After PostgreSQL alone was restored from a dump: take over from Kafka what people entered since of
recalls, holds, links of ids, products, stations and alert policies. Run it once the projector has
caught up and before the api starts; twice is once.

A recall becomes one version more, which is looked for in all units again once the api runs. Of
holds of which Kafka tells nothing any more it is not known whether they were taken back: they are
put again. Whatever else people entered is in no topic: enter it again (docs/operations.md).
"""

#: Keys that are named: of recalls and links all, of others their number is enough.
_NAMED = (Topic.RECALLS, Topic.IDENTIFIERS)

_HELD_NAMED = 20


def told_of_take_over(done: TakenOver) -> str:
    """What came of it, in words."""
    lines = []
    for topic, keys in done.keys.items():
        named = f": {', '.join(keys)}" if topic in _NAMED else ""
        lines.append(f"{topic}: {len(keys):,} taken over{named}")
    if done.held_again:
        named = ", ".join(done.held_again[:_HELD_NAMED])
        more = len(done.held_again) - _HELD_NAMED
        lines.append(
            f"held again, for Kafka does not tell whether they were let go: {named}"
            + (f" and {more:,} more" if more > 0 else "")
        )
    lines += [
        f"{topic}: {key} cannot be read and was left out: run this with a release that reads it"
        f" ({why})"
        for topic, key, why in done.unreadable
    ]
    return "\n".join(lines) or "PostgreSQL has all that Kafka tells of what people entered"
