"""Personal columns of Spark data frames (extra ``spark``): backfill, reseal, reveal.

    with vault.access(principal, purpose="provide_service") as access:
        names = spark.reveal(access, frame, {"name": Customer.name}, subjects="subject_id",
                             config="/etc/shop/vaultlayer.toml")
        names.write.parquet(...)

The work is done where the rows are, in ``mapInArrow`` over each partition. What goes there is a
short-lived grant (spark_grant.py), the names of the fields, and where the settings file lies: each
Python worker opens its own vault by it, decides, and journals into its own shard of the log.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import types as spark_types
from sqlalchemy import create_engine

from vaultlayer.errors import ConfigurationError
from vaultlayer.vault import Vault
from vaultlayer_adapters import arrow, spark_grant
from vaultlayer_adapters.arrow_values import MaskedType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pyspark.sql import DataFrame

    from vaultlayer.acting import Access

_TYPES: dict[str, tuple[Any, Any]] = {
    "str": (spark_types.StringType(), pa.string()),
    "bytes": (spark_types.BinaryType(), pa.binary()),
    "int": (spark_types.LongType(), pa.int64()),
    "float": (spark_types.DoubleType(), pa.float64()),
    "bool": (spark_types.BooleanType(), pa.bool_()),
    "date": (spark_types.DateType(), pa.date32()),
    "UUID": (spark_types.StringType(), pa.string()),
}
_TEXT, _SEALED = _TYPES["str"], _TYPES["bytes"]


@dataclass(frozen=True, slots=True)
class _Work:
    """What a worker is told: names only, so that it can be pickled and read."""

    action: str
    grant: str
    tenant: str
    config: str
    fields: dict[str, tuple[str, str, str]]  # column → module, class, attribute
    labels: tuple[str, ...]
    subjects: str | None
    rows: tuple[str, ...]


def reveal(access: Access, frame: DataFrame, columns: Mapping[str, Any], **how: Any) -> DataFrame:
    """The frame with its sealed columns opened; texts where the rules mask.

    :param columns: column of the frame → personal attribute, such as ``Customer.email``.
    :param how: ``subjects``: the column with the rows' subject ids; ``rows``: the columns of the
        primary key, for values bound to their row; ``config``: the settings file's path on every
        worker; ``lifetime``: seconds from now until the work must be done, by default 900.
    :raises AccessDenied: if a field is refused here; what a worker refuses fails its task.
    """
    return _mapped(access, frame, columns, "reveal", ("read",), **how)


def backfill(access: Access, frame: DataFrame, columns: Mapping[str, Any], **how: Any) -> DataFrame:
    """The frame with its plain columns sealed, to be written where the sealed ones belong.

    Parameters as for :func:`reveal`.
    """
    return _mapped(access, frame, columns, "backfill", ("write",), **how)


def reseal(access: Access, frame: DataFrame, columns: Mapping[str, Any], **how: Any) -> DataFrame:
    """The frame with its sealed columns opened and sealed anew, under each person's active key.

    Parameters as for :func:`reveal`; the access needs to read and to write the fields.
    """
    return _mapped(access, frame, columns, "reseal", ("read", "write"), **how)


def _mapped(
    access: Access,
    frame: DataFrame,
    columns: Mapping[str, Any],
    action: str,
    needs: tuple[str, ...],
    *,
    config: str,
    subjects: str | None = None,
    rows: Sequence[str] = (),
    lifetime: float = 900.0,
) -> DataFrame:
    found = {name: arrow.personal(attribute)[1] for name, attribute in columns.items()}
    for field in found.values():
        for each in needs:
            grant = access.grant(field, each)
            if grant.denied:
                access.confirm(grant)
            if grant.masked and action == "reseal":
                raise ConfigurationError(
                    f"{field.label} is masked for this access, so it can't be sealed anew",
                    hint="use an access whose role reads it",
                )
    labels = tuple(field.label for field in found.values())
    work = _Work(
        action,
        spark_grant.give(access, labels, needs, lifetime),
        access.tenant,
        str(config),
        {name: _named(attribute) for name, attribute in columns.items()},
        labels,
        subjects,
        tuple(rows),
    )
    kinds = {name: _kind(access, field, action)[0] for name, field in found.items()}
    schema = spark_types.StructType(
        [
            spark_types.StructField(each.name, kinds.get(each.name, each.dataType), True)
            for each in frame.schema.fields
        ]
    )
    return frame.mapInArrow(lambda batches: _batches(work, batches), schema)


def _batches(work: _Work, batches: Iterator[Any]) -> Iterator[Any]:
    """In a worker: one access for the partition, each batch's columns replaced."""
    with _access(work) as access:
        attributes = {name: _attribute(*path) for name, path in work.fields.items()}
        for batch in batches:
            yield _replaced(work, access, attributes, batch)


def _replaced(work: _Work, access: Access, attributes: Mapping[str, Any], batch: Any) -> Any:
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    place: dict[str, Any] = {
        "subjects": columns[work.subjects] if work.subjects else None,
        "rows": [columns[name] for name in work.rows] or None,
    }
    for name, attribute in attributes.items():
        made: Any = columns[name]
        if work.action != "backfill":
            made = arrow.open_sealed(access, attribute, made, **place)
        if work.action != "reveal":
            made = arrow.seal(access, attribute, made, **place)
        _, kind = _kind(access, arrow.personal(attribute)[1], work.action)
        if isinstance(made.type, MaskedType):
            made = made.cast(made.type.storage_type)
        columns[name] = pa.concat_arrays(made.cast(kind).chunks or [pa.array([], kind)])
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def _kind(access: Access, field: Any, action: str) -> tuple[Any, Any]:
    """The Spark and the Arrow type of a column after the action."""
    if action != "reveal":
        return _SEALED
    if access.grant(field, "read").masked:
        return _TEXT
    known = _TYPES.get(field.codec.name)
    if known is None:
        raise ConfigurationError(
            f"{field.label} holds {field.codec.name}, for which there is no column of Spark's here",
            hint="open it with vaultlayer_adapters.arrow, or through the ORM",
        )
    return known


@contextmanager
def _access(work: _Work) -> Iterator[Access]:
    vault = _vault(work.config)
    needs = {"reveal": ("read",), "backfill": ("write",), "reseal": ("read", "write")}[work.action]
    for module in {module for module, _, _ in work.fields.values()}:
        import_module(module)
    with spark_grant.use(vault, work.tenant, work.grant, work.labels, needs) as access:
        yield access


@cache
def _vault(config: str) -> Vault:
    """The worker's own vault; it lives as long as the worker does."""
    vault = Vault.open(config)
    if vault.settings.database is None:
        raise ConfigurationError(
            "the settings don't say where the key tables are", hint="set [vault] database"
        )
    vault.attach(create_engine(vault.settings.database, hide_parameters=True))
    return vault


def _named(attribute: Any) -> tuple[str, str, str]:
    """Where a worker finds the attribute again."""
    owner = attribute.class_
    return owner.__module__, owner.__qualname__, attribute.key


def _attribute(module: str, name: str, key: str) -> Any:
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return getattr(found, key)
