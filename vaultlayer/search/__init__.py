"""Finding rows by sealed values without opening any: blind indexes."""
