"""The handlers of openapi.yaml, for notes in memory. The contract defines paths, limits and statuses."""

from itertools import count, islice
from pathlib import Path
from threading import Lock
from typing import TypedDict

from contractapp import ContractApp, NotFound, Problem


class NewNote(TypedDict):
    """The body of `create_note`; it is checked before the handler is called."""

    text: str


class Note(NewNote):
    """A note in a response."""

    id: int


class NotesFull(Problem):
    """409: the maximum number of notes is stored."""

    status = 409
    type = "urn:problem:notes-full"
    title = "Notes full"
    default_detail = "No more notes can be stored. Delete one first."


class Notes:
    """The notes of one application, with its handlers; thread-safe."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._notes: dict[int, Note] = {}
        self._ids = count(1)
        self._lock = Lock()

    def list_notes(self, limit: int = 20) -> list[Note]:
        with self._lock:
            return list(islice(self._notes.values(), limit))

    def create_note(self, body: NewNote) -> tuple[Note, int, dict[str, str]]:
        with self._lock:
            if len(self._notes) >= self._capacity:
                raise NotesFull
            note = Note(id=next(self._ids), text=body["text"])
            self._notes[note["id"]] = note
        return note, 201, {"Location": f"/v1/notes/{note['id']}"}

    def get_note(self, note_id: int) -> Note:
        with self._lock:
            if note_id not in self._notes:
                raise NotFound("There is no such note.")
            return self._notes[note_id]

    def delete_note(self, note_id: int) -> tuple[None, int]:
        with self._lock:
            if self._notes.pop(note_id, None) is None:
                raise NotFound("There is no such note.")
        return None, 204


def create_app(capacity: int = 1000) -> ContractApp:
    """The application; `capacity` is the maximum number of notes."""
    notes = Notes(capacity)
    handlers = (notes.list_notes, notes.create_note, notes.get_note, notes.delete_note)
    app = ContractApp(__name__, strict_validation=True, validate_responses=True)
    app.add_api(Path(__file__).with_name("openapi.yaml"), handlers={handler.__name__: handler for handler in handlers})
    return app
