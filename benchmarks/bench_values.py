"""One short value sealed and opened, beside what else seals values in Python.

Libraries of their own formats, used as their documentation says, with a key at hand in memory:
no service is asked. What each binds the value to differs; each gets what it offers.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.race import Race, Runner
from benchmarks.verdicts import ratio
from vaultlayer.crypto.envelope import key_id_for, open_sealed, seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.sizes import Sizes

PLACE = bytes(60)  # about as long as the place of a field
VALUE = b"ada.lovelace.4711@example.com"
BARE = "AES-GCM"


@dataclass(frozen=True)
class Sealer:
    """Two functions that are inverse to each other."""

    name: str
    seal: Callable[[], Any]
    open: Callable[[Any], Any]
    costs: int = 10  # about how many microseconds: the slower, the fewer calls a round

    def check(self) -> None:
        assert self.open(self.seal()) in (VALUE, VALUE.decode())


def test_values(
    sizes: Sizes, race: Race, report: Callable[..., None], leave_out: Callable[[str], None]
) -> None:
    sealers = [_bare(), _vaultlayer(), _fernet()]
    for make in (_tink, _fieldseal, _aws):
        try:
            sealers.append(make())
        except ImportError as missing:
            leave_out(f"{make.__name__.strip('_')}: {missing}")
    runners = []
    for each in sealers:
        each.check()
        calls, sealed = max(3, sizes.calls // each.costs), each.seal()
        runners += [
            Runner(f"seal, {each.name}", partial(_seconds, each.seal, calls), own_clock=True),
            Runner(
                f"open, {each.name}",
                partial(_seconds, partial(each.open, sealed), calls),
                own_clock=True,
            ),
        ]
    times = race(runners, rounds=sizes.rounds, group="values")
    for each in sealers[1:]:
        for step in ("seal", "open"):
            measured = ratio(times[f"{step}, {each.name}"], times[f"{step}, {BARE}"])
            report("one value", f"{step}, {each.name} : {BARE}", measured)


def _seconds(step: Callable[[], object], calls: int) -> float:
    """Seconds a call."""
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - start) / calls


def _bare() -> Sealer:
    cipher = AESGCM(os.urandom(32))

    def sealed() -> bytes:
        nonce = os.urandom(12)
        return nonce + cipher.encrypt(nonce, VALUE, PLACE)

    return Sealer(BARE, sealed, lambda box: cipher.decrypt(box[:12], box[12:], PLACE))


def _vaultlayer() -> Sealer:
    key = os.urandom(32)
    cipher, key_id = AESGCM(key), key_id_for(key)
    return Sealer(
        "vaultlayer's envelope",
        lambda: seal(cipher, key_id, PLACE, VALUE),
        lambda box: open_sealed(cipher, PLACE, box),
    )


def _fernet() -> Sealer:
    fernet = Fernet(Fernet.generate_key())
    return Sealer("Fernet", lambda: fernet.encrypt(VALUE), fernet.decrypt)


def _tink() -> Sealer:
    import tink  # type: ignore[import-untyped]
    from tink import aead

    aead.register()
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    primitive = handle.primitive(aead.Aead)
    return Sealer(
        "Tink, AES256_GCM",
        lambda: primitive.encrypt(VALUE, PLACE),
        lambda box: primitive.decrypt(box, PLACE),
    )


def _fieldseal() -> Sealer:
    from fieldseal import FieldContext, Fieldseal
    from fieldseal.keyprovider import StaticKeyProvider

    keys = StaticKeyProvider(
        key_id=os.urandom(16), tenant_dek=os.urandom(32), tenant_index_key=os.urandom(32)
    )
    sealer = Fieldseal(
        key_provider=keys,
        allowed_suites={0xFF01},
        write_suite=0xFF01,
        arm_provisional_suites=True,
    )
    field = FieldContext(table_uuid=uuid.uuid4().bytes, column_uuid=uuid.uuid4().bytes)
    return Sealer(
        "fieldseal",
        lambda: sealer.encrypt(VALUE, field),
        lambda box: sealer.decrypt(box, field),
        costs=100,
    )


def _aws() -> Sealer:
    from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
    from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
    from aws_cryptographic_material_providers.mpl.models import (
        AesWrappingAlg,
        CreateRawAesKeyringInput,
    )
    from aws_encryption_sdk import (  # type: ignore[import-untyped]
        CommitmentPolicy,
        EncryptionSDKClient,
    )

    client = EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
    providers = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    key = CreateRawAesKeyringInput(
        key_namespace="benchmark",
        key_name="local",
        wrapping_key=os.urandom(32),
        wrapping_alg=AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
    )
    given = {
        "keyring": providers.create_raw_aes_keyring(input=key),
        "encryption_context": {"field": "customer.email"},
    }
    return Sealer(
        "AWS Encryption SDK, local key",
        lambda: client.encrypt(source=VALUE, **given)[0],
        lambda box: client.decrypt(source=box, **given)[0],
        costs=3_000,
    )
