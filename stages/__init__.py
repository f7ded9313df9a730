"""The stages of dvc.yaml, one module each, and the modules that they share."""
