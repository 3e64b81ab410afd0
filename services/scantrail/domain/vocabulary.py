"""The words of GS1's Core Business Vocabulary 2.0 that this system acts on."""

from enum import StrEnum


class BusinessStep(StrEnum):
    """What was being done to the unit when it was scanned."""

    COMMISSIONING = "commissioning"
    RECEIVING = "receiving"
    INSPECTING = "inspecting"
    STORING = "storing"
    PICKING = "picking"
    ASSEMBLING = "assembling"
    DISASSEMBLING = "disassembling"
    REPAIRING = "repairing"
    PACKING = "packing"
    UNPACKING = "unpacking"
    HOLDING = "holding"
    STAGING_OUTBOUND = "staging_outbound"
    LOADING = "loading"
    SHIPPING = "shipping"
    DEPARTING = "departing"
    ARRIVING = "arriving"
    RETURNING = "returning"
    VOID_SHIPPING = "void_shipping"
    DECOMMISSIONING = "decommissioning"
    CYCLE_COUNTING = "cycle_counting"
    #: CBV: a count that the books are made from. Here: what was on site before anything was scanned
    STOCK_TAKING = "stock_taking"


#: CBV: `shipping` is the whole of the other three, and excludes them. A unit may leave under any.
OUTBOUND_STEPS = frozenset(
    {
        BusinessStep.STAGING_OUTBOUND,
        BusinessStep.LOADING,
        BusinessStep.DEPARTING,
        BusinessStep.SHIPPING,
    }
)

#: After these a unit is no longer at the site that scanned it.
LEAVING_STEPS = frozenset({BusinessStep.SHIPPING, BusinessStep.DEPARTING})

#: These say that a unit comes into custody here, from elsewhere or from nothing.
ENTERING_STEPS = frozenset({BusinessStep.COMMISSIONING, BusinessStep.RECEIVING})

#: These end a departure: the unit is here again, at its next site, or no more.
DEPARTURE_ENDING_STEPS = ENTERING_STEPS | {
    BusinessStep.ARRIVING,
    BusinessStep.RETURNING,
    BusinessStep.VOID_SHIPPING,
    BusinessStep.DECOMMISSIONING,
}

#: These take a unit out of the parent it was packed or assembled into.
TAKING_OUT_STEPS = frozenset({BusinessStep.UNPACKING, BusinessStep.DISASSEMBLING})

#: These say what stands where, and bring nothing: what went out is not back because somebody
#: counted a unit that bears its serial.
COUNTING_STEPS = frozenset({BusinessStep.CYCLE_COUNTING, BusinessStep.STOCK_TAKING})

#: These are of the unit itself, not of what is inside it: a carton ends, its contents live on.
UNFOLLOWED_STEPS = frozenset({BusinessStep.COMMISSIONING, BusinessStep.DECOMMISSIONING})


class Phase(StrEnum):
    """Who answers for the unit: a site, somebody it was shipped to, or nobody any more."""

    ON_SITE = "on_site"
    SHIPPED = "shipped"
    GONE = "gone"
