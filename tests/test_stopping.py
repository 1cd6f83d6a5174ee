import os
import signal
from contextlib import suppress

import pytest

from agwm.stopping import Stopped, held_back, stoppable


def test_a_stop_that_is_held_back_waits_for_a_good_moment():
    with stoppable(), pytest.raises(Stopped) as stop, held_back() as held:
        held.stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert held.asked
        held.stop()
        pytest.fail("it had come")
    assert stop.value.number == signal.SIGTERM


def test_a_second_stop_does_not_wait():
    with stoppable(), pytest.raises(Stopped) as stop, held_back():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("it had come twice")
    assert stop.value.number == signal.SIGINT


def test_a_stop_waits_no_longer_than_to_the_end():
    reached = False
    with stoppable(), pytest.raises(Stopped), held_back():
        os.kill(os.getpid(), signal.SIGTERM)
        reached = True
    assert reached


def test_outside_nothing_is_held_back():
    with stoppable():
        with held_back() as held:
            pass
        with pytest.raises(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        assert not held.asked


def test_what_is_raised_inside_is_told_before_a_stop():
    with stoppable(), pytest.raises(ZeroDivisionError), held_back():
        os.kill(os.getpid(), signal.SIGTERM)
        _ = 1 / 0


def test_a_handler_that_was_put_in_front_is_taken_back():
    before = signal.getsignal(signal.SIGTERM)
    with stoppable(), pytest.raises(Stopped), held_back() as held:
        signal.signal(signal.SIGTERM, lambda *_: pytest.fail("heard by another"))
        held.listen()
        os.kill(os.getpid(), signal.SIGTERM)
        assert held.asked
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_that_was_swallowed_comes_at_the_next_good_moment():
    with stoppable(), pytest.raises(Stopped) as stop:
        with suppress(Stopped):  # as Python does in __del__
            os.kill(os.getpid(), signal.SIGTERM)
        with held_back():
            pytest.fail("it had come")
    assert stop.value.number == signal.SIGTERM
    with held_back():
        pass
