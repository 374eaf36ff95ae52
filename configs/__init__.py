"""Config files: one per method; the part after the colon names the scale."""
