"""fctfg: train and run talking faces made of interchangeable parts."""
