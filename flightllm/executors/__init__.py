"""Executors: things that run a package. They agree bit for bit on every value that reaches memory."""
