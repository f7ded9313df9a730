"""The stages of the pipeline in dvc.yaml, one module each, and the modules that they share."""
