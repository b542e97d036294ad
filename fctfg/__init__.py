"""fctfg: train and run talking faces made of interchangeable parts."""

__version__ = "0.1.0"
