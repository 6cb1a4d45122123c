"""Made-up databases in several styles, and by hand what in them is personal.

A schema is SQL; ``fill`` makes its rows; ``TRUTH`` names each personal column and its category.
"""

from __future__ import annotations

import sqlite3
from typing import Any

GIVEN = ("Anna", "Lukas", "Marie", "Julien", "Claire", "Peter", "Sabine", "Thomas", "Julia", "Paul")
FAMILY = ("Schmidt", "Moreau", "Keller", "Dubois", "Weber", "Lefevre", "Vogel", "Garnier")

GERMAN = """
CREATE TABLE kunden (kd_nr INTEGER PRIMARY KEY, anrede TEXT, vorname TEXT, nachname TEXT,
  geb_datum DATE, strasse TEXT, hausnr TEXT, plz TEXT, ort TEXT, telefonnummer TEXT,
  e_mail TEXT, steuer_id TEXT, newsletter BOOLEAN, kundengruppe TEXT, angelegt_am TIMESTAMP);
CREATE TABLE artikel (artikel_nr INTEGER PRIMARY KEY, bezeichnung TEXT, name TEXT, preis NUMERIC,
  ean TEXT, farbe TEXT);
CREATE TABLE bestellungen (bestell_nr TEXT PRIMARY KEY, kd_nr INTEGER REFERENCES kunden (kd_nr),
  status TEXT, summe NUMERIC, lieferadresse TEXT, bemerkung TEXT);
"""
FRENCH = """
CREATE TABLE utilisateurs (id INTEGER PRIMARY KEY, nom TEXT, prénom TEXT, courriel TEXT,
  date_naissance DATE, num_tel TEXT, adresse TEXT, code_postal TEXT, ville TEXT,
  num_secu TEXT, role TEXT, actif BOOLEAN);
CREATE TABLE produits (id INTEGER PRIMARY KEY, nom TEXT, prix NUMERIC, reference TEXT);
CREATE TABLE magasins (id INTEGER PRIMARY KEY, nom TEXT, ville TEXT, latitude REAL, longitude REAL);
"""
JAPANESE = """
CREATE TABLE 顧客 (顧客番号 INTEGER PRIMARY KEY, 氏名 TEXT, フリガナ TEXT, 生年月日 DATE, 住所 TEXT,
  郵便番号 TEXT, 電話番号 TEXT, メールアドレス TEXT, ランク TEXT);
CREATE TABLE 商品 (商品番号 INTEGER PRIMARY KEY, 商品名 TEXT, 価格 NUMERIC);
CREATE TABLE kaiin (kaiin_no INTEGER PRIMARY KEY, shimei TEXT, jusho TEXT, denwa_bangou TEXT,
  seinengappi DATE, point INTEGER);
"""
SHORT = """
CREATE TABLE usr (uid INTEGER PRIMARY KEY, fnm TEXT, lname TEXT, eml TEXT, ph TEXT, dob DATE,
  addr1 TEXT, zip TEXT,
  ip_addr TEXT, ua TEXT, lat REAL, lng REAL, cc_num TEXT, ssn TEXT, crtd TIMESTAMP);
CREATE TABLE t_017 (c1 INTEGER PRIMARY KEY, c2 TEXT, c3 TEXT, c4 TEXT, c5 TEXT, c6 TEXT, c7 TEXT);
CREATE TABLE prd (pid INTEGER PRIMARY KEY, nm TEXT, sku TEXT, wt REAL);
"""
HARD = """
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, product_name TEXT, brand_name TEXT,
  description TEXT, smartphone_model TEXT, version TEXT, barcode TEXT);
CREATE TABLE companies (id INTEGER PRIMARY KEY, name TEXT, company_name TEXT, country TEXT,
  vat_number TEXT, website TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, order_number TEXT, tracking_number TEXT,
  reference TEXT,
  email_template TEXT, phone_type TEXT, is_email_verified BOOLEAN, address_id INTEGER,
  state TEXT, email_sent_at TIMESTAMP);
CREATE TABLE countries (id INTEGER PRIMARY KEY, name TEXT, phone_code TEXT, iso TEXT);
CREATE TABLE files (id INTEGER PRIMARY KEY, file_name TEXT, path TEXT, host_name TEXT, mime TEXT);
CREATE TABLE events (id INTEGER PRIMARY KEY, event_name TEXT, happened TIMESTAMP, counter INTEGER);
"""

