"""The dataset doctor: damaged files, duplicates and train/test leaks."""
