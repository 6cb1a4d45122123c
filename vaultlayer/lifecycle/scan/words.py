"""What personal columns, and tables about people, are called: a vocabulary, no logic.

Words are written in lower case without accents, as ``names.py`` brings column names into.
A word of several parts ("zip code") is looked for part by part, and also run together.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of personal data: what it is called, and the pattern its values should have.

    ``weak`` words are personal only in a table about people (a name, a city).
    """

    name: str
    category: str
    says: str
    words: frozenset[str]
    weak: frozenset[str] = frozenset()
    pattern: str = ""


def _words(text: str) -> frozenset[str]:
    return frozenset(word.strip() for word in text.split(",") if word.strip())


KINDS = (
    Kind(
        "email", "contact.email", "an e-mail address",
        _words("email, e mail, mail, eml, email address, mail address, mailadresse, courriel, mel, "
               "correo, correo electronico, posta elettronica, meru, "
               "メールアドレス, メール, 邮箱, "
               "电子邮件, 이메일"),
        pattern="email",
    ),
    Kind(
        "phone", "contact.phone", "a telephone number",
        _words("phone, telephone, tel, telefon, telefono, telefone, telefoon, mobile, mob, cell, "
               "cellphone, handy, handynummer, telefonnummer, rufnummer, mobilnummer, mobil, fax, "
               "telefax, msisdn, portable, phone number, ph, denwa, denwa bango, denwa bangou, "
               "keitai, gsm, whatsapp, movil, celular, 電話番号, 電話, 携帯, 手机, 手机号, 전화"),
        pattern="phone",
    ),
    Kind(
        "name", "identity.name", "a person's name",
        _words("first name, firstname, fname, given name, forename, last name, lastname, lname, "
               "surname, family name, middle name, maiden name, full name, fullname, birth name, "
               "vorname, nachname, familienname, zuname, geburtsname, vollname, ansprechpartner, "
               "prenom, nom famille, nom de famille, nom naissance, nom usage, nom complet, "
               "apellido, apellidos, cognome, sobrenome, voornaam, achternaam, imie, nazwisko, "
               "fornamn, efternamn, shimei, namae, myoji, furigana, contact name, contact person, "
               "cardholder, cust name, cust nm, customer name, client name, kundenname, "
               "patient name, user real name, real name, emergency contact, recipient name, "
               "empfaenger, 氏名, 名前, 姓名, 氏名カナ, フリガナ, 성명, familiya, otchestvo"),
        weak=_words("name, nom, nombre, nome, naam, nm, sei, mei, kana, 姓, 名, initials, ten, "
                    "display name, nickname, name1, titulaire, inhaber, holder"),
        pattern="name",
    ),
    Kind(
        "birth", "identity.birth_date", "a date of birth",
        _words("birth date, birthdate, birthday, bday, dob, date of birth, born, born on, "
               "birth year, year of birth, geburtsdatum, gebdat, geb datum, geburtstag, "
               "geburtsjahr, geb, date naissance, date de naissance, naissance, ddn, "
               "fecha nacimiento, fecha de nacimiento, data nascita, data di nascita, "
               "data nascimento, geboortedatum, data urodzenia, seinengappi, tanjobi, "
               "生年月日, 誕生日, 出生日期, 生日, 생년월일, dt birth, birth dt"),
        pattern="date",
    ),
    Kind(
        "address", "contact.address", "a postal address",
        _words("address, addr, adr, adresse, adres, anschrift, street, street address, strasse, "
               "str, hausnummer, hausnr, house number, wohnort, postal code, postcode, "
               "postleitzahl, plz, zip, zip code, zipcode, rue, voie, code postal, direccion, "
               "domicilio, codigo postal, indirizzo, endereco, logradouro, cep, straat, "
               "huisnummer, ulica, kod pocztowy, jusho, juusho, "
               "yubin bango, yuubin bangou, yubin, 住所, "
               "郵便番号, 地址, 邮编, 주소, postal cd, post code, apartment, lieferadresse, "
               "rechnungsadresse"),
        weak=_words("city, town, ort, stadt, ville, ciudad, citta, cidade, plaats, miasto, state, "
                    "province, region, county, country, land, pays, pais, bundesland, kanton, "
                    "commune, prefecture, todofuken, shikuchoson, 都道府県, 市区町村, 城市, cp, "
                    "cap, localite"),
        pattern="text",
    ),
    Kind(
        "document", "identity.document", "an identity document or national number",
        _words("ssn, social security, social security number, sozialversicherungsnummer, svnr, "
               "sv nummer, steuer id, steueridentifikationsnummer, idnr, personalausweis, "
               "ausweisnummer, reisepass, passport, passport number, passport no, passeport, "
               "national id, national insurance, nino, nir, numero secu, num secu, "
               "securite sociale, numero securite sociale, dni, nie, "
               "nif, curp, rfc personal, cpf, "
               "rg numero, codice fiscale, bsn, pesel, personnummer, fodselsnummer, aadhaar, "
               "driving licence, driver license, drivers license, license number, fuehrerschein, "
               "permis conduire, tax id, tin, identity card, id card number, my number, "
               "kojin bango, マイナンバー, 個人番号, 旅券番号, 身份证, 身份证号, 주민등록번호"),
        pattern="document",
    ),
    Kind(
        "ip", "device.ip", "an internet address",
        _words("ip, ip address, ip addr, ipaddr, ipv4, ipv6, client ip, remote addr, remote ip, "
               "adresse ip, ip adresse, last login ip, x forwarded for, ipアドレス"),
        pattern="ip",
    ),
    Kind(
        "device", "device.configuration", "a device or its settings",
        _words("user agent, useragent, http user agent, mac address, mac addr, imei, imsi, "
               "device id, advertising id, idfa, gaid, push token, fingerprint, "
               "browser fingerprint"),
        pattern="device",
    ),
    Kind(
        "geo", "location", "a position",
        _words("latitude, longitude, lat, lng, lon, lat lng, latlng, geo, geom, geolocation, "
               "gps, gps position, coordinates, coords, koordinaten, breitengrad, laengengrad, "
               "position gps, last position, 緯度, 経度, ido, keido, geo lat, geo lng"),
        pattern="geo",
    ),
    Kind(
        "card", "financial.card", "a payment card",
        _words("card number, cardnumber, card no, cc number, cc num, ccnum, cc no, credit card, "
               "creditcard, pan, kreditkarte, kartennummer, kreditkartennummer, carte bancaire, "
               "numero carte, num carte, tarjeta, cvv, cvc, card expiry, カード番号, 卡号"),
        pattern="card",
    ),
    Kind(
        "bank", "financial", "a bank account",
        _words("iban, bank account, account number, kontonummer, konto nr, kontonr, rib, "
               "numero compte, num compte, bban, kouza bango, 口座番号, 银行卡号, salary, gehalt, "
               "salaire"),
        pattern="bank",
    ),
    Kind(
        "picture", "content.picture", "a picture",
        _words("avatar, portrait, profile picture, profile photo, passbild, signature image"),
        weak=_words("photo, picture, image, bild, foto, selfie, 写真"),
        pattern="picture",
    ),
    Kind(
        "text", "content.text", "a text somebody wrote",
        _words(""),
        weak=_words("message, comment, comments, remark, remarks, note, notes, body, bio, "
                    "about me, biography, nachricht, bemerkung, "
                    "bemerkungen, kommentar, notiz, notizen, "
                    "commentaire, observations, feedback, chat, memo, biko, 備考, 备注"),
        pattern="text",
    ),
    Kind(
        "trait", "identity", "something about the person",
        _words("gender, geschlecht, sexe, nationality, nationalitaet, staatsangehoerigkeit, "
               "nationalite, marital status, familienstand, religion, ethnicity, seibetsu, 性別, "
               "性别, user name, username, login name, benutzername, nutzername, identifiant"),
        weak=_words("sex, login, user, handle, age, race"),
        pattern="text",
    ),
    Kind(
        "usage", "usage.log", "what somebody did",
        _words("browsing history, search history, watch history"),
        weak=_words("url, path, page, referrer, referer, query, search term, request path, "
                    "request uri, uri"),
        pattern="text",
    ),
)  # fmt: skip

