"""Finding rows by sealed values, with none of them opened."""
