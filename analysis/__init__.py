"""Mathematics of model merging on tensors: task vectors, spectra, global bases, overlap types and merges."""
