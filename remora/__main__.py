"""`python -m remora`."""

from remora.cli import main

main()
