"""A unit's key, taken apart: recalls and lists go by product and serial."""


def product_and_serial(unit: str) -> tuple[str | None, str]:
    """(product or None, serial) of a unit key: GTIN-14 and serial for `sgtin:`, and so on.

    A key without a product (`imei:`, `vin:` …) is its own serial.
    """
    scheme, _, name = unit.partition(":")
    if scheme in ("sgtin", "sn"):
        product, dot, serial = name.partition(".")
        if dot:
            return product, serial
    return None, name
