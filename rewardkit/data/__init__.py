"""Groups on disk and in memory: records, shards, index, order, batches, formats. No model is known here."""
