"""Learning from Embedding Linear Projections (LELP), in JAX."""
