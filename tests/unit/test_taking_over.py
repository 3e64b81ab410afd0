"""Which serials of a recall's record the notice printed, and which are their other forms."""

import random

from scantrail.api.taking_over import _as_entered
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
        assert _as_entered(recall) == printed
