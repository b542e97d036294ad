"""Faces by S3FD and 68 landmarks by FAN, through face-alignment."""
