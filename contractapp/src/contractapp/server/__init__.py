"""A server for `ContractApp`: uvicorn on uvloop and httptools, held to HTTP/1.1 exactly, one process or several.

On the command line, `python -m contractapp.server module:name` serves an application; `--help` tells the options.
"""

from contractapp.server.processes import listen, serve

__all__ = ["listen", "serve"]
