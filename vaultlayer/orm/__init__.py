"""Where vaultlayer meets SQLAlchemy; docs/sqlalchemy.md lists what works."""
