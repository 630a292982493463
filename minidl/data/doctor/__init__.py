"""The data set doctor: damaged files, duplicates and train/test leaks."""
