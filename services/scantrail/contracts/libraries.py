"""Libraries that read what anybody may have printed, and raise whatever comes to them."""

from collections.abc import Callable
from typing import TypeVar

from scantrail.domain.identifiers import NotIdentified, shown

T = TypeVar("T")


def safely(read: Callable[[], T], text: str, reason: str) -> T:
    """What a library reads from `text`; whatever it raises becomes NotIdentified(reason)."""
    try:
        return read()
    except Exception as error:  # on odd input: KeyError, IndexError, AssertionError
        raise NotIdentified(reason, f"{shown(text)} is not whole: {shown(str(error))}") from error
