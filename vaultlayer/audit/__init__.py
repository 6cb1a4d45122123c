"""The record of every read and write: journal first, then the log.

A value is released only after its slot is in the journal (``journal``), a mapped file
that outlives the process. When an access closes, its slots become a few events in the
log (``log``), a chain of canonical JSON lines (``event``). ``recover`` finishes what a
crashed process left; ``verify`` reads a log and says what was tampered with.
``docs/audit.md`` gives both formats byte by byte.
"""
