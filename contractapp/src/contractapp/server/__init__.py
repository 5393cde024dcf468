"""A server for `ContractApp`: uvicorn on uvloop and httptools, held to HTTP/1.1 exactly, one process or several."""

from contractapp.server.processes import listen, serve

__all__ = ["listen", "serve"]
