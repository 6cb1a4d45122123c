"""``vaultlayer doctor``: what is wrong with a vault, before its first request and in CI.

::

    finding.py       what a check finds
    examining.py     all checks, in their order
    declarations.py  what the models declare and the policies explain
    application.py   how the application is set up: engines, loggers, error reports
    standing.py      what has run out or waits: agreements, emergencies, shadow mode
    storage.py       the database's columns and a sample of what is in them
    parts.py         the log, its sinks, the key provider
"""

from vaultlayer.doctor.examining import examine, examine_settings
from vaultlayer.doctor.finding import Finding

__all__ = ["Finding", "examine", "examine_settings"]
