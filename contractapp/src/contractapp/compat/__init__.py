"""Compares a contract with a released one and names each change in a sentence.

A change breaks clients when a request that was good is refused, or when an answer comes that the old contract did not
allow: judged by containment of the schemas, not by their text. A change whose effect cannot be decided counts as
breaking. An error status may come and go, and an operation that is new breaks nobody.

Both contracts are OpenAPI 3.0: 3.1 and Swagger 2 are refused with a sentence. A reference into another file is not
followed: a change in that file is not seen, and a change of the reference counts as breaking.
"""

from contractapp.compat.command import last_release, main
from contractapp.compat.operations import Change, compare, major

__all__ = ["Change", "compare", "last_release", "main", "major"]
