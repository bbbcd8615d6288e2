"""The process in which tests run: ``python -I -S tester.py FD``. What to do comes on stdin; what happened goes to FD.

The code that is tested runs in this process, so nothing that it says is more than a claim of that code: what watches it
(``watcher.py``) holds it against how the process ended.
"""

from __future__ import annotations

import builtins
import json
import os
import site
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

_NAME_CHARS = 200
_BROKEN = 3


class Report:
    """Tells what happened, one line each as it happens: the word that opens this report, and a JSON object."""

    def __init__(self, fd: int, word: str) -> None:
        self._fd = fd
        self._word = word.encode()
        self._pid = os.getpid()

    def send(self, **fact: Any) -> None:
        """Tell a fact. What a test has forked is not heard."""
        if os.getpid() != self._pid:
            return
        data = memoryview(self._word + json.dumps(fact).encode() + b"\n")
        while data:
            data = data[os.write(self._fd, data) :]

    def outcome(self, outcome: str, name: str) -> None:
        """Tell how a test ended: passed, failed, error, skipped."""
        self.send(outcome=outcome, name=name[:_NAME_CHARS])


class Recorders(dict[str, Any]):
    """What records the lines of a frame, by the file name in its code; None: they do not count."""

    def __init__(self, root: str, sources: list[str]) -> None:
        super().__init__()
        self.hits: dict[str, set[int]] = {path: set() for path in sources}
        self._root = root
        self._known = {os.path.join(root, path): recorder(self.hits[path]) for path in sources}

    def __missing__(self, name: str) -> Any:
        path = os.path.realpath(os.path.join(self._root, name))
        found = self[name] = self._known.get(path)
        return found

    def start_in_time(self) -> None:
        """Record once the first of the sources is executed: before, it would cost and find nothing."""

        def heard(event: str, args: tuple[Any, ...]) -> None:
            if event == "exec" and sys.gettrace() is None and self[args[0].co_filename] is not None:
                self.start()

        sys.addaudithook(heard)
        builtins.__import__ = self._importing(builtins.__import__)

    def _importing(self, load: Callable[..., Any]) -> Callable[..., Any]:
        """Return an ``import`` that records nothing while it loads what is none of the sources: that would double its time.

        What of the sources is executed for the first time meanwhile is recorded all the same.
        """
        own = {path.removeprefix("src/").partition("/")[0].removesuffix(".py") for path in self.hits}

        def importing(name: str, *about: Any, **more: Any) -> Any:
            __tracebackhide__ = True  # to pytest: it is no part of the tests
            trace = sys.gettrace()
            if trace is None or name in sys.modules or name.partition(".")[0] in own:
                return load(name, *about, **more)
            sys.settrace(None)
            try:
                return load(name, *about, **more)
            finally:
                sys.settrace(trace)

        return importing

    def start(self) -> None:
        """Record from now on, in this thread and in those that begin."""

        def entered(frame: FrameType, event: str, arg: object) -> Any:
            return self[frame.f_code.co_filename]

        threading.settrace(entered)
        sys.settrace(entered)

    def lines(self) -> dict[str, list[int]]:
        """Stop, and return the lines that were seen, by path."""
        sys.settrace(None)
        return {path: list(lines) for path, lines in self.hits.items()}


