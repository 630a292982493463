"""The registry of official weight files and verified downloads."""
