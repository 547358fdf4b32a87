"""What is in a ring when: words that have come, and words that have been popped (rtl/memory/ring.sv), with the cycles of both."""

from __future__ import annotations

from collections import deque

from flightllm.cycles.kernel import Kernel, Signal

#: words of 8 bytes in a beat
BEAT_WORDS = 8


class Ring:
    """One queue of the rings of all channels of a core, which pop in lock step: a word is there when the slowest channel has it.

    Attributes:
        size: words. coming: words whose cycles are known. arrived, popped: set when that grows, when words have been popped that `room_for`
        missed.
    """

    def __init__(self, kernel: Kernel, words: int) -> None:
        self.size, self.coming = words, 0
        self.arrived, self.popped = Signal(kernel), Signal(kernel)
        #: pieces that have come: first word, word behind the last, cycles in which a pop may take its first and its last beat
        self._pieces: deque[tuple[int, int, float, float]] = deque()
        self._come = 0  # words that have come by the cycle that was last asked about
        self._pops: deque[tuple[int, float]] = deque()  # words popped in all, cycle
        self._room: tuple[int, float] = (0, 0.0)
        self._missed = 0  # words that whoever asked for room last waits for

    def put(self, words: int, first: float, last: float) -> None:
        """Words that come evenly, behind all others; pops may take them from cycle `first` (the first beat) to `last` on."""
        self._pieces.append((self.coming, self.coming + words, first, last))
        self.coming += words
        if self.arrived.waiting:
            self.arrived.set()

    def time_of(self, word: int) -> float:
        """The first cycle in which words up to `word` (exclusive) can be popped; they must be coming. Ask in order."""
        if word <= self._come:
            return 0.0
        pieces = self._pieces
        while pieces[0][1] < word:
            pieces.popleft()
        begin, end, first, last = pieces[0]
        beats = (end - begin - 1) // BEAT_WORDS
        return last if not beats else first + (last - first) * ((word - 1 - begin) // BEAT_WORDS) / beats

    def come(self, words: int, time: float) -> bool:
        """Whether words up to `words` (exclusive) have all come by this cycle; False, too, if the beats around the last one have not. Ask in order."""
        pieces = self._pieces
        while self._come < words and pieces and pieces[0][3] <= time:
            self._come = pieces.popleft()[1]
        return self._come >= words

    def pop(self, words: int, time: float) -> None:
        """By this cycle, which may be one to come, `words` have been popped in all."""
        self._pops.append((words, time))
        if self.popped.waiting and words >= self._missed:
            self.popped.set()

    def room_for(self, words: int) -> float | None:
        """The cycle in which words up to `words` (in all) fit, None if the pop that makes room is not known yet. Ask in order."""
        wanted = words - self.size
        pops = self._pops
        while self._room[0] < wanted:
            if not pops:
                self._missed = wanted
                return None
            self._room = pops.popleft()
        return self._room[1]