def recorder(lines: set[int]) -> Callable[[FrameType, str, object], Any]:
    """Return a tracer of one frame that keeps its lines."""
    add = lines.add

    def record(frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            add(frame.f_lineno)
        return record

    return record


class PytestNews:
    """A plugin of pytest that reports."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def pytest_collection_finish(self, session: Any) -> None:
        """Tell how many there are."""
        self._report.send(collected=len(session.items))

    def pytest_collectreport(self, report: Any) -> None:
        """Tell of a file that cannot be read."""
        if report.failed:
            self._report.outcome("error", report.nodeid)
        elif report.skipped:
            self._report.outcome("skipped", report.nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Tell how a phase of a test ended, counted as pytest counts it."""
        name = report.nodeid.partition("::")[2] or report.nodeid
        if report.skipped:
            self._report.outcome("skipped", name)
        elif report.failed:
            self._report.outcome("failed" if report.when == "call" else "error", name)
        elif report.when == "call":
            self._report.outcome("passed", name)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Tell that a test is over."""
        self._report.send(ran=1)


def run_pytest(pytest: Any, tests: list[str], report: Report) -> int:
    """Run the tests; returns the exit code."""
    options = ["-q", "--tb=short", "--color=no", "-p", "no:cacheprovider", f"--rootdir={os.getcwd()}"]
    return int(pytest.main([*options, *tests], plugins=[PytestNews(report)]))


UNITTEST_OUTCOMES = {
    "addSuccess": "passed",
    "addFailure": "failed",
    "addSkip": "skipped",
    "addExpectedFailure": "skipped",
    "addUnexpectedSuccess": "failed",
}


def reporting(result: Any, report: Report) -> Any:
    """Return a subclass of a result class of unittest that reports, and prints as ever."""

    def tell(outcome: str, test: Any) -> None:
        report.outcome(outcome, test.id().rpartition(".")[2])

    class News(result):  # type: ignore[misc]
        """Reports, and prints as ever."""

        def stopTest(self, test: Any) -> None:  # noqa: N802
            super().stopTest(test)
            report.send(ran=1)

        def addError(self, test: Any, err: Any) -> None:  # noqa: N802
            super().addError(test, err)
            tell("failed" if hasattr(test, "_testMethodName") else "error", test)  # error: of a whole class or module

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
            super().addSubTest(test, subtest, err)
            if err is not None:
                tell("failed", test)

    def verb(name: str, outcome: str) -> Callable[..., None]:
        def add(self: Any, test: Any, *about: Any) -> None:
            getattr(result, name)(self, test, *about)
            tell(outcome, test)

        return add

    for name, outcome in UNITTEST_OUTCOMES.items():
        setattr(News, name, verb(name, outcome))
    return News


def run_unittest(unittest: Any, tests: list[str], report: Report) -> int:
    """Run the tests; returns the exit code, as pytest would."""
    suite, broken = unittest.TestSuite(), 0
    for path in tests:
        try:
            suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(imported(path)))
        except BaseException:  # noqa: BLE001  whatever it is, that file has no tests that can be run
            broken += 1
            traceback.print_exc()
            report.outcome("error", path)
    report.send(collected=suite.countTestCases())
    result = reporting(unittest.TextTestResult, report)
    done = unittest.TextTestRunner(stream=sys.stderr, resultclass=result).run(suite)
    if broken or not done.wasSuccessful():
        return 1
    return 0 if done.testsRun else 5


def imported(path: str) -> Any:
    """Import a file as a module of the top folder."""
    import importlib
    import importlib.util

    words = path.removesuffix(".py").split("/")
    if all(word.isidentifier() for word in words):
        return importlib.import_module(".".join(words))
    spec = importlib.util.spec_from_file_location("_".join(words), path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> NoReturn:
    """Run the tests, tell what happened, and leave without whatever waits for the end of the process."""
    job = json.load(sys.stdin)
    report = Report(int(sys.argv[1]), job["word"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    root = os.getcwd()
    sys.path += [entry for entry in job["path"] if entry not in sys.path]
    site.setquit()  # without them `exit(1)` is a NameError: this process has no site
    site.setcopyright()
    runner: Callable[[Any, list[str], Report], int] = run_pytest
    try:
        import pytest as framework
    except ImportError:
        import unittest as framework  # type: ignore[no-redef]

        runner = run_unittest
    # Only now: a file that is called as one of our own modules would be taken for it.
    sys.path[:0] = [root, *([os.path.join(root, "src")] if os.path.isdir("src") else [])]
    sys.argv[:] = [framework.__name__, *job["tests"]]
    recorders = Recorders(root, job["sources"])
    recorders.start_in_time()
    try:
        code = runner(framework, job["tests"], report)
    except BaseException:  # noqa: BLE001  it is told, and the process ends
        traceback.print_exc()
        code = _BROKEN
    report.send(end=code, lines=recorders.lines())
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # the tests have closed it
            continue
    os._exit(code)


if __name__ == "__main__":
    main()
