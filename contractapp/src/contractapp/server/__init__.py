"""A server for `ContractApp`: uvicorn with uvloop and httptools and with stricter HTTP/1.1, in one or more processes.

On the command line, `python -m contractapp.server module:name` serves an application; `--help` lists the options.
"""

from contractapp.server.processes import listen, serve
from contractapp.server.supervisor import available_cores, can_fork

__all__ = ["available_cores", "can_fork", "listen", "serve"]