# Parts of an address that alone say little: they count beside another one.
PLACES = _words("state, province, region, county, country, land, pays, pais, cp, cap, kanton")

# A column of these names tells something about personal data, and is none.
ABOUT = _words(
    "id, type, kind, count, flag, verified, sent, at, on, enabled, status, template, subject, "
    "format, hash, token, bidx, opt, optin, subscribed, consent, valid, confirmed, preference, "
    "language, provider, domain, length, size, created, updated, "
    "bounced, code2, iso, typ, anzahl, "
    "version, hits, label, required, limit, days, quota"
)

# Tables, and first parts of a column's name, that are about things.
THINGS = _words(
    "product, products, item, items, article, articles, artikel, produit, produits, produkt, "
    "produkte, shohin, shouhin, 商品, category, categories, kategorie, genre, genres, track, "
    "tracks, album, albums, artist, artists, playlist, playlists, media, mediatype, country, "
    "countries, laender, pays, city, cities, currency, currencies, store, stores, shop, shops, "
    "warehouse, warehouses, branch, branches, filiale, filialen, lager, magasin, magasins, depot, "
    "company, companies, firma, firmen, entreprise, entreprises, societe, kaisha, brand, brands, "
    "marke, file, files, datei, setting, settings, permission, permissions, role, roles, "
    "migration, version, host, domain, event, class, table, column, model, models, department, "
    "departments, abteilung, project, projects, team, teams, plan, plans, tag, tags, region, "
    "regions, hotel, airport, airports, venue, venues, building, buildings, book, books, film, "
    "films, movie, movies, game, games, sku, server, servers, network, networks, job, queue, "
    "task, menu, report, template, templates, feature, features, kategorien, type, types, "
    "status, supplier company, org, organization, organisation, bank, group, groups, machine, "
    "sensor, sensors, part, parts, tax, unit, units, route, station, stations, parking"
)

