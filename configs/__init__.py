"""Method configs: one file a method, the part after the colon names the scale."""
