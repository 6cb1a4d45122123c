"""Moving a field from its plaintext column into a sealed one, while the application runs.

::

    stages.py      how far each field has come: one row of the vault's own tables, as read by all
    migrations.py  ``vault.migrations``: the steps, each alone, recorded and proved
    expanding.py   the sealed columns beside the plaintext, and a subject for every row
    filling.py     plaintext → sealed, and what differs
    restoring.py   sealed → plaintext: the way back, and the way out
    contracting.py the plaintext column dropped and scrubbed
"""