# Tables about people.
PEOPLE = _words(
    "customer, customers, cust, client, clients, user, users, usr, employee, employees, emp, "
    "staff, person, persons, people, member, members, patient, patients, contact, contacts, "
    "student, students, teacher, teachers, guest, guests, passenger, passengers, driver, drivers, "
    "applicant, applicants, candidate, candidates, subscriber, subscribers, donor, donors, lead, "
    "leads, recipient, recipients, profile, profiles, account, accounts, tenant, resident, "
    "visitor, visitors, buyer, seller, author, kunde, kunden, kd, mitarbeiter, benutzer, nutzer, "
    "personen, mitglied, mitglieder, patienten, ansprechpartner, utilisateur, utilisateurs, "
    "employes, employe, salarie, salaries, personne, personnes, adherent, adherents, abonne, "
    "abonnes, usuario, usuarios, cliente, clientes, empleado, empleados, persona, personas, "
    "utente, utenti, clienti, dipendenti, klant, klanten, medewerker, kokyaku, shain, kaiin, "
    "kanja, riyousha, 顧客, 社員, 会員, 利用者, 患者, 用户, 客户, 员工, klient, pracownik"
)

# In a column's name these say that what follows is somebody's.
SOMEBODYS = _words(
    "billing, shipping, delivery, home, customer, client, user, employee, owner, recipient, "
    "sender, rechnung, rechnungs, liefer, lieferung, kunde, kunden, livraison, facturation, ship, "
    "bill, patient, guest, contact, emergency, buyer, kokyaku, member, cust, emp"
)

# Tables that repeat what is stored elsewhere.
REPEATING = _words(
    "log, logs, audit, history, historique, verlauf, protokoll, "
    "archive, archiv, archived, backup, "
    "bak, old, tmp, temp, copy, export, staging, stage, outbox, queue, event, events, import, "
    "journal, cache, snapshot, dump, session, sessions, rireki, 履歴, request, requests, visit, "
    "visits, activity, activities, trace"
)
