"""What the active recalls have to do with one unit, by all that is known of it.

| what is known says | and what any scan shows says | the unit is |
|---|---|---|
| recalled | recalled | held by gateway and alerter themselves |
| recalled | leaves it open | held here, by its lot or day of production |
| leaves it open | leaves it open | held here, until a person decides |
| not recalled | leaves it open | cleared here, for this version of the recall |
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import date, datetime
from typing import NamedTuple

from scantrail.domain.custody import Visit
from scantrail.domain.departures import Departures
from scantrail.domain.finding import Finding, FindingKind
from scantrail.domain.hold import Clearance, HoldReason, inside_id, is_remedied, itself_id, standing
from scantrail.domain.identifiers import product_and_serial
from scantrail.domain.product import spellings_of
from scantrail.domain.recall import BY_LOT, Marks, Recall, SelectorKind
from scantrail.domain.recall_match import RecallMatcher
from scantrail.domain.scan import made_id


class Told(NamedTuple):
    """A key of a unit, and what scans under it told of its marks."""

    key: str
    lot: str | None = None
    produced_on: date | None = None


class Concern(NamedTuple):
    """The active recalls that have to do with a unit, each by id."""

    #: these mean it
    means: list[Recall]
    #: of these, those that a scan which shows its code alone leaves open
    unread: list[Recall]
    #: these leave it open by all that is known
    undecided: list[Recall]
    #: these do not mean it, and a scan leaves them open
    decided: list[Recall]
    #: these would mean it, and it was remedied
    remedied: list[Recall]


NO_CONCERN = Concern([], [], [], [], [])


def concern(
    matcher: RecallMatcher,
    told: Sequence[Told],
    cleared: Collection[Clearance],
    folds: Callable[[str], bool],
) -> Concern:
    """Of a unit with these keys, its own first, of which people decided `cleared`; `folds` says of
    a product whether it folds case."""
    told = [each._replace(key=key) for each in told for key in spellings_of([each.key], folds)]
    lots = [each.lot for each in told if each.lot is not None]
    days = [each.produced_on for each in told if each.produced_on is not None]
    lot, day = (lots[0] if lots else None), (days[0] if days else None)
    codes = [product_and_serial(each.key) for each in told]
    shown = standing((matcher.match(Marks(*code)) for code in codes), ())
    known = [
        matcher.match(Marks(*code, each.lot or lot, each.produced_on or day))
        for code, each in zip(codes, told, strict=True)
    ]
    every, left = standing(known, ()), standing(known, cleared)
    means = [*left.recalled, *left.likely]
    seen = {recall.id for recall in (*shown.recalled, *shown.likely)}
    open_ = {recall.id for recall in (*means, *left.undecided)}
    remedied = [
        recall
        for recall in (*every.recalled, *every.likely, *every.undecided)
        if is_remedied(cleared, recall)
    ]
    return Concern(
        means,
        [recall for recall in means if recall.id not in seen],
        left.undecided,
        [
            recall
            for recall in shown.undecided
            if recall.id not in open_ and not is_remedied(cleared, recall)
        ],
        remedied,
    )


def reasons_of(found: Concern, told: Sequence[Told], now: datetime) -> list[HoldReason]:
    """Why a unit that is here is held, by what its scans do not show."""
    lots = ", ".join(dict.fromkeys(each.lot for each in told if each.lot is not None))
    days = ", ".join(str(each.produced_on) for each in told if each.produced_on is not None)
    marks = " and ".join([f"lot {lots}"] * bool(lots) + [f"produced on {days}"] * bool(days))
    by_marks = [
        _reason(recall, f"{recall.title}: it is of {marks}", now) for recall in found.unread
    ]
    open_ = [
        _reason(
            recall,
            f"{recall.title}: nobody told its {_lacking(recall, lots, days)}; look at it and scan a"
            " code that tells, or clear it",
            now,
        )
        for recall in found.undecided
    ]
    return by_marks + open_


def _reason(recall: Recall, text: str, now: datetime) -> HoldReason:
    return HoldReason(id=itself_id(recall.id), text=text, since=now, recall=recall.id)


def _lacking(recall: Recall, lots: str, days: str) -> str:
    kinds = {SelectorKind(selector.kind) for selector in recall.selectors}
    by_lot = not lots and not kinds.isdisjoint(BY_LOT)
    by_day = not days and SelectorKind.DATE in kinds
    return " and ".join(["lot"] * by_lot + ["day of production"] * by_day) or "marks"


def left_open(recall: Recall, units: int, now: datetime) -> Finding:
    """What is to be stated of a recall of which it stays open whether it means so many units that
    went out: one for each version, for that one has to be decided anew."""
    return Finding(
        id=made_id("recall_undecided", recall.id, str(recall.version)),
        kind=FindingKind.RECALL_UNDECIDED,
        at=now,
        text=f"recall {recall.id} ({recall.title}) may mean {units} units that went out: nobody"
        f" told their {_lacking(recall, '', '')}; its preview lists them as undecided",
        document=f"recall {recall.id}",
        recall=recall.id,
    )


def reasons_inside(inside: Iterable[tuple[str, str]], now: datetime) -> list[HoldReason]:
    """Why a unit is held for what is inside it: pairs of a recall's id and a unit. One for each
    recall, however many units."""
    units: dict[str, list[str]] = {}
    for recall_id, unit in sorted(set(inside)):
        units.setdefault(recall_id, []).append(unit)
    return [
        HoldReason(
            id=inside_id(recall_id),
            text=f"contains {found[0]}"
            + (f" and {len(found) - 1} more, which are" if found[1:] else ", which is")
            + " or may be recalled",
            since=now,
            recall=recall_id,
        )
        for recall_id, found in units.items()
    ]


class Out(NamedTuple):
    """Where a unit was last seen going out."""

    event_id: str
    station: str | None
    site: str | None
    at: datetime


def out_of(visit: Visit) -> Out:
    """A visit as the place where a unit went out."""
    return Out(visit.event_id, visit.station, visit.site, visit.at)


def findings_of(
    unit: str,
    found: Concern,
    out: Out | None,
    left: Departures,
    stated: Sequence[Finding],
    alerted: Collection[tuple[str, str]],
    corrected: Collection[str],
    active: RecallMatcher,
) -> list[Finding]:
    """What is to be stated of a unit that recalls mean and that went out; `out` is None for what is
    here.

    What is `stated` stays while the recall means or may mean the unit, or is not active any more,
    and the shipping was not voided: by a correction (`corrected`) or by a void_shipping. What the
    alerter told already of this departure (`alerted`: recall and event) is not stated too.
    """
    still = {recall.id for recall in (*found.means, *found.undecided, *found.remedied)}
    kept = [
        each
        for each in stated
        if each.event_id not in corrected
        and each.event_id not in left.voided
        and (each.recall in still or active.get(each.recall or "") is None)
    ]
    if out is None:
        return kept
    events = {out.event_id, *(visit.event_id for visit in left.leaving), *left.repeated}
    known = {each.recall for each in kept if each.event_id in events}
    known |= {recall_id for recall_id, event_id in alerted if event_id in events}
    return kept + [
        Finding(
            id=made_id("recalled_already_shipped", recall.id, unit, out.event_id),
            kind=FindingKind.RECALLED_ALREADY_SHIPPED,
            at=out.at,
            text=f"{unit} is recalled ({recall.id}: {recall.title}) and went out before that was"
            " known",
            unit=unit,
            event_id=out.event_id,
            station=out.station,
            site=out.site,
            recall=recall.id,
        )
        for recall in found.means
        if recall.id not in known
    ]