TRUTH = {
    "German": {
        **dict.fromkeys(("kunden.vorname", "kunden.nachname"), "identity.name"),
        "kunden.geb_datum": "identity.birth_date",
        **dict.fromkeys(
            ("kunden.strasse", "kunden.hausnr", "kunden.plz", "kunden.ort",
             "bestellungen.lieferadresse"), "contact.address",
        ),
        "kunden.telefonnummer": "contact.phone",
        "kunden.e_mail": "contact.email",
        "kunden.steuer_id": "identity.document",
        "bestellungen.bemerkung": "content.text",
    },
    "French": {
        **dict.fromkeys(("utilisateurs.nom", "utilisateurs.prénom"), "identity.name"),
        "utilisateurs.courriel": "contact.email",
        "utilisateurs.date_naissance": "identity.birth_date",
        "utilisateurs.num_tel": "contact.phone",
        **dict.fromkeys(
            ("utilisateurs.adresse", "utilisateurs.code_postal", "utilisateurs.ville"),
            "contact.address",
        ),
        "utilisateurs.num_secu": "identity.document",
    },
    "Japanese": {
        **dict.fromkeys(("顧客.氏名", "顧客.フリガナ", "kaiin.shimei"), "identity.name"),
        **dict.fromkeys(("顧客.生年月日", "kaiin.seinengappi"), "identity.birth_date"),
        **dict.fromkeys(("顧客.住所", "顧客.郵便番号", "kaiin.jusho"), "contact.address"),
        **dict.fromkeys(("顧客.電話番号", "kaiin.denwa_bangou"), "contact.phone"),
        "顧客.メールアドレス": "contact.email",
    },
    "short": {
        **dict.fromkeys(("usr.fnm", "usr.lname", "t_017.c3"), "identity.name"),
        **dict.fromkeys(("usr.eml", "t_017.c2"), "contact.email"),
        **dict.fromkeys(("usr.ph", "t_017.c4"), "contact.phone"),
        "usr.dob": "identity.birth_date",
        **dict.fromkeys(("usr.addr1", "usr.zip"), "contact.address"),
        "usr.ip_addr": "device.ip",
        "usr.ua": "device.configuration",
        **dict.fromkeys(("usr.lat", "usr.lng"), "location"),
        **dict.fromkeys(("usr.cc_num", "t_017.c5"), "financial.card"),
        "usr.ssn": "identity.document",
        "t_017.c6": "financial",
    },
    "hard": {},
}
SCHEMAS = {"German": GERMAN, "French": FRENCH, "Japanese": JAPANESE, "short": SHORT, "hard": HARD}


def make(file: Any, style: str, rows: int = 60) -> None:
    """The database of a style, with rows that are the same each time."""
    with sqlite3.connect(file) as database:
        database.executescript(SCHEMAS[style])
        listed = "SELECT name FROM sqlite_master WHERE type = 'table'"
        for (table,) in database.execute(listed).fetchall():
            columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
            for number in range(1, rows + 1):
                values = [value(table, column, number) for column in columns]
                database.execute(
                    f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(values))})', values
                )
    database.close()


