"""Faces by YuNet, through OpenCV."""
