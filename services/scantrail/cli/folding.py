"""Small letters of a serial that a command is told, as its product has them."""

import contextlib
from urllib.parse import quote

import httpx

from scantrail.contracts.records import UnreadableRecord, products
from scantrail.contracts.topics import Topic
from scantrail.domain.identifiers import Identified, product_and_serial
from scantrail.domain.product import folded_key
from scantrail.infra.kafka import Mirror
from scantrail.infra.settings import Settings

#: Of a unit whose serial has small letters, where nobody tells whether these are capitals.
CASE_UNKNOWN = "case_unknown"


async def folded_by_topic(settings: Settings, key: str) -> str:
    """The one key of a unit, by what topic `products` says now. Waits for Kafka."""
    product = product_and_serial(key)[0]
    if product is None or folded_key(key) == key:
        return key
    folding: dict[str, bool] = {}

    def take(name: str, value: bytes | None) -> None:
        if name != product:
            return
        if value is None:
            folding.pop(name, None)
            return
        with contextlib.suppress(UnreadableRecord):  # the version before stands, as everywhere
            folding[name] = products.decode(value).fold_case

    mirror = Mirror(settings, Topic.PRODUCTS, take)
    try:
        await mirror.start()
    finally:
        await mirror.stop()
    return folded_key(key) if folding.get(product, False) else key


class FoldedByApi:
    """Asks an api once for each product; the first time that none answers is the last."""

    def __init__(self, api: httpx.Client) -> None:
        self._api = api
        self._folding: dict[str, bool] = {}
        self._is_away = False

    def __call__(self, found: Identified) -> Identified:
        """What was identified, with the one key of its unit; a note says where nobody told it."""
        product = product_and_serial(found.key)[0]
        key = folded_key(found.key)
        if product is None or key == found.key:
            return found
        folds = self._folds(product)
        if folds is None:
            return found._replace(notes=(*found.notes, CASE_UNKNOWN))
        return found._replace(key=key, serial=product_and_serial(key)[1]) if folds else found

    def _folds(self, product: str) -> bool | None:
        if product not in self._folding and not self._is_away:
            try:
                answer = self._api.get(f"/products/{quote(product, safe='')}")
                is_known = answer.status_code != httpx.codes.NOT_FOUND
                told = answer.raise_for_status().json() if is_known else {"fold_case": False}
                self._folding[product] = bool(told["fold_case"])
            except (httpx.HTTPError, ValueError, LookupError, TypeError):
                self._is_away = True
        return self._folding.get(product)
