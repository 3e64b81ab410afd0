"""`scantrail db months`: what it says of itself, and of what came of it."""

from collections.abc import Callable

from scantrail.infra.months import make_months, thin_history
from scantrail.infra.settings import Settings

MONTHS_HELP = """\
Make the parts of the history for the months to come, which the projector makes too, and remove
what may go of old ones: of months that ended SCANTRAIL_HISTORY_MONTHS ago or earlier (0: nothing is
removed) the scans inside the house of units that left and were not scanned since.

All stays of a unit that is on site, held, regulated, meant by a recall, or has other keys; of every
unit how it came and went, what was voided, and its last scan. Each month is done once. What is
removed of the database stands in the topic `movements` still: scantrail db rebuild brings it back.
"""


def keep_months(settings: Settings, say: Callable[[str], None]) -> None:
    """Do it, and say what was done."""
    made = make_months(settings)
    say(f"{made} months made" if made else "the months to come are there")
    if not settings.history_months:
        say("history is kept for ever (SCANTRAIL_HISTORY_MONTHS)")
    elif not thin_history(settings, say):
        say(f"no month more ended {settings.history_months} months ago or earlier")
