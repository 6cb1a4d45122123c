"""SLIP-39: a key as sets of words, any k of n of which give it back (Shamir's scheme).

The library isn't hardened against somebody who measures this process while it runs: split and
combine on a machine you trust.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics

from vaultlayer.errors import ConfigurationError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_SHARES = 16


class Slip39:
    """One group of shares, without a passphrase: whoever has k of them has the key."""

    @staticmethod
    def split(secret: bytes, threshold: int, shares: int) -> list[str]:
        """``shares`` sets of words for a 32-byte secret; ``threshold`` of them give it back."""
        if not 2 <= threshold <= shares <= MOST_SHARES:
            raise ConfigurationError(
                f"a key can't be split into {shares} shares of which {threshold} are needed",
                hint=f"at least 2 are needed, of at most {MOST_SHARES}: 3 of 5, say",
            )
        group: list[str]
        (group,) = generate_mnemonics(1, [(threshold, shares)], secret, extendable=True)
        return group

    @staticmethod
    def combine(shares: Iterable[str]) -> bytes:
        """The secret; IntegrityError for too few shares, for wrong words or of several sets."""
        try:
            words = [" ".join(share.split()).lower() for share in shares]
            secret: bytes = combine_mnemonics(words)
            return secret
        except (MnemonicError, ValueError):
            refusal = IntegrityError(
                "these shares don't give a key",
                hint="each must be whole, all of one set, and as many different ones as are needed",
            )
        raise refusal
