"""Conversations: chunks, positions, limits, generation."""

import numpy as np
import pytest
from fake_device import FakeDevice, write_package

from flightllm.errors import FlightError
from flightllm.runtime.sampling import Sampler, SamplingOptions
from flightllm.runtime.session import Session


@pytest.fixture
def package(tmp_path):
    return write_package(tmp_path / "a")


@pytest.fixture
def new(package):
    def make(chunk=None):
        device = FakeDevice()
        device.load(package)
        return Session(device, package, chunk)

    return make


PROMPT = [(7 * i * i + 3) % 250 for i in range(29)]


def test_chunks_do_not_change_logits(new):
    whole = new(1).feed(PROMPT, logits=len(PROMPT))
    assert whole.shape == (29, 258)
    for chunk in (None, 2, 3, 5, 7, 8):
        for logits in (29, 11, 1, 0):
            got = new(chunk).feed(PROMPT, logits=logits)
            np.testing.assert_array_equal(got, whole[29 - logits :])


def test_prompt_is_cut_into_chunks(new):
    s = new()
    s.feed(PROMPT[:20], logits=6)
    assert s.device.calls == [(8, 0, 0, True), (8, 8, 2, True), (4, 16, 4, True)]
    s.feed([1], masken=False)
    assert s.device.calls[-1] == (1, 20, 1, False)
    assert (s.position, s.ids) == (21, [*PROMPT[:20], 1])


@pytest.mark.parametrize("chunk", [0, 9, -1])
def test_impossible_chunk(new, chunk):
    with pytest.raises(FlightError, match="1 to 8"):
        new(chunk)


def test_overflow_says_the_figures_and_feeds_nothing(new):
    s = new()
    s.feed([1] * 60)
    calls = len(s.device.calls)
    with pytest.raises(FlightError, match=r"60 tokens are in it, 5 more do not fit into the package's 64"):
        s.feed([1] * 5)
    assert (s.position, len(s.device.calls)) == (60, calls)
    s.feed([1] * 4)
    assert s.position == 64


@pytest.mark.parametrize("bad", [258, -1])
def test_foreign_ids_are_refused_before_anything_is_fed(new, bad):
    s = new()
    with pytest.raises(FlightError, match=str(bad)):
        s.feed([1] * 10 + [bad])
    assert s.device.calls == []


def by_hand(new, prompt, count):
    """Greedy generation by feeding the whole text anew for each token."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(new(1).feed(ids)[-1].argmax()))
    return ids[len(prompt) :]


def test_generate_is_greedy_and_matches_feeding_everything(new):
    s = new()
    got = list(s.generate(PROMPT, 6))
    assert got == by_hand(new, PROMPT, 6)
    assert s.finish == "length"
    # the prompt in chunks with masks, then token by token without; the last token is not fed
    assert [c[0] for c in s.device.calls] == [8, 8, 8, 5] + [1] * 5
    assert [c[3] for c in s.device.calls] == [True] * 4 + [False] * 5


def test_generation_goes_on_where_it_stopped(new):
    s, t = new(), new()
    parts = list(s.generate(PROMPT, 3)) + list(s.generate([], 4))
    assert parts == list(t.generate(PROMPT, 7))
    follow = [5, 6]
    assert list(s.generate(follow, 2)) == by_hand(new, PROMPT + parts + follow, 2)


def test_stop_tokens_end_but_are_not_given(new):
    free = list(new().generate(PROMPT, 10))
    s = new()
    assert list(s.generate(PROMPT, 10, stop={free[4]})) == free[: free.index(free[4])]
    assert s.finish == "stop"
    # the stop token is part of the conversation
    assert list(s.generate([9], 1)) == by_hand(new, [*PROMPT, *free[: free.index(free[4]) + 1], 9], 1)


def test_generation_ends_with_the_context(new):
    s = new()
    got = list(s.generate([1] * 60))
    assert len(got) == 5  # four that can be fed, and one more from the last logits
    assert (s.finish, s.position) == ("context", 64)
    with pytest.raises(FlightError, match="context is full"):
        list(s.generate([], 1))


def test_no_new_tokens_still_feeds(new):
    s = new()
    assert list(s.generate(PROMPT, 0)) == []
    assert (s.position, s.finish) == (29, "length")


def test_empty_prompt(new):
    with pytest.raises(FlightError, match="no tokens"):
        new().generate([])


def test_conversations_follow_without_loading(new):
    s = new()
    first = list(s.generate(PROMPT, 4))
    s.reset()
    assert s.position == 0
    other = list(s.generate(PROMPT[::-1], 4))
    s.reset()
    assert list(s.generate(PROMPT, 4)) == first != other
    assert (s.device.loads, s.device.resets) == (1, 2)


def test_a_generator_left_early_can_go_on(new):
    s = new()
    for count, token in enumerate(s.generate(PROMPT, 9), 1):  # noqa: B007 (used below)
        if count == 3:
            break
    rest = list(s.generate([], 2))
    assert [token, *rest] == by_hand(new, PROMPT, 5)[2:]


def test_align_keeps_the_common_beginning(new):
    s = new()
    s.feed(PROMPT)
    changed = [*PROMPT[:10], 99, 98]
    rest = s.align(changed)
    assert rest == [99, 98]
    assert (s.position, s.device.resets) == (10, 0)
    np.testing.assert_array_equal(s.feed(rest), new().feed(changed))
    assert s.align(changed) == [98]  # one token must be fed to have logits
    assert s.align([42, *changed]) == [42, *changed]
    assert (s.position, s.device.resets) == (0, 1)


def test_rewind_bounds(new):
    s = new()
    s.feed([1, 2, 3])
    s.rewind(1)
    assert s.ids == [1]
    with pytest.raises(ValueError, match="rewind"):
        s.rewind(2)


def test_seeded_sampling_repeats(new):
    def once(seed):
        return list(new().generate(PROMPT, 8, Sampler(SamplingOptions(temperature=1.5, seed=seed))))

    assert once(1) == once(1) != once(2)


def test_a_run_that_fails_ends_the_conversation(new):
    s = new()
    s.feed(PROMPT[:5])
    run = s.device.run_chunk

    def fail(*_):
        raise FlightError("the kernel reports error 2")

    s.device.run_chunk = fail
    with pytest.raises(FlightError, match="error 2"):
        s.feed(PROMPT[5:9])
    assert s.position == 0, "what is in the cache is unknown"
    s.device.run_chunk = run
    np.testing.assert_array_equal(s.feed(PROMPT[:9]), new().feed(PROMPT[:9]))
