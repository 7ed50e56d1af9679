"""Several workers, one scrape: the sum of all, of real processes that come, go and are killed."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from quorate.errors import UsageError
from quorate.telemetry.metrics import Metrics
from quorate.telemetry.shared import Shared

WORKER = """
import sys
from pathlib import Path
from quorate.telemetry import names
from quorate.telemetry.metrics import Metrics
from quorate.telemetry.shared import Shared

metrics = Metrics(Shared(Path(sys.argv[1])))
metrics.gauge(names.RUNNING, lambda: 1.0)
metrics.losses("log", lambda: 2)
print("up", flush=True)
for line in sys.stdin:
    word, number = line.split()
    for _ in range(int(number)):
        if word == "count":
            metrics.decided(decision="admit", by=None, decide_s=0.25, held_s=0.125)
    if word == "scrape":
        text = metrics.exposition()
        sys.stdout.write(f"{len(text)}\\n" + text.decode())
    print("done", flush=True)
metrics.close()
"""


class Worker:
    """A process of its own with metrics of its own."""

    def __init__(self, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.read(3) == b"up\n"

    def read(self, count: int) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.read(count)

    def say(self, word: str, number: int = 0) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word} {number}\n".encode())
        self.process.stdin.flush()

    def count(self, number: int) -> None:
        self.say("count", number)
        assert self.read(5) == b"done\n"

    def scrape(self) -> dict[str, float]:
        """Every sample, by name and label values."""
        assert self.process.stdout is not None
        self.say("scrape")
        text = self.read(int(self.process.stdout.readline())).decode()
        assert self.read(5) == b"done\n"
        return samples(text)

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait() == 0
        self.end()

    def end(self) -> None:
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def samples(text: str) -> dict[str, float]:
    return {
        " ".join((sample.name, *(value for _, value in sorted(sample.labels.items())))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def workers(directory: Path, number: int) -> Iterator[list[Worker]]:
    running = [Worker(directory) for _ in range(number)]
    try:
        yield running
    finally:
        for worker in running:
            worker.kill()


ADMITTED = "quorate_decisions_total none admit enforce"


@pytest.mark.sockets
def test_a_scrape_of_any_worker_is_the_sum_of_all(tmp_path: Path) -> None:
    """Counters, histograms and gauges of three processes, whichever of them is asked."""
    with workers(tmp_path, 3) as (a, b, c):
        for worker, number in ((a, 1), (b, 10), (c, 100)):
            worker.count(number)
            worker.scrape()  # What was scraped is written.
        for worker in (a, b, c):
            seen = worker.scrape()
            assert seen[ADMITTED] == seen["quorate_held_seconds_count"] == 111
            assert seen["quorate_held_seconds_sum"] == 111 * 0.125
            assert seen["quorate_requests_running"] == 3
            assert seen["quorate_telemetry_lost_total log"] == 6
            assert (seen["quorate_workers live"], seen["quorate_workers dead"]) == (3, 0)


@pytest.mark.sockets
def test_a_worker_that_nobody_scrapes_is_counted_too(tmp_path: Path) -> None:
    """It writes what it has counted by itself."""
    with workers(tmp_path, 2) as (a, b):
        b.count(10)
        while a.scrape().get(ADMITTED) != 10:
            pass


@pytest.mark.sockets
def test_a_killed_worker_keeps_its_counters_and_loses_its_gauges(tmp_path: Path) -> None:
    """It is shown as dead until another takes its slot and counts on; a clean end is no death."""
    with workers(tmp_path, 2) as running:
        a, b = running
        b.count(10)
        assert b.scrape()[ADMITTED] == 10
        b.kill()
        seen = a.scrape()
        assert (seen[ADMITTED], seen["quorate_requests_running"], seen["quorate_workers dead"]) == (10, 1, 1)
        running.append(Worker(tmp_path))
        c = running[-1]
        c.count(5)
        assert c.scrape()[ADMITTED] == 15
        seen = a.scrape()
        assert (seen[ADMITTED], seen["quorate_workers live"], seen["quorate_workers dead"]) == (15, 2, 0)
        assert seen["quorate_telemetry_lost_total log"] == 6  # Two of each worker, the dead one's too.
        c.close()
        seen = a.scrape()
        assert (seen[ADMITTED], seen["quorate_workers live"], seen["quorate_workers dead"]) == (15, 1, 0)
    assert len(list(tmp_path.glob("slot-*.json"))) == 2


@pytest.mark.sockets
def test_counters_never_go_backwards(tmp_path: Path) -> None:
    """While workers count, are killed in the middle of it and come again, no scrape shows less than one before."""
    with workers(tmp_path, 2) as running:
        before: dict[str, float] = {}
        for _ in range(12):
            victim = running.pop(0)
            victim.count(50)
            shown = victim.scrape()
            victim.say("count", 100_000)
            victim.kill()
            running.append(Worker(tmp_path))
            for seen in (shown, running[0].scrape(), running[1].scrape()):
                counts = {name: value for name, value in seen.items() if "_total" in name or "_seconds_" in name}
                assert {name for name, value in before.items() if counts.get(name, -1) < value} == set()
                before = counts
        assert before[ADMITTED] >= 600
    assert len(list(tmp_path.glob("slot-*.json"))) <= 3


def test_a_scrape_while_the_loop_counts_is_whole(tmp_path: Path) -> None:
    """Scrapes from another thread neither break counting nor lose any of it."""
    metrics = Metrics(Shared(tmp_path))
    failed: list[BaseException] = []
    stop = threading.Event()

    def scrape() -> None:
        try:
            while not stop.is_set():
                samples(metrics.exposition().decode())
        except BaseException as error:
            failed.append(error)

    scraping = threading.Thread(target=scrape)
    scraping.start()
    metrics.know(checks=[f"c{number}" for number in range(200)])
    for number in range(5000):
        metrics.check(f"c{number % 200}", "pass", elapsed_s=0.001)
    stop.set()
    scraping.join()
    counted = sum(
        v for k, v in samples(metrics.exposition().decode()).items() if k.startswith("quorate_check_outcomes")
    )
    metrics.close()
    assert (failed, counted, metrics.failures) == ([], 5000, 0)


@pytest.mark.parametrize("torn", ["", "{", "null", '{"counters": {', "\x00" * 100])
def test_a_torn_file_takes_nothing_back(tmp_path: Path, torn: str) -> None:
    """Another's file that cannot be read counts as it was when it last could, and the trouble is counted."""
    a, b = Metrics(Shared(tmp_path)), Metrics(Shared(tmp_path))
    b.rejected("queue")
    b.close()
    assert samples(a.exposition().decode())["quorate_rejected_total queue"] == 1
    (tmp_path / "slot-1.json").write_text(torn)
    seen = samples(a.exposition().decode())
    assert seen["quorate_rejected_total queue"] == 1 and a.failures == 1
    c = Metrics(Shared(tmp_path))
    c.close()
    a.close()


def test_a_directory_that_cannot_be_used_is_a_usage_error(tmp_path: Path) -> None:
    """The error names the directory and what is wrong with it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"metrics directory .*file"):
        Shared(tmp_path / "file" / "metrics")


def test_a_full_disk_breaks_no_scrape(tmp_path: Path) -> None:
    """Where the snapshot cannot be written the worker still shows its own counts, and counts the trouble."""
    metrics = Metrics(Shared(tmp_path / "m"))
    (tmp_path / "m" / "slot-0.new").mkdir()
    metrics.rejected("rate")
    assert samples(metrics.exposition().decode())["quorate_rejected_total rate"] == 1
    assert metrics.failures == 1
    metrics.close()
