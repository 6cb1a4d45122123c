"""Telephone numbers in E.164, by ``phonenumbers``: ``search=Equality("phone")``.

A number that doesn't begin with ``+`` needs to know from where it would be dialled:
``Equality("phone:GB")``.
"""

from __future__ import annotations

from typing import Any

import phonenumbers

from vaultlayer.search.normalizers import Normalizer

__all__ = ["PHONE"]


def _e164(value: Any, region: str) -> str | None:
    try:
        number = phonenumbers.parse(value, region.upper() or None)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_possible_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


# 1 kept the digits as they were dialled.
PHONE = Normalizer(2, _e164)
