"""The address of a classifier behind a server. Imports nothing slow."""

from urllib.parse import urlsplit

from dexter.errors import InputError

SCHEMES = ("http", "https")
KEY = "DEXTER_CLASSIFIER_KEY"
"""The environment variable with the key of a server, if it takes one."""


def check_address(address: str) -> str:
    """Return an http or https address that holds no key.

    Raises InputError for any other, without the parts that may hold one.
    """
    try:
        parts = urlsplit(address)
        usable = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not address.isprintable() or " " in address:
        raise InputError(
            "is no http or https address",
            field="classifier",
            remedy="pass one such as http://localhost:8000/score",
        )
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InputError(
            "must not hold a user, password, query or fragment",
            field="classifier",
            value=f"{parts.scheme}://{parts.hostname}{parts.path}",
            remedy=f"set {KEY} for a key",
        )
    return address
