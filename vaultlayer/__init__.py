"""Field encryption for SQLAlchemy that decides and records every read."""

__version__ = "0.1.0"
