"""Where records go beside the local log: stdout, a table, syslog, and what adapters add.

``delivery`` gives each sink a bounded queue and a thread of its own, ``group`` is all of them; ``sink`` says what a sink is
and finds it by its URL; ``formats`` maps records to OCSF and ECS.
"""
