"""One case of a list: its images, what the user said about it, and what its files were like."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

OPEN, SEGMENTED, CORRECTED, REVIEWED, REJECTED = "open", "segmented", "corrected", "reviewed", "rejected"
STATES = (OPEN, SEGMENTED, CORRECTED, REVIEWED, REJECTED)
DONE = (CORRECTED, REVIEWED, REJECTED)  # the user has dealt with these
RATINGS = range(1, 6)
BESIDE, FOLDER, BIDS = PLACES = ("beside", "folder", "bids")  # where results go, see `places`


@dataclass(frozen=True)
class FileState:
    """What a file, or all files of a folder, were like: bytes, time of the last change (ns), and a hash."""

    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class ListedCase:
    """A case; `name` is unique in its list and the name of its result. `files` are its images, one a channel; `series`
    is the UID of a DICOM series in a folder of several.

    `user` saved it last, at `time` (ISO 8601, UTC); `seconds` were spent on it. `model` is the family of the model that
    segmented it, `seeds` the number of its SEED slices. The states of the files are None until they are known.

    Raises: InputError for a name that no file can have, another state, or a rating that is not from 1 to 5.
    """

    name: str
    files: tuple[str, ...]
    series: str = ""
    state: str = OPEN
    rating: int | None = None
    note: str = ""
    user: str = ""
    time: str = ""
    seconds: float = 0.0
    model: str = ""
    seeds: int = 0
    image_file: FileState | None = None
    result_file: FileState | None = None

    def __post_init__(self) -> None:
        check_name(self.name, "the case list")
        if not self.files:
            raise InputError(f"Expected an image of the case {self.name}, found none. Make the list again.")
        if self.state not in STATES:
            raise InputError(
                f"Expected {', '.join(STATES)} as the state of {self.name}, found {self.state!r}. Correct it."
            )
        if self.rating is not None and self.rating not in RATINGS:
            raise InputError(f"Expected a rating of {self.name} from 1 to 5, found {self.rating}. Correct it.")

    @property
    def images(self) -> tuple[Path, ...]:
        """The images, one a channel."""
        return tuple(map(Path, self.files))  # made when asked for: ten thousand of them take half a second

    @property
    def is_done(self) -> bool:
        """True where the user has dealt with the case."""
        return self.state in DONE


def check_name(name: str, where: object) -> str:
    """The name of a case, which is that of its result. Raises: InputError where no file can have it."""
    if not name or name[0] == "." or "/" in name or "\\" in name or ":" in name or not name.isprintable():
        raise InputError(f"Expected a case's name that a file can have in {where}, found {name!r}. Rename it.")
    return name
