"""`scantrail recall match FILE`: which units a notice means, before it is entered anywhere.

Units come as JSON lines `{"product", "serial", "lot", "date"}`, each field optional, and go out
with what was decided: `recalled` is true, false, or null where the notice goes by what the line
does not tell, so that a person must decide.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, TextIO, TypeVar

from scantrail.contracts.notices import notice_of
from scantrail.contracts.printed import (
    flaw_of,
    forms_of,
    joined_of,
    plain_of,
    product_named,
    reads_of,
)
from scantrail.domain.identifiers import NotIdentified, product_and_serial
from scantrail.domain.recall import (
    Decision,
    Marks,
    Notice,
    Recall,
    RecallRefused,
    RecallStatus,
    check_recall,
)
from scantrail.domain.recall_match import RecallMatcher

T = TypeVar("T")

_DAY_LENGTH = len("2026-03-31")


class CannotMatch(Exception):
    """The file holds no notice that can be applied. The text says why, and the mend."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a line tells of a unit: its marks, in each way in which its serial can be read, and
    what of it cannot be used."""

    ways: tuple[Marks, ...]
    doubts: tuple[str, ...] = ()


@dataclass(slots=True)
class Notices:
    """Notices that are asked together."""

    recalls: Sequence[Recall]
    _matcher: RecallMatcher = field(default_factory=RecallMatcher)
    _decided: dict[str, Notice] = field(default_factory=dict)
    #: those of all units of any product, which no index has
    _unindexed: list[Notice] = field(default_factory=list)

    def __post_init__(self) -> None:
        for place, recall in enumerate(self.recalls):
            # By its place: in a list two may bear one id, and the first is told first.
            numbered = replace(recall, id=f"{place:09}", status=RecallStatus.ACTIVE)
            notice = self._decided[numbered.id] = Notice(recall)
            try:
                check_recall(numbered)
            except RecallRefused:
                self._unindexed.append(notice)
            else:
                self._matcher.put(numbered)

    def decide(self, told: Told) -> tuple[Decision, list[str]]:
        """Whether any of them means a unit, and the ids of those that say so, or leave it open."""
        made = [each for marks in told.ways for each in self._decisions(marks)]
        for outcome in (True, None):
            found = dict[str, Decision]()
            for each, id_ in made:
                if each.recalled is outcome:
                    found.setdefault(id_, each)
            if found:
                why = "; ".join(dict.fromkeys(each.why for each in found.values()))
                return Decision(outcome, _because(why, told if outcome is None else None)), [*found]
        why = f"none of {len(self.recalls)} notices means it"
        if len(self.recalls) == 1:
            (only,) = self._decided.values()
            why = only.decide(told.ways[0]).why
        return Decision(False, why), []

    def _decisions(self, marks: Marks) -> Iterator[tuple[Decision, str]]:
        """Those that are not false."""
        notices: Iterable[Notice] = self._decided.values()
        if marks.product is not None and marks.serial is not None:  # else no index tells all
            matched = self._matcher.match(marks)
            found = (*matched.recalled, *matched.undecided)
            notices = [*(self._decided[each.id] for each in found), *self._unindexed]
        for notice in notices:
            decision = notice.decide(marks)
            if decision.recalled is not False:
                yield decision, notice.recall.id


def _because(why: str, told: Told | None) -> str:
    return "; ".join((why, *told.doubts)) if told is not None else why


def load_notices(path: Path) -> Notices:
    """The notices of a file: a JSON object, or a list of them. Raises CannotMatch."""
    try:
        document = _json(path.read_bytes())
    except OSError as error:
        raise CannotMatch(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CannotMatch(f"{path} is not JSON: {error}") from error
    documents = document if isinstance(document, list) else [document]
    if not documents:
        raise CannotMatch(f"{path} holds no notice: give an object, or a list of them")
    recalls = []
    for place, each in enumerate(documents):
        where = f"{path}, notice {place + 1}" if isinstance(document, list) else str(path)
        if not isinstance(each, dict):
            raise CannotMatch(f"{where}: a notice is a JSON object")
        try:
            recalls.append(notice_of(each))
        except RecallRefused as error:
            raise CannotMatch(f"{where}: {error}") from error
    return Notices(recalls)


def match_lines(notices: Notices, lines: Iterable[bytes], out: TextIO) -> int:
    """Write the answer to each line that is not blank; the exit status: 1 where some could not be
    read, which is told in their answers."""
    status = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            unit: Any = _json(line)
            if not isinstance(unit, dict):
                raise ValueError("it is no JSON object")
        except (ValueError, RecursionError) as error:
            status = 1
            why = f"line {number} cannot be read: {error}"
            answer = {"line": number, "recalled": None, "by": None, "why": why}
        else:
            answer = answer_of(notices, unit)
        out.write(json.dumps(answer) + "\n")
    return status


def answer_of(notices: Notices, unit: dict[str, Any]) -> dict[str, Any]:
    """The unit with `recalled`, `by` (the first notice that decides), `also` where there are more
    of them, and `why`."""
    decision, ids = notices.decide(told_of(unit))
    asked = {name: value for name, value in unit.items() if name != "also"}
    answer = {**asked, "recalled": decision.recalled, "by": ids[0] if ids else None}
    if len(ids) > 1:
        answer["also"] = ids[1:]
    return {**answer, "why": decision.why}


def told_of(unit: dict[str, Any]) -> Told:
    """The marks of a unit line. What cannot be used counts as not told."""
    doubts: list[str] = []

    def text(name: str) -> str | None:
        value = unit.get(name)
        if value is None or (isinstance(value, str) and not plain_of(value)):
            return None
        if not isinstance(value, str):
            doubts.append(f"{name} must be text: a number has lost its leading zeros")
            return None
        return plain_of(value)

    product, serial, lot, day = text("product"), text("serial"), text("lot"), text("date")
    if product is not None:
        try:
            product = product_named(product)
        except NotIdentified as error:
            doubts.append(f"product: {error.detail}")
            product = None
    if serial is not None and (flaw := flaw_of(serial)) is not None:
        doubts.append(f"serial: {flaw}")
        serial = None
    produced_on = None
    if day is not None:
        try:
            produced_on = _day(day)
        except ValueError:
            doubts.append(f"date {day!r} is no day: give it as 2026-03-31")
    found = reads_of(serial) if serial is not None else ()
    named = [product_and_serial(each.key)[0] for each in found]
    product = _agreed("product", product, named, doubts)
    lot = _agreed("lot", lot, [each.lot for each in found], doubts)
    produced_on = _agreed("date", produced_on, [each.production for each in found], doubts)
    forms = forms_of(serial or "") or (None,)
    lots = dict.fromkeys((lot, lot and joined_of(lot)))
    return Told(
        tuple(Marks(product, f, lot, produced_on) for f in forms for lot in lots), (*doubts,)
    )


def _agreed(
    name: str, told: T | None, in_code: Collection[T | None], doubts: list[str]
) -> T | None:
    """What the line tells, or the code that is its serial; None where they contradict each other,
    which is added to the doubts."""
    read = {each for each in in_code if each is not None}
    if told is None:
        return read.pop() if len(read) == 1 else None
    if read - {told}:
        doubts.append(f"{name} {told} is told, and its code says {read.pop()}")
        return None
    return told


def _json(text: bytes) -> Any:
    """Raises ValueError, also for a name that stands twice: one of its values would be lost."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice: give it once")
    return found


def _day(text: str) -> date:
    """A day, or that of a time as it is written, wherever that was."""
    if text[_DAY_LENGTH : _DAY_LENGTH + 1] in ("T", "t", " "):
        text = text[:_DAY_LENGTH]
    return date.fromisoformat(text)
