"""Evaluation of trained classifiers: decisions, calibration, OOD detection, saliency maps."""
