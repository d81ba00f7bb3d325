"""Lists of photos as the source of a run: keys, lines with `source-ref`, an S3 Inventory."""
