"""Threads of one core each."""

import threading

import pytest
import threadpoolctl
import torch

from visrec.scoring import threads

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def numpys() -> set[int]:
    """Threads of NumPy's BLAS; that of others may have a number for each thread that asks."""
    found = threadpoolctl.ThreadpoolController().select(user_api="blas").info()
    return {library["num_threads"] for library in found if "numpy" in library["filepath"]}


def test_results_come_in_order(two_threads):
    late = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert late.wait(60)  # until the second is at work
        late.set()
        return item * item

    assert list(threads.each(work, range(7), CPU)) == [0, 1, 4, 9, 16, 25, 36]


def test_each_part_has_one_core_and_the_libraries_have_theirs_back(two_threads):
    threads._libraries.cache_clear()  # others may have loaded more since the first call
    with threadpoolctl.threadpool_limits(2, "blas"):
        assert list(threads.each(lambda _: torch.get_num_threads(), range(5), CPU)) == [1] * 5
        assert list(threads.each(lambda _: numpys(), range(5), CPU)) == [{1}] * 5
        assert torch.get_num_threads() == 2
        assert numpys() == {2}
        new = []
        thread = threading.Thread(target=lambda: new.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert new == [2]


def test_a_thread_keeps_its_one_core_where_another_sets_the_number_before_it_works(two_threads):
    begun, set_again, found = threading.Event(), threading.Event(), []

    def work() -> None:
        threads._take_one_core()
        begun.set()
        assert set_again.wait(60)
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    torch.set_num_threads(2)
    set_again.set()
    thread.join()
    assert found == [1]


@pytest.mark.parametrize(("number", "items"), [(1, 3), (2, 1)])
def test_what_cannot_be_shared_stays_in_the_thread_that_asks(number, items):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    here = threading.get_ident()
    assert list(threads.each(lambda _: threading.get_ident(), range(items), CPU)) == [here] * items
    torch.set_num_threads(before)


def test_no_more_is_begun_than_there_are_threads(two_threads):
    begun = []
    found = threads.each(lambda item: begun.append(item) or item, range(6), CPU)
    assert next(found) == 0
    assert sorted(begun) == [0, 1]


def test_an_error_reaches_the_caller_and_threads_are_given_back(two_threads):
    with pytest.raises(ZeroDivisionError):
        list(threads.each(lambda item: 1 // item, range(4), CPU))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("count", "least", "expected"),
    [(10, 1, [(0, 5), (5, 10)]), (7, 1, [(0, 3), (3, 7)]), (5, 3, [(0, 5)]), (1, 1, [(0, 1)]), (0, 1, [(0, 0)])],
)
def test_shares(two_threads, count, least, expected):
    assert [(share.start, share.stop) for share in threads.shares(count, CPU, least)] == expected
