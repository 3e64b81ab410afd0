"""Lists with the newest first, page by page."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, Select, tuple_

from scantrail.api.problems import bad_field


class Newest(NamedTuple):
    """The order of a list: by when, and of one moment by key; both have one index."""

    at: Column[Any]
    key: Column[Any]

    def first(self, query: Select[Any]) -> Select[Any]:
        """The query, the newest first."""
        return query.order_by(self.at.desc(), self.key.desc())

    def page(self, query: Select[Any], before: str, shown: int) -> Select[Any]:
        """Its rows behind the page that ended with `before` (none: from the newest on), one more
        than is shown. Raises Problem 400."""
        if before:
            at, _, key = before.partition(" ")
            query = query.where(tuple_(self.at, self.key) < tuple_(_moment(at), key))
        return self.first(query).limit(shown + 1)

    def following(self, rows: Sequence[Any], shown: int) -> str | None:
        """With what the next page begins; None where there is none."""
        if len(rows) <= shown:
            return None
        last = rows[shown - 1]._mapping
        return f"{last[self.at.name].isoformat()} {last[self.key.name]}"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_field("before", "follow the link of the page before") from error
    if moment.tzinfo is None:
        raise bad_field("before", "follow the link of the page before")
    return moment
