"""Compares a contract with a released one and names each change in a sentence.

A change breaks clients when a request that was valid is refused, or when a response is possible that the old contract
did not allow. Schemas are compared by the values that they accept, not by their text. A change whose effect cannot be
decided counts as breaking. A new or removed error status and a new operation do not break clients.

Both contracts must be OpenAPI 3.0; 3.1 and Swagger 2 are refused with a sentence. A reference into another file is not
followed: a change in that file is not detected, and a change of the reference counts as breaking.
"""

from contractapp.compat.command import last_release, main
from contractapp.compat.operations import Change, compare, major

__all__ = ["Change", "compare", "last_release", "main", "major"]