def value(table: str, column: str, n: int) -> Any:
    """What a column of this name would hold; the same for the same row."""
    first, last = GIVEN[n % len(GIVEN)], FAMILY[n * 7 % len(FAMILY)]
    known: dict[str, Any] = {
        "vorname": first, "prénom": first, "fnm": first, "nachname": last, "lname": last,
        "氏名": "山田 太郎", "フリガナ": "ヤマダ タロウ", "shimei": "山田 花子",
        "c3": f"{first} {last}",
        "住所": f"東京都千代田区丸の内{n}丁目", "jusho": f"大阪市北区梅田{n}-1",
        "郵便番号": f"100-{n:04d}",
        "電話番号": f"03-{1200 + n}-{5600 + n}", "denwa_bangou": f"090-{1200 + n}-{5600 + n}",
        "メールアドレス": f"u{n}@example.jp", "商品名": f"ノート {n}", "ランク": "A",
        "strasse": f"Lindenstraße {n}", "hausnr": f"{n}a", "plz": f"1{n:04d}", "ort": "Berlin",
        "lieferadresse": f"Gartenweg {n}, 10115 Berlin", "bemerkung": "bitte klingeln",
        "telefonnummer": f"+49 30 {220000 + n}", "num_tel": f"01 42 68 {n % 90 + 10} {n % 80 + 11}",
        "ph": f"(212) 555-{1000 + n}", "c4": f"+44 20 7946 {1000 + n}",
        "e_mail": f"k{n}@example.de", "courriel": f"u{n}@exemple.fr", "eml": f"u{n}@example.com",
        "c2": f"{first}.{n}@example.com".lower(), "adresse": f"{n} rue de la Paix",
        "addr1": f"{n} Main Street", "zip": f"{10000 + n}", "code_postal": f"75{n:03d}",
        "ville": "Lyon", "num_secu": nir(n), "steuer_id": steuer_id(n), "ssn": f"123-45-{6000 + n}",
        "ip_addr": f"203.0.113.{n}", "ua": f"Mozilla/5.0 (X11; Linux) rv:{n}",
        "cc_num": card(n), "c5": card(n), "c6": iban(n), "c7": f"A-{n:05d}",
        "lat": 48.1 + n / 1000, "lng": 11.5 + n / 1000, "latitude": 48.1,
        "longitude": 2.3 + n / 1000,
        "order_number": f"030-{1234567 + n}", "tracking_number": f"{4000000000000 + n * 37}",
        "reference": f"+{n}-REF", "barcode": f"{4006381333931 + n}", "ean": f"{4006381333931 + n}",
        "version": f"1.2.{n % 9}.{n}", "smartphone_model": f"Phone {n}", "name": f"Thing {n}",
        "product_name": f"Claire Lamp {n}", "company_name": f"Weber & Co {n}", "brand_name": "Anna",
        "website": f"https://www.example.com/{n}", "path": f"/files/{n}", "file_name": f"a{n}.txt",
        "vat_number": f"DE{123456789 + n}", "phone_code": f"+{n}", "bezeichnung": f"Schraube M{n}",
        "nom": last if table == "utilisateurs" else f"Objet {n}", "nm": f"Gizmo {n}",
        "sku": f"SKU-{n:06d}", "state": "shipped", "email_template": "welcome",
        "phone_type": "mobile",
        "country": "Germany", "host_name": f"web{n}.internal", "iso": "DE", "status": "offen",
    }  # fmt: skip
    if column in known:
        return known[column]
    if "dat" in column or column in ("dob", "生年月日", "seinengappi"):
        return f"{1950 + n % 50}-0{n % 9 + 1}-1{n % 9}"
    if column.endswith(("_am", "_at")) or column in ("crtd", "happened"):
        return f"2026-01-0{n % 9 + 1} 10:00:00"
    return n


def card(n: int) -> str:
    """A number with a check digit (Luhn) that no bank gave out."""
    digits = f"4{n:014d}"
    for check in "0123456789":
        odd = sum(int(d) for d in (digits + check)[-1::-2])
        if (odd + sum(sum(divmod(2 * int(d), 10)) for d in (digits + check)[-2::-2])) % 10 == 0:
            return digits + check
    raise AssertionError


def iban(n: int) -> str:
    bban = f"37040044{n:010d}"
    return f"DE{98 - int(bban + '131400') % 97:02d}{bban}"


def nir(n: int) -> str:
    number = f"1{80 + n % 20}0{n % 9 + 1}75{n:06d}"
    return f"{number}{97 - int(number) % 97:02d}"


def steuer_id(n: int) -> str:
    """§ 139b AO, ISO/IEC 7064 mod 11,10: one digit comes twice."""
    digits = list("1234567890")
    digits[-1] = digits[n % 9]
    digits = digits[n % 9 :] + digits[: n % 9]
    if digits[0] == "0":
        digits = digits[1:] + digits[:1]
    product = 10
    for digit in digits:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return "".join(digits) + str((11 - product) % 10)
