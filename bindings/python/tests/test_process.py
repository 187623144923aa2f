"""What the process does to limiters: signals, fork, exit, and the choice of the backend. Each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

PRELUDE = """
import asyncio, atexit, gc, os, signal, sys, threading, time
last = []  # called at exit after the handlers of llmrl, which is imported later
atexit.register(lambda: [call() for call in last])
import llmrl
from llmrl import Limit, Limiter

def until(condition):
    while not condition():
        time.sleep(0.0001)

def interrupt_main(number):
    # Not the process: then this thread may get the signal, and the sleep of the main one goes on. Not at once: no interpreter
    # notices a signal in the last instructions before it sleeps.
    time.sleep(0.1)
    signal.pthread_kill(threading.main_thread().ident, number)
"""


@pytest.fixture(params=["native", "ctypes"])
def python(request):
    """Run a script on one backend; it must exit with 0 and write nothing to stderr. Returns its stdout."""
    if request.param == "native":
        pytest.importorskip("llmrl._native", reason="this build of the package has no C extension", exc_type=ModuleNotFoundError)

    def run(script: str, status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(script)],
            env={**os.environ, "LLMRL_BACKEND": request.param},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (status, ""), done
        return done.stdout

    return run


def test_ctrl_c_ends_a_blocking_wait(python):
    out = python("""
        limiter = Limiter(Limit.in_flight(1))
        held = limiter.try_acquire()
        def interrupt():
            until(lambda: limiter.stats().waiting == 1)
            interrupt_main(signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            limiter.acquire().wait()
        except KeyboardInterrupt:
            print("interrupted", limiter.stats().waiting)
        held.release()
        print(limiter.limits()[0].available)
    """)
    assert out.split() == ["interrupted", "0", "1"]


def test_ctrl_c_ends_a_wait_for_the_second_level_of_a_chain(python):
    out = python("""
        clock = llmrl.ManualClock()
        user = Limiter(Limit.tokens(100), Limit.in_flight(1), clock=clock)
        provider = Limiter(Limit.in_flight(1), clock=clock)
        held = provider.try_acquire()
        def interrupt():
            until(lambda: provider.stats().waiting == 1)
            interrupt_main(signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            with llmrl.Chain(user, provider).acquire(60):
                pass
        except KeyboardInterrupt:
            print("interrupted", provider.stats().waiting)
        print(*[state.available for state in user.limits()])
        held.release()
    """)
    assert out.split() == ["interrupted", "0", "100", "1"]


def test_a_signal_handler_that_returns_leaves_the_wait_in_its_place(python):
    out = python("""
        limiter = Limiter(Limit.in_flight(1))
        held = limiter.try_acquire()
        order = []
        signal.signal(signal.SIGUSR1, lambda *_: order.append("signal"))
        def later():
            with limiter.acquire():
                order.append("second")
        def signals():
            until(lambda: limiter.stats().waiting == 1)
            thread = threading.Thread(target=later)
            thread.start()
            until(lambda: limiter.stats().waiting == 2)
            interrupt_main(signal.SIGUSR1)
            until(lambda: order == ["signal"])
            held.release()
        threading.Thread(target=signals).start()
        with limiter.acquire():
            order.append("first")
        until(lambda: len(order) == 3)
        print(*order)
    """)
    assert out.split() == ["signal", "first", "second"]


def test_ctrl_c_ends_an_asyncio_program(python):
    out = python("""
        limiter = Limiter(Limit.in_flight(1))
        async def body():
            async with limiter.acquire():
                pass
        async def interrupt():
            while limiter.stats().waiting < 100:
                await asyncio.sleep(0)
            # From the thread of the loop: asyncio can miss a signal that comes between its last look and its sleep.
            interrupt_main(signal.SIGINT)
        async def main():
            # Before 3.11 asyncio also logs the KeyboardInterrupt.
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            async with limiter.acquire():
                print("admitted")
                await asyncio.gather(*[body() for _ in range(100)], interrupt())
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            print("interrupted")
        gc.collect()
        print(limiter.stats().waiting, limiter.limits()[0].available)
    """)
    assert out.split() == ["admitted", "interrupted", "0", "1"]


def test_exit_with_pending_waiters(python):
    out = python("""
        limiter = Limiter(Limit.in_flight(1), Limit.requests(1000, per=1.0, burst=1))
        held = limiter.try_acquire()
        def wait_in_thread():
            limiter.acquire().wait()
            os._exit(3)
        def wait_in_loop():
            async def main():
                await asyncio.gather(*[limiter.acquire() for _ in range(20)])
                os._exit(4)
            asyncio.run(main())
        for target in [wait_in_thread] * 20 + [wait_in_loop] * 3:
            threading.Thread(target=target, daemon=True).start()
        until(lambda: limiter.stats().waiting == 80)
        print("leaving")
    """)
    assert out == "leaving\n"


def test_exit_from_a_loop_with_pending_tasks(python):
    out = python("""
        limiter = Limiter(Limit.in_flight(1))
        async def main():
            held = await limiter.acquire()
            tasks = [asyncio.ensure_future(limiter.acquire()) for _ in range(50)]
            await asyncio.sleep(0)
            print(limiter.stats().waiting)
            os.environ["HELD"] = "1"
            globals()["held"] = held
        asyncio.run(main())
        print(limiter.stats().waiting)
    """)
    assert out.split() == ["50", "0"]


def test_exit_closes_limiters(python):
    out = python("""
        limiter = Limiter(Limit.in_flight(1))
        def late():
            try:
                limiter.acquire().wait()
            except llmrl.Closed as error:
                print(error)
        last.append(late)
    """)
    assert "the interpreter is exiting" in out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork(python):
    out = python("""
        limiter = Limiter(Limit.in_flight(1), Limit.requests(10))
        held = limiter.try_acquire()
        granted = []
        thread = threading.Thread(target=lambda: granted.append(limiter.acquire().wait()))
        thread.start()
        until(lambda: limiter.stats().waiting == 1)
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            for call in (limiter.try_acquire, lambda: limiter.acquire().wait()):
                try:
                    call()
                except llmrl.Closed as error:
                    assert "before fork()" in str(error), error
                else:
                    os._exit(1)
            held.release()
            own = Limiter(Limit.requests(10))
            with own.acquire():
                pass
            os._exit(0 if own.stats().granted == 1 else 2)
        _, status = os.waitpid(child, 0)
        print("child", status)
        held.release()
        thread.join()
        print("parent", granted[0].held, limiter.stats().granted)
        granted[0].release()
    """)
    assert out.split() == ["child", "0", "parent", "True", "2"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_closes_maps(python):
    out = python("""
        users = llmrl.LimiterMap(Limit.in_flight(1))
        alice = users.limiter("alice")
        held = alice.try_acquire()
        thread = threading.Thread(target=lambda: alice.acquire().wait().release())
        thread.start()
        until(lambda: users.stats().waiting == 1)
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        users._making.acquire()  # as another thread may at that moment
        child = os.fork()
        if child == 0:
            users._making = None
            for call in (alice.try_acquire, lambda: users.limiter("alice"), lambda: users.limiter("bob")):
                try:
                    call()
                except llmrl.Closed as error:
                    assert "before fork()" in str(error), error
                else:
                    os._exit(1)
            users.close()
            held.release()
            os._exit(0 if llmrl.LimiterMap(Limit.requests(5)).limiter("alice").try_acquire() else 2)
        users._making.release()
        _, status = os.waitpid(child, 0)
        print("child", status)
        held.release()
        thread.join()
        print("parent", users.stats().granted, users.limiter("bob").is_shared)
    """)
    assert out.split() == ["child", "0", "parent", "2", "False"]


def test_exit_closes_maps(python):
    out = python("""
        users = llmrl.LimiterMap(Limit.in_flight(1))
        kept = users.limiter("kept")
        held = users.limiter("alice").try_acquire()
        def wait_in_thread():
            users.limiter("alice").acquire().wait()
            os._exit(3)
        def wait_in_loop():
            async def main():
                await asyncio.gather(*[users.limiter("alice").acquire() for _ in range(20)])
                os._exit(4)
            asyncio.run(main())
        for target in [wait_in_thread] * 5 + [wait_in_loop] * 2:
            threading.Thread(target=target, daemon=True).start()
        until(lambda: users.stats().waiting == 45)
        def late():
            for call in (kept.try_acquire, lambda: users.limiter("new")):
                try:
                    call()
                except llmrl.Closed as error:
                    print(error)
        last.append(late)
    """)
    assert out.count("the interpreter is exiting") == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_inside_a_loop(python):
    out = python("""
        import warnings
        warnings.simplefilter("ignore")
        async def main():
            limiter = Limiter(Limit.in_flight(1))
            held = await limiter.acquire()
            task = asyncio.ensure_future(limiter.acquire())
            await asyncio.sleep(0)
            child = os.fork()
            if child == 0:
                held.release()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            held.release()
            permit = await task
            print("child", status, "parent", permit.held)
            permit.release()
        asyncio.run(main())
    """)
    assert out.split() == ["child", "0", "parent", "True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork_closes_fair_queues(python):
    out = python("""
        limiter = Limiter(Limit.in_flight(1))
        fair = llmrl.FairQueue(limiter)
        held = fair.acquire("k").wait()
        child = os.fork()
        if child == 0:
            for ask in (fair.acquire("k").wait, fair.try_acquire):
                try:
                    ask()
                except llmrl.Closed as error:
                    assert "before fork()" in str(error), error
                else:
                    os._exit(1)
            held.release()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        held.release()
        with fair.acquire("k", timeout=0):
            print("child", status, "parent", limiter.stats().in_flight)
    """)
    assert out.split() == ["child", "0", "parent", "1"]


def test_ctrl_c_leaves_a_fair_queue(python):
    out = python("""
        limiter = Limiter(Limit.in_flight(1))
        fair = llmrl.FairQueue(limiter)
        held = fair.try_acquire()
        def interrupt():
            until(lambda: fair.stats().waiting == 1)
            interrupt_main(signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            fair.acquire("k").wait()
        except KeyboardInterrupt:
            print(fair.stats().waiting, limiter.stats().waiting)
        held.release()
    """)
    assert out.split() == ["0", "0"]


def test_exit_ends_those_who_wait_in_a_fair_queue(python):
    out = python("""
        fair = llmrl.FairQueue(Limiter(Limit.in_flight(1)))
        held = fair.try_acquire()
        def thread():
            try:
                fair.acquire("k").wait()
            except llmrl.Closed as error:
                print(error)
        waiting = threading.Thread(target=thread, daemon=True)
        waiting.start()
        until(lambda: fair.stats().waiting == 1)
        def ask():
            try:
                fair.acquire("late").wait()
            except llmrl.Closed as error:
                print(error)
        last.append(ask)
    """)
    assert out.count("the interpreter is exiting") == 1


def test_backend_is_what_was_asked_for(python):
    out = python("""
        print(llmrl.backend, llmrl.Limiter.__module__)
    """)
    assert out.split() in (["native", "llmrl._native"], ["ctypes", "llmrl._ctypes"])


def test_unknown_backend():
    done = subprocess.run(
        [sys.executable, "-c", "import llmrl"], env={**os.environ, "LLMRL_BACKEND": "fast"}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "LLMRL_BACKEND must be 'native' or 'ctypes', or unset to choose by itself; got 'fast'" in done.stderr


def test_import_is_cheap(python):
    out = python("""
        import subprocess
        code = "import sys, llmrl; print('asyncio' in sys.modules)"
        print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip())
    """)
    # asyncio costs more to import than the rest of the package; users of threads are spared it.
    assert out.strip() == "False"
