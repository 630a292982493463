"""Shared utilities: exceptions, seeding, serialization, argument checks, plotting."""
