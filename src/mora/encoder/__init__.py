"""The aligned model: mobility encoder, modality heads, loss and training loop."""
