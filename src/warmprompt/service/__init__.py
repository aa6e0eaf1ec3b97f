"""The HTTP service: rankings of a trained model for an application, in real time."""
