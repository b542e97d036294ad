"""`python -m fctfg`, which is also what torchrun runs."""

from .cli import main

main(prog_name="fctfg")
