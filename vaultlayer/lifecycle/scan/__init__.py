"""Finding the personal data in a database that knows nothing of vaultlayer yet."""
