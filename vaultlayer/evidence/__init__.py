"""Evidence: which controls of which catalogues this vault can show to work, and by what."""
