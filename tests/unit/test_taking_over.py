"""Which serials of a recall's record the notice printed, and which are their other forms."""

import random

from scantrail.api.taking_over import as_entered
from scantrail.domain.recall import Recall, Selector


def test_of_the_forms_of_a_serial_the_printed_one_is_listed() -> None:
    printed = {
        "AB 12": ("AB12",),
        "490154203237518": ("49015420323751",),
        "A very long one 7": ("Averylongone7",),
        "X1": (),
    }
    every = [form for serial, forms in printed.items() for form in (serial, *forms)]
    for seed in range(20):
        random.Random(seed).shuffle(every)
        clauses = (
            Selector(kind="list", serials=tuple(every)),
            Selector(kind="range", low="1", high="9"),
        )
        recall = Recall(id="R", title="t", reason="r", selectors=clauses)
        assert as_entered(recall) == printed


def test_with_capitals_and_forms_of_forms_every_one_is_in_some_row() -> None:
    barcode = "(01)09506000134352(21)490154203237518"
    every = ["ab1", "AB1", "X9", "490154203237518", "49015420323751", barcode]
    for seed in range(20):
        random.Random(seed).shuffle(every)
        recall = Recall(
            id="R",
            title="t",
            reason="r",
            selectors=(Selector(kind="list", serials=tuple(every)),),
        )
        listed = as_entered(recall)
        assert set(listed) == {"ab1", "X9", barcode}
        assert {form for serial, forms in listed.items() for form in (serial, *forms)} == set(every)
