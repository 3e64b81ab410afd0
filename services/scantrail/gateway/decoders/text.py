"""Text over TCP: Cognex DataMan, Keyence SR, SICK Lector and CLV, Datalogic, Zebra FS.

One decoder per connection, since it remembers what a segment left unfinished. It never raises on
bytes, whatever they are, and holds at most one frame and one segment.
"""

import re
from typing import Final

from scantrail.gateway.decoders.outcome import Control, Heartbeat, Invalid, NoRead, Outcome, Read
from scantrail.gateway.readers import DEFAULT_END, ReaderSettings

_STX: Final = b"\x02"
_ETX: Final = b"\x03"
_AIM: Final = re.compile(r"\][A-Za-z][0-9A-Za-z]")

#: Replies to commands: Keyence `OK,LON` and `ER,LON,01`, Cognex `||0:123[0]`, SICK `sRA LFErec`.
_COMMAND_REPLY: Final = re.compile(r"(?:OK|ER),|\|\||s(?:RA|AN|EA)(?: |$)")


class TextDecoder:
    """Outcomes of one connection to `reader`, segment by segment."""

    def __init__(self, reader: ReaderSettings) -> None:
        self._reader = reader
        self._telnet = _TelnetFilter()
        self._buffer = bytearray()
        self._searched = 0
        self._is_inside = not reader.start
        self._is_too_long = False
        self._end_tails: tuple[bytes, ...] = ()

        ends = reader.end
        start = reader.start
        if not start and ends == DEFAULT_END:
            ends = (*ends, _ETX)
            start = _STX
        # A start of control characters stands in no code: one inside a frame begins the next.
        is_start_certain = bool(start) and max(start) < 0x20
        self._ends = tuple(sorted(ends, key=len, reverse=True))
        self._marker = re.compile(
            b"(?P<end>%s)" % b"|".join(map(re.escape, self._ends))
            + (b"|" + re.escape(start) if is_start_certain else b"")
        )
        self._marker_length_max = max(len(self._ends[0]), len(start) if is_start_certain else 0)

    def feed(self, data: bytes) -> list[Outcome]:
        """What the next bytes of the connection, in order, bring to an end; often nothing.

        Invalid has these reasons: frame_too_long, unfinished_frame (a start before its end),
        bad_encoding, pattern_mismatch, empty_read.
        """
        self._buffer += self._telnet.strip(data)
        outcomes: list[Outcome] = []
        position = 0
        while (after := self._past_end_tail(position)) is not None:
            position = after
            if not self._is_inside:
                position, self._is_inside = self._find_start(position)
                if not self._is_inside:
                    break
            marker = self._marker.search(self._buffer, max(position, self._searched))
            if marker is None:
                position = self._bound(position, outcomes)
                break
            self._take(bytes(self._buffer[position : marker.start()]), marker, outcomes)
            position = self._searched = marker.end()
        del self._buffer[:position]
        self._searched = max(0, len(self._buffer) - self._marker_length_max + 1)
        return outcomes

    def end(self) -> list[Outcome]:
        """What the connection's end leaves: a frame without its end is Invalid, unfinished_frame,
        since half a code is another code. The decoder is used up."""
        frame = bytes(self._buffer)
        self._buffer.clear()
        if not self._is_inside or self._is_too_long or not frame.strip():
            return []
        return [Invalid("unfinished_frame", frame)]

    def _past_end_tail(self, position: int) -> int | None:
        """Past the rest of an end of which a shorter one was taken at once (LF after CR); None
        while that rest may still be coming."""
        for tail in self._end_tails:
            if self._buffer.startswith(tail, position):
                self._end_tails = ()
                return position + len(tail)
        rest = self._buffer[position : position + self._marker_length_max]
        if rest and any(tail.startswith(rest) for tail in self._end_tails):
            return None
        if rest:
            self._end_tails = ()
        return position

    def _find_start(self, position: int) -> tuple[int, bool]:
        """Past the start of the next frame, or up to where it may still begin."""
        start = self._reader.start
        found = self._buffer.find(start, position)
        if found >= 0:
            return found + len(start), True
        return max(position, len(self._buffer) - len(start) + 1), False

    def _bound(self, position: int, outcomes: list[Outcome]) -> int:
        """Give up a frame that is too long before its end came."""
        overlap = self._marker_length_max - 1
        if len(self._buffer) - position <= self._reader.max_frame + overlap:
            if not self._is_too_long:
                return position
        elif not self._is_too_long:
            cut = bytes(self._buffer[position : position + self._reader.max_frame])
            outcomes.append(Invalid("frame_too_long", cut))
            self._is_too_long = True
        return max(position, len(self._buffer) - overlap)

    def _take(self, frame: bytes, marker: re.Match[bytes], outcomes: list[Outcome]) -> None:
        """Judge a frame by what stands behind it: an end, or the start of the next one."""
        end = marker["end"]
        was_too_long, self._is_too_long = self._is_too_long, False
        if end is not None:
            self._is_inside = not self._reader.start
            self._end_tails = tuple(
                longer[len(end) :]
                for longer in self._ends
                if len(longer) > len(end) and longer.startswith(end)
            )
        if was_too_long:
            return
        if len(frame) > self._reader.max_frame:
            outcomes.append(Invalid("frame_too_long", frame[: self._reader.max_frame]))
        elif end is not None:
            outcomes.extend(self._outcomes_of(frame))
        elif frame.strip():
            outcomes.append(Invalid("unfinished_frame", frame))

    def _outcomes_of(self, frame: bytes) -> list[Outcome]:
        """What one whole frame says; nothing when it is empty."""
        try:
            text = frame.decode(self._reader.encoding).strip(" \t")
        except UnicodeDecodeError:
            return [Invalid("bad_encoding", frame)]
        if not text:
            return []
        if text in self._reader.no_read:
            return [NoRead()]
        if self._is_heartbeat(text):
            return [Heartbeat()]
        if _COMMAND_REPLY.match(text):
            return [Control(text)]
        scanner_no = order = None
        if self._reader.pattern is not None:
            match = self._reader.pattern.fullmatch(text)
            if match is None or match["read"] is None:
                return [Invalid("pattern_mismatch", frame)]
            groups = match.groupdict()
            text, scanner_no = groups["read"], groups.get("scanner_no")
            order = (groups.get("order") or "").strip() or None
        codes = text.split(self._reader.split) if self._reader.split else [text]
        outcomes = [
            self._code(code, scanner_no, order) for each in codes if (code := each.strip(" \t"))
        ]
        return outcomes or [Invalid("empty_read", frame)]

    def _is_heartbeat(self, text: str) -> bool:
        pattern = self._reader.heartbeat_pattern
        return text in self._reader.heartbeat or (
            pattern is not None and pattern.fullmatch(text) is not None
        )

    def _code(self, code: str, scanner_no: str | None, order: str | None) -> Outcome:
        if code in self._reader.no_read:
            return NoRead(scanner_no)
        for alias in self._reader.gs_aliases:
            code = code.replace(alias, "\x1d")
        aim = None
        if _AIM.match(code):
            aim, code = code[:3], code[3:]
        return Read(code, aim=aim, scanner_no=scanner_no, order=order)


