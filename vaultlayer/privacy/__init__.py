"""People's rights: consent and objection, restriction, emergencies under review.

::

    consent.py    vault.consent: the ledger of what people agreed to and refused
    elevation.py  vault.elevations: roles taken on for a while, and their review
"""
