"""The aligned model: mobility encoder, modality heads and loss."""
