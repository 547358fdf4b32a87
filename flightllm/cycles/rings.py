"""What is in a ring when: words that have come, and words that have been popped (rtl/memory/ring.sv)."""

from __future__ import annotations

from collections import deque

from flightllm.cycles.kernel import Kernel, Signal

#: cycles from the beat at the ring to the word that can be popped
WRITE = 1
#: words in a beat
BEAT_WORDS = 8


class Ring:
    """One ring on all channels of a core, which pop in lock step: a word is there when the slowest channel has it.

    Attributes:
        coming: words whose times are known. popped: words. changed: set with either.
    """

    def __init__(self, kernel: Kernel, words: int) -> None:
        self._kernel, self.size = kernel, words
        self.coming = self.popped = 0
        self.reserved = 0
        self.arrived, self.room = Signal(kernel), Signal(kernel)
        #: pieces that have come: end of the piece in words, words, cycles of its first and last beat
        self._pieces: deque[tuple[int, int, float, float]] = deque()

    def free(self) -> int:
        """Words of room that nobody has asked for."""
        return self.size - (self.reserved - self.popped)

    def reserve(self, words: int) -> None:
        """Room for words that will come."""
        self.reserved += words

    def put(self, words: int, first: float, last: float) -> None:
        """Words that come evenly in the cycles from `first` to `last`, behind all others."""
        self.coming += words
        self._pieces.append((self.coming, words, first, last))
        self.arrived.set()

    def time_of(self, word: int) -> float:
        """The cycle in which words up to `word` (exclusive) can be popped; they must be coming. Ask in order."""
        pieces = self._pieces
        while pieces[0][0] < word:
            pieces.popleft()
        end, words, first, last = pieces[0]
        beats = -(-words // BEAT_WORDS)
        if beats <= 1:
            return last + WRITE
        beat = (word - 1 - (end - words)) // BEAT_WORDS
        return first + (last - first) * beat / (beats - 1) + WRITE

    def pop(self, words: int) -> None:
        """Words leave in this cycle."""
        self.popped += words
        self.room.set()
