"""A product and what its owner decided about its units."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum

from scantrail.domain.identifiers import product_and_serial
from scantrail.domain.severity import Severity
from scantrail.domain.vocabulary import OUTBOUND_STEPS, BusinessStep


class Serials(StrEnum):
    """Whether units of a product carry serials here."""

    MANDATORY = "mandatory"
    OPTIONAL = "optional"
    NOT_USED = "not_used"


class Captured(StrEnum):
    """From where on the serials of a product's units are read."""

    RECEIVING = "receiving"
    SHIPPING = "shipping"
    WARRANTY = "warranty"  # not before a claim: units leave without


#: In a product's schemes: its maker's serials, which have no mark of their own.
PLAIN_SERIAL = "serial"

#: So many policies of a product are known to readers: the newest.
POLICIES_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What an owner decided about a product's units: from `valid_from` until the next one's; None:
    since ever.

    `steps` is the order in which units are expected at stations, each step once; empty: any. Steps
    that it does not name may come at any time. `serial_missing` and `serial_not_expected` are how
    urgent it is that a unit has no serial where one is mandatory, or has one where none is used.
    """

    valid_from: datetime | None = None
    serials: Serials = Serials.MANDATORY
    steps: tuple[BusinessStep, ...] = ()
    captured: Captured = Captured.RECEIVING
    serial_missing: Severity = Severity.WARNING
    serial_not_expected: Severity = Severity.OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Product(Policy):
    """`id` is the GTIN-14 where the product has one, else the owner's own number.

    As a policy it is the one that was valid when this was told; where it changes, `policies` are
    all in the order of their `valid_from`, and `policy_at` finds the one of a moment.

    The rest says how units are named, at all times alike. `schemes` are those of its units' codes
    that have no mark of their own (contracts.identity.SCHEMES, and PLAIN_SERIAL); none: any.
    `serial_formats` as in domain.serial_format; none: any serial. `fold_case`: small letters of a
    serial are capitals. `minted`: serials are given here, and end in a check character.
    """

    id: str
    name: str
    schemes: tuple[str, ...] = ()
    serial_formats: tuple[str, ...] = ()
    fold_case: bool = False
    minted: bool = False
    policies: tuple[Policy, ...] = ()
    version: int = 1

    def needs_serial_at(self, step: BusinessStep) -> bool:
        """Whether its code without a serial is not enough there."""
        if self.serials is not Serials.MANDATORY or self.captured is Captured.WARRANTY:
            return False
        return self.captured is Captured.RECEIVING or step in OUTBOUND_STEPS


_POLICY = tuple(part.name for part in fields(Policy))


def policy_of(product: Product) -> Policy:
    """The product's policy, without the product."""
    return Policy(**{name: getattr(product, name) for name in _POLICY})


def policies_of(product: Product) -> tuple[Policy, ...]:
    """All its policies, in the order of their `valid_from`."""
    return product.policies or (policy_of(product),)


def under(product: Product, policy: Policy) -> Product:
    """The product with `policy` as its own."""
    return replace(product, **{name: getattr(policy, name) for name in _POLICY})


def policy_at(product: Product, moment: datetime) -> Product:
    """The product with the policy that is valid at `moment` as its own. Of a time before the oldest
    that is known, that one."""
    if not product.policies:
        return product
    valid = product.policies[0]
    for policy in product.policies[1:]:
        if policy.valid_from is None or policy.valid_from > moment:
            break
        valid = policy
    return under(product, valid)


def with_policy(known: tuple[Policy, ...], new: Policy) -> tuple[Policy, ...]:
    """Policies in their order, with `new` among them: instead of one from the same moment."""
    kept = [each for each in known if each.valid_from != new.valid_from]
    return tuple(sorted([*kept, new], key=_since))


def _since(policy: Policy) -> tuple[bool, float]:
    since = policy.valid_from
    return since is not None, 0.0 if since is None else since.timestamp()


def expected_after(product: Product, step: BusinessStep) -> tuple[BusinessStep, ...] | None:
    """After which of the product's steps `step` is expected: the one before it, or itself again.

    None has to come before the first one, which begins anew; None where the order does not name it.
    """
    if step not in product.steps:
        return None
    place = product.steps.index(step)
    return (product.steps[place - 1], step) if place else ()


def folded_key(unit: str) -> str:
    """The key of a unit whose product folds case: its serial in capitals."""
    product, serial = product_and_serial(unit)
    return unit if product is None else f"{unit.removesuffix(serial)}{serial.upper()}"


def spellings_of(keys: Iterable[str], folds: Callable[[str], bool]) -> list[str]:
    """Every key by which a recall or a hold may name a unit with these keys, which come first: in
    capitals too where a product `folds` case now, for it came to while a scan waited to be sent."""
    every = dict.fromkeys(keys)
    for key in tuple(every):
        product = product_and_serial(key)[0]
        if product is not None and (capitals := folded_key(key)) != key and folds(product):
            every.setdefault(capitals)
    return list(every)
