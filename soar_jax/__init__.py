"""soar_jax: a teacher model writes its own curriculum, in JAX (arXiv 2601.18778)."""
