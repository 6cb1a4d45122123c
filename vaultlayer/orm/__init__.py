"""Where vaultlayer meets SQLAlchemy: types, attributes, sessions, statements."""
