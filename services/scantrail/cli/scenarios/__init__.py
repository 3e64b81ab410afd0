"""The demo's scenarios: a module for each point of the business, played beside the plan.

A new one has its own module, with its own stations at a site of its own, and joins SCENARIOS here.
"""

from scantrail.cli.scenarios import (
    alerting,
    assembly,
    correcting,
    counting,
    orders,
    recalling,
    receiving,
    regulated,
    returning,
    serials,
    warranty,
)

SCENARIOS = tuple(
    module.SCENARIO
    for module in (
        serials,
        receiving,
        regulated,
        orders,
        assembly,
        counting,
        returning,
        warranty,
        recalling,
        alerting,
        correcting,
    )
)

SCENARIO_PLACES = tuple(place for scenario in SCENARIOS for place in scenario.places)
