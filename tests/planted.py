"""Words that are planted, and looked for in the bytes of files and records."""

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

_CHUNK_BYTES = 4 << 20


def forms_of(word: str) -> set[bytes]:
    """A word as it may be written down: as it is and in small letters, in JSON with escapes, in an
    address, in base64 at any place, in hex, and two bytes a letter."""
    found = set[bytes]()
    for told in {word, word.lower()}:
        in_json = json.dumps(told)[1:-1]
        raw = told.encode()
        found |= {raw, in_json.encode(), json.dumps(in_json)[1:-1].encode()}
        found |= {quote(told).encode(), quote(told, safe="").encode(), quote_plus(told).encode()}
        found |= {raw.hex().encode(), raw.hex().upper().encode(), told.encode("utf-16-le")}
        for lead in range(3):
            # letters of base64 that say nothing of what stands before and behind
            whole = base64.b64encode(bytes(lead) + raw)
            found.add(whole[(lead * 8 + 5) // 6 : (lead + len(raw)) * 8 // 6])
    return found


def found_in(content: bytes, words: Iterable[str]) -> list[str]:
    """The words of which a form is in `content`."""
    return [word for word in words if any(form in content for form in forms_of(word))]


def files_with(folder: Path, words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each file below `folder` with each word that is in its bytes; what goes meanwhile is not."""
    forms = {word: forms_of(word) for word in words}
    overlap = max(len(form) for each in forms.values() for form in each)
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        found = set[str]()
        with path.open("rb") as file:
            tail = b""
            while chunk := file.read(_CHUNK_BYTES):
                content = tail + chunk
                found |= {w for w, each in forms.items() if any(form in content for form in each)}
                tail = content[-overlap:]
        for word in sorted(found):
            yield str(path.relative_to(folder)), word
