"""Made-up cities and GPS traces whose answers are known."""
