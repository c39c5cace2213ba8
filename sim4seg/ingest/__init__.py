"""From raw files to shards, manifest and tokenizer."""
