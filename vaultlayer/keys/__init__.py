"""Keys: provider key → KEK (tenant, region, epoch) → subject key (tenant, subject, generation).

``provider`` says what holds the provider key, ``local`` is the keyring file, ``tables`` where
the wrapped keys lie, ``records`` how they are wrapped, ``keyring`` what a session asks for.
"""
