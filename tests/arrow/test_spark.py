"""Spark: backfill, reseal and reveal where the rows are, under a grant that holds no key."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sys
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

import jwt
import pytest
import sqlalchemy as sa

from vaultlayer import AccessDenied
from vaultlayer.testing import audit_events

HERE = Path(__file__).parent
MANY = 1_000_000

pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")


@pytest.fixture(scope="module")
def spark(missing_part, tmp_path_factory):
    """Spark in local mode with two executor threads, each with Python workers of its own."""
    if find_spec("pyspark") is None or find_spec("pyarrow") is None:
        missing_part("PySpark (the extra spark)")
    if shutil.which("java") is None:
        missing_part("Java 17")
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("VAULTLAYER_PASSPHRASE", "correct horse battery staple")
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        folder = tmp_path_factory.mktemp("spark")
        session = (
            SparkSession.builder.master("local[2]")
            .appName("vaultlayer")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.sql.warehouse.dir", str(folder))
            .config("spark.sql.execution.arrow.maxRecordsPerBatch", "50000")
            .getOrCreate()
        )
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()


@pytest.fixture
def adapter(spark):
    return pytest.importorskip("vaultlayer_adapters.spark")


def frame_of(spark, world, *names):
    columns = world.rows(world.m.Buyer, *names)
    rows = list(zip(*columns.values(), strict=True))
    kinds = {"id": "long", "subject_id": "string", "born": "binary"}
    schema = ", ".join(f"{name} {kinds.get(name, 'binary')}" for name in names)
    return spark.createDataFrame(rows, schema).repartition(2)


def test_reveal(spark, adapter, world, people) -> None:
    """What the ORM sealed is opened in the workers, which journal it in shards of their own."""
    frame = frame_of(spark, world, "id", "subject_id", "name", "born")
    m = world.m
    with world.access() as access:
        how = {"subjects": "subject_id", "config": str(world.config)}
        opened = adapter.reveal(access, frame, {"name": m.Buyer.name, "born": m.Buyer.born}, **how)
        rows = sorted(opened.collect(), key=lambda row: row.id)
    assert [(row["name"], row["born"]) for row in rows] == [(p["name"], p["born"]) for p in people]
    events = [each for each in audit_events(world.vault) if each.get("event") == "read"]
    told = {ref for each in events if "name" in each["fields"] for ref in each["refs"]}
    assert len(told) == len(people)
    assert {each["actor"]["sub"] for each in events} == {"shop"}
    shards = {each["access"].rpartition(".")[0] for each in events}
    assert shards and world.vault.journal._shard not in shards


def test_backfill_and_reseal_open_in_the_orm(spark, adapter, world) -> None:
    """Plain texts sealed by two workers, sealed anew, and read by the application."""
    m = world.m
    columns = world.rows(m.Buyer, "id", "subject_id")
    rows = [(i, s, f"new {i}") for i, s in zip(*columns.values(), strict=True)]
    frame = spark.createDataFrame(rows, "id long, subject_id string, name string").repartition(2)
    how = {"subjects": "subject_id", "config": str(world.config)}
    with world.access() as access:
        once = adapter.backfill(access, frame, {"name": m.Buyer.name}, **how)
        first = {row.id: bytes(row["name"]) for row in once.collect()}
        sealed = spark.createDataFrame(
            [(i, s, first[i]) for i, s, _ in rows], "id long, subject_id string, name binary"
        )
        anew = adapter.reseal(access, sealed, {"name": m.Buyer.name}, **how)
        second = {row.id: bytes(row["name"]) for row in anew.collect()}
    assert all(b"new" not in each for each in [*first.values(), *second.values()])
    assert set(first.values()).isdisjoint(second.values())
    with world.engine.begin() as connection:
        for number, value in second.items():
            update = sa.text("UPDATE buyer SET name = :v WHERE id = :i")
            connection.execute(update, {"v": value, "i": number})
    with sa.orm.Session(world.engine) as session:
        world.vault.attach(session)
        with world.access():
            found = session.scalars(sa.select(m.Buyer).order_by(m.Buyer.id)).all()
            assert [buyer.name for buyer in found] == [f"new {i}" for i, _, _ in rows]


def test_what_is_masked_or_refused_here_is_there(spark, adapter, world) -> None:
    frame = frame_of(spark, world, "id", "subject_id", "phone")
    how = {"subjects": "subject_id", "config": str(world.config)}
    with world.access("support", "customer_service") as access:
        shown = adapter.reveal(access, frame, {"phone": world.m.Buyer.phone}, **how).collect()
    assert {row.phone for row in shown if row.phone} and "7946" not in str(shown)
    with world.access("nobody") as access, pytest.raises(AccessDenied):
        adapter.reveal(access, frame, {"phone": world.m.Buyer.phone}, **how)


def test_a_grant_holds_no_key_and_can_t_be_changed(world, adapter) -> None:
    """Signed by the vault; for its fields, its actions and its time; and no token in it."""
    from vaultlayer_adapters import spark_grant

    with world.access() as access:
        grant = spark_grant.give(access, ["buyer.name"], ["read"], 60)
    head, body, sign = grant.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert claims["exp"] - claims["iat"] == 60
    assert not {"token", "key", "jti"} & claims.keys()

    def used(text, fields=("buyer.name",), actions=("read",)):
        with pytest.raises(AccessDenied) as refused:
            spark_grant.use(world.vault, "", text, fields, actions)
        assert not text or text not in str(refused.value)
        return refused.value.reason

    with spark_grant.use(world.vault, "", grant, ["buyer.name"], ["read"]) as access:
        assert access.principal.sub == "shop"
    wider = {**claims, "roles": ["privacy_officer"]}
    forged = base64.urlsafe_b64encode(json.dumps(wider).encode()).rstrip(b"=").decode()
    assert used(f"{head}.{forged}.{sign}") == "grant_invalid"
    assert used(jwt.encode(wider, "x" * 32, "HS256")) == "grant_invalid"
    assert used(jwt.encode(wider, None, "none")) == "grant_invalid"
    assert used("") == "grant_invalid"
    assert used(grant, fields=("buyer.email",)) == "grant_scope"
    assert used(grant, actions=("write",)) == "grant_scope"
    with pytest.raises(AccessDenied) as refused:
        spark_grant.use(world.vault, "other", grant, ["buyer.name"], ["read"])
    assert refused.value.reason == "grant_invalid"
    with world.access() as access:
        short = spark_grant.give(access, ["buyer.name"], ["read"], 1)
    time.sleep(1.1)
    assert used(short) == "grant_over"


def many(spark, adapter, world, count):
    """Generated rows through backfill and reveal, in two partitions; how long each took."""
    people = [str(uuid.UUID(int=number + 1)) for number in range(1000)]
    listed = spark.createDataFrame(list(enumerate(people)), "n long, subject_id string")
    rows = spark.range(count).selectExpr("id", f"id % {len(people)} AS n")
    rows = rows.join(listed, "n").selectExpr("id", "subject_id", "concat('geheim', id) AS email")
    how = {"subjects": "subject_id", "config": str(world.config)}
    attribute = {"email": world.m.Buyer.email}
    folder = str(world.config.parent / "sealed")
    seconds = []
    with world.access() as access:
        start = time.perf_counter()
        adapter.backfill(access, rows.repartition(2), attribute, **how).write.parquet(folder)
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        sealed = spark.read.parquet(folder)
        opened = adapter.reveal(access, sealed, attribute, **how)
        right = opened.where("email = concat('geheim', id)").count()
        seconds.append(time.perf_counter() - start)
    assert right == count
    assert b"geheim" not in b"".join(file.read_bytes() for file in Path(folder).glob("*.parquet"))
    return seconds


def test_many_rows_the_short_form(spark, adapter, world) -> None:
    many(spark, adapter, world, 20_000)


@pytest.mark.soak
def test_a_million_rows(spark, adapter, world, record_property) -> None:
    seal, reveal = many(spark, adapter, world, MANY)
    told = f"{MANY:,} rows, two partitions: sealed in {seal:.0f} s, opened in {reveal:.0f} s"
    record_property("figures", told)
    sys.stderr.write(f"{told}\n")
