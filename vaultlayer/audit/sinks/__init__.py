"""Where records go beside the local log: stdout, a table, syslog, and what adapters add.

``sink`` says what a sink is, ``opening`` finds it by its URL; ``delivery`` gives each a bounded
queue and a thread of its own, ``group`` is all of them; ``formats`` maps records to OCSF and ECS.
"""
