"""`python -m contractapp.server module:name`: serves an application."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from uvicorn.importer import ImportFromStringError

from contractapp import ContractError
from contractapp.server.processes import listen, load, serve
from contractapp.server.supervisor import NotShareable, available_cores, require_shareable


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. If serving cannot start, returns 1 and prints a sentence on the standard error."""
    parser = ArgumentParser(prog="contractapp.server", description="Serve an application over HTTP/1.1.")
    parser.add_argument(
        "application", metavar="module:name", help="the application, or a function without arguments that returns it"
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 selects a free port (default: %(default)s)")
    parser.add_argument(
        "--workers", type=number, default=1, help="the number of processes; auto: one per core (default: %(default)s)"
    )
    parser.add_argument(
        "--preload",
        action="store_true",
        help="make the application once, before the processes are forked: they start at once and share its memory, but "
        "it must not start threads or open connections before it serves",
    )
    parser.add_argument(
        "--log-level", default="info", choices=["debug", "info", "warning", "error"], help="(default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    try:
        application = load(given.application)
        if given.preload and given.workers > 1:
            require_shareable()
        listener = listen(given.host, given.port)
    except (ContractError, ImportFromStringError, NotShareable, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    host = f"[{given.host}]" if ":" in given.host else given.host
    sys.stdout.write(f"Listening on http://{host}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    # Otherwise each of several processes makes its own application; loading it above has shown that this works.
    served = application if given.workers == 1 or given.preload else given.application
    serve(served, listener, workers=given.workers, log_level=given.log_level)
    return 0


def number(text: str) -> int:
    """A number of processes; argparse shows the name of this function in its message."""
    return available_cores() if text == "auto" else int(text)


if __name__ == "__main__":
    sys.exit(main())
