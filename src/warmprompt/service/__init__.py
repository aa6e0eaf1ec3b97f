"""The HTTP service: a trained model beside an application, in real time."""
