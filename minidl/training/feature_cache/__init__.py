"""The cache of features that a frozen base computes."""
