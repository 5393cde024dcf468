"""`python -m api` is the command `api`."""

from api.cli import main

main(prog_name="api")
