"""Everything on disk: checkpoints in, the analysis run, merged checkpoints out."""