class _TelnetFilter:
    """Takes telnet commands (RFC 854, 855) out of a stream; FF FF is a byte FF of the data."""

    _SUBNEGOTIATION_LENGTH_MAX: Final = 256

    def __init__(self) -> None:
        self._pending = b""

    def strip(self, data: bytes) -> bytes:
        """`data` without commands; one that is cut off waits for the next call."""
        if not self._pending and 0xFF not in data:
            return data
        data, self._pending = self._pending + data, b""
        plain = bytearray()
        position = 0
        while (command := data.find(0xFF, position)) >= 0:
            plain += data[position:command]
            length = self._length(data[command : command + self._SUBNEGOTIATION_LENGTH_MAX + 4])
            if length is None:
                self._pending = data[command:]
                return bytes(plain)
            if data[command + 1] == 0xFF:
                plain.append(0xFF)
            position = command + length
        plain += data[position:]
        return bytes(plain)

    def _length(self, command: bytes) -> int | None:
        """Bytes of the command at the head of `command`; None when it is not whole yet."""
        if len(command) < 2:
            return None
        if 0xFB <= command[1] <= 0xFE:
            return 3 if len(command) >= 3 else None
        if command[1] != 0xFA:
            return 2
        end = command.find(b"\xff\xf0", 2)
        if end >= 0:
            return end + 2
        return 2 if len(command) == self._SUBNEGOTIATION_LENGTH_MAX + 4 else None
