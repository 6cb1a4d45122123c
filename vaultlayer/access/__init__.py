"""Who may do what with which personal data, and for which purpose.

::

    principal.py   Principal: somebody whom a verified token (or the application) vouches for
    tokens.py      TokenVerifier: a JWT in, a Principal out
    names.py       the names a policy may use
    bundle.py      read_bundle(): the policy folder, read whole, checked line by line
    rules.py       roles.csv, line by line
    words.py       categories.toml, purposes.toml and tests.toml, table by table
    casbin_rules.py  the role rules inside a Casbin enforcer of their own
    snapshot.py    Snapshot.decide(): allow, mask or deny, with a stable reason
    check.py       what `vaultlayer policy check` finds wrong in a valid bundle
    masks.py       what a masked value looks like
"""
