"""`python -m sd35 library`, as people and scripts use it."""

import datetime as dt
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sd35.core.picture import open_picture
from sd35.core.request import GenerationRequest
from sd35.jobs.record import JobRecord, JobStatus
from sd35.jobs.repository import JobRepository
from sd35.library.layout import LOCAL_OWNER_KEY, STATE_DIR
from sd35.library.library import Library
from sd35.metadata.model import GenerationMetadata
from tests.cli_program import (
    LIMIT_SECONDS,
    invoke,
    isolate,
    read_terminal,
    run_process,
    start_process,
)

LIBRARY_DIR = Path("images")
PROMPTS = ("a lighthouse at dusk", "a light boat", "夜の灯台", "fog \x1b[31m[red]\nsteps: 3")


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(tmp_path, monkeypatch)
    monkeypatch.setenv("SD35_LIBRARY", str(tmp_path / LIBRARY_DIR))


def encode_png(seed: int, **texts: str) -> bytes:
    """Return a PNG that differs for each seed, with these text chunks."""
    png_info = PngInfo()
    for keyword, text in texts.items():
        png_info.add_text(keyword, text)
    out = io.BytesIO()
    Image.new("RGB", (64, 32), (seed % 256, seed // 256, 7)).save(out, "PNG", pnginfo=png_info)
    return out.getvalue()


def fill(prompts: Iterable[str] = PROMPTS, folder: Path = LIBRARY_DIR) -> list[str]:
    """Add an image for each prompt, newest first, and return their IDs."""
    with Library.open(folder) as library:
        return [add_picture(library, seed, prompt) for seed, prompt in enumerate(prompts)]


def add_picture(library: Library, seed: int, prompt: str) -> str:
    made_at = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC) - dt.timedelta(days=seed)
    record = GenerationMetadata(
        prompt=prompt,
        seed=seed,
        model="medium",
        is_starred=seed == 1,
        tags=("sea",),
        made_at=made_at,
    )
    data = encode_png(seed)
    return library.add(open_picture(data), record, LOCAL_OWNER_KEY).id


def parse_json_lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.parametrize(
    ("query", "seeds"),
    [
        ("", [0, 1, 2, 3]),
        ("light", [0, 1]),
        ("LIGHT boat", [1]),
        ("lighthouse -boat", [0]),
        ("-boat --limit 9 -house light", [0]),
        ("-h. boat", [1]),
        ("-- -boat light", [0]),
        ("""'"at dusk"'""", [0]),
        ("'at dusk' lighthouse", [0]),
        ("灯台", [2]),
        ("after:2026-11-22 -is:starred", [0, 2]),
        ("seed:3", [3]),
        ("is:trash", []),
        ("model:MED tag:sea before:2026-11-23", [2, 3]),
    ],
)
def test_queries_find_images(query: str, seeds: list[int]) -> None:
    """Arguments become the query, and `-word` excludes a word instead of being an option."""
    fill()
    code, out, err = invoke("library", "search", "--json", *shlex.split(query))
    assert (code, [item["record"]["seed"] for item in parse_json_lines(out)]) == (0, seeds)
    assert err == ("" if seeds else "· No results.\n")


def test_programs_get_paths_or_json() -> None:
    """A script gets the paths of the newest, or all, and a hint if there are more."""
    ids = fill(f"number {index}" for index in range(130))
    code, out, err = invoke("library", "search")
    assert (code, err) == (0, "· Showing the newest 20 of 130. Use --all for all.\n")
    assert [
        json.loads(invoke("library", "show", path, "--json")[1])["record"]["id"]
        for path in out.splitlines()
    ] == (ids[:20])
    code, out, err = invoke("library", "search", "number", "--all", "--json")
    assert (code, err) == (0, "")
    assert [item["id"] for item in parse_json_lines(out)] == ids
    code, out, _ = invoke("library", "search", "--limit", "105")
    assert len(out.splitlines()) == 105


@pytest.mark.parametrize(
    ("arguments", "code", "expected_message"),
    [
        (
            ["search", "seed:abc", "on:never"],
            2,
            "seed: needs a whole number, such as seed:40.",
        ),
        (["search", "--limit", "0"], 2, "--limit"),
        (["search", "--colour"], 2, "--colour"),
        (["search", "--library", "nowhere"], 2, "No library found in nowhere"),
        (["search", "--library", "folder"], 2, "No library found in folder"),
        (["search", "--library", "old.png"], 2, "No library found in old.png"),
        (["import", "folder", "--library", "old.png"], 9, "old.png can't be used"),
        (["stats", "--library", "newer"], 9, "created by a newer version"),
        (["show", "nothing"], 2, "No image or file found: nothing"),
        (["show", "x" * 5000], 2, "No image or file found"),
        (["show", "folder"], 2, "No image or file found: folder"),
        (["show", "old.png"], 2, "No generation settings found"),
        (["export", "folder.zip", "is:failed"], 2, "no images to export"),
        (["export", "there.zip"], 9, "already exists"),
        (["export", "old.png/below"], 9, "Couldn't save"),
        (["import", "nowhere"], 2, "nowhere"),
        (["import", "x" * 300], 2, "File name too long"),
        (["import", "images"], 9, "is in the library already"),
        (["rescan", "--library", "nowhere"], 2, "Folder not found: nowhere"),
    ],
)
def test_failures_have_message_and_exit_code(
    arguments: list[str], code: int, expected_message: str
) -> None:
    """A foreseeable failure has its exit code and message, and creates no folder."""
    fill()
    Path("folder").mkdir()
    Path("old.png").write_bytes(encode_png(1))
    Path("there.zip").touch()
    create_newer_library(Path("newer"))
    files_before = sorted(Path().iterdir())
    exit_code, out, err = invoke("library", *arguments)
    assert (exit_code, out) == (code, "")
    assert expected_message in " ".join(err.split())
    assert sorted(Path().iterdir()) == files_before
    if code == 9:
        exit_code, out, _ = invoke("library", *arguments, "--json")
        assert (exit_code, json.loads(out)["error"]["exit_code"]) == (9, 9)


def create_newer_library(folder: Path) -> None:
    """Create a library of a later version, which this one can't open."""
    fill([], folder)
    code = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]);"
        "c.execute('PRAGMA user_version = 9999');"
        "c.execute(\"UPDATE meta SET value = 9999 WHERE name = 'readable_from'\"); c.commit()"
    )
    command = [sys.executable, "-c", code, str(folder / STATE_DIR / "library.sqlite3")]
    subprocess.run(command, check=True, timeout=LIMIT_SECONDS)  # noqa: S603


def test_show_prints_all_metadata() -> None:
    """`show` prints what is known of an image, and no control sequence of its prompt."""
    ids = fill()
    for name in (ids[3], next(str(path) for path in LIBRARY_DIR.glob("*/*-3-*.png"))):
        code, out, err = invoke("library", "show", name)
        assert (code, err) == (0, "")
        for line in (
            r"^File +.*/\d+-3-fog-31m-red-steps-3\.png",
            r"^Image +.*64 × 32, \d+ bytes",
            rf"^ID +{ids[3]}",
            r"^Prompt +fog \[31m\[red\] steps: 3",
            r"^Seed +3",
            r"^Model +medium",
            r"^Created +2026-11-21 \d\d:\d\d",
            r"^Tags +sea",
        ):
            assert re.search(line, out, re.MULTILINE), line
        code, out, _ = invoke("library", "show", name, "--infotext")
        assert (code, out.splitlines()[:3]) == (
            0,
            ["fog  [31m[red]", "steps: 3", "Negative prompt: "],
        )
        payload = json.loads(invoke("library", "show", name, "--json")[1])
        assert (payload["record"]["prompt"], payload["width"], payload["height"]) == (
            PROMPTS[3],
            64,
            32,
        )


def test_show_reads_other_tools_without_a_library() -> None:
    """`show` reads an image of another tool where there is no library, and creates none."""
    infotext = (
        "a cat\nNegative prompt: dog\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x32"
    )
    Path("-x.png").write_bytes(encode_png(5, parameters=infotext))
    code, out, err = invoke("library", "show", "-x.png")
    assert (code, err) == (0, "")
    for line in (
        r"^Tool +AUTOMATIC1111",
        r"^Sampler +Euler a",
        r"^Negative +dog",
        r"^Guidance +7$",
    ):
        assert re.search(line, re.sub(" +$", "", out, flags=re.MULTILINE), re.MULTILINE), line
    assert (
        invoke("library", "show", "-x.png", "--infotext")[1].splitlines()[:2]
        == infotext.splitlines()[:2]
    )
    assert not LIBRARY_DIR.exists()


@pytest.mark.parametrize(
    ("made_at", "zone"),
    [
        ("0001-01-01T00:00:00+00:00", "America/New_York"),
        ("9999-12-31T23:59:59+00:00", "Asia/Tokyo"),
    ],
)
def test_impossible_times_are_shown_as_they_are(made_at: str, zone: str) -> None:
    """A creation time at the end of the calendar, which no local time represents, is printed."""
    record = json.dumps(
        {"format": 1, "prompt": "\ud800 a cat", "made_at": made_at, "took_seconds": -1e14}
    )
    Path("x.png").write_bytes(encode_png(1, sd35=record))
    code, out, err = run_process("library", "show", "x.png", env=os.environ | {"TZ": zone})
    assert (code, err) == (0, "")
    assert re.search(r"^Prompt +\? a cat", out, re.MULTILINE)
    assert made_at[:10] in out


def test_export_can_be_imported_again() -> None:
    """An export holds each image with its metadata; imported again, each is there once."""
    ids = fill()
    for target in ("out", "starred.zip"):
        code, out, err = invoke(
            "library", "export", target, *(["is:starred"] if target == "starred.zip" else [])
        )
        assert (code, out) == (0, "")
    assert err.endswith(f"✓ Exported 1 image to {Path('starred.zip').absolute()}.\n")
    Path("out/note.png").write_text("no picture")
    Path("out/a\x1b[31m\n\u202eb.txt").touch()
    for library, added in (("other", 4), (str(LIBRARY_DIR), 0)):
        code, out, err = invoke("library", "import", "out", "--library", library, "--json")
        summary = json.loads(out)
        assert (code, summary["added"], summary["already"]) == (0, added, 4 - added)
        assert summary["skipped"]["damaged"] == {"count": 1, "paths": ["note.png"]}
        assert summary["skipped"]["other-kind"]["count"] == 1
        assert "· Skipped 1 file: damaged, or not an image (note.png).\n" in err
        assert "· Skipped 1 file: not PNG, JPEG or WebP (a [31m b.txt).\n" in err
    assert "Importing images: 5 of 5…" in err
    code, out, _ = invoke("library", "search", "--library", "other", "--json")
    assert [item["id"] for item in parse_json_lines(out)] == ids
    code, out, _ = invoke("library", "search", "is:starred", "--library", "other", "--json")
    assert [item["record"]["seed"] for item in parse_json_lines(out)] == [1]


def test_set_is_written_as_a_sheet(tmp_path: Path) -> None:
    """A set, named by one of its images, becomes a page, an archive or an image beside nothing."""
    with Library.open(LIBRARY_DIR) as library:
        for index in range(2):
            record = GenerationMetadata(
                prompt="a fox",
                seed=index,
                set_id="-foxes",
                set_index=index,
                set_size=2,
                axes=(("Seed", str(index)),),
            )
            entry = library.add(open_picture(encode_png(index)), record, LOCAL_OWNER_KEY)
    code, out, _ = invoke("library", "show", entry.id)
    assert code == 0
    assert "-foxes, image 2 of 2" in out
    for suffix, start in ((".html", b"<!doctype"), (".zip", b"PK"), (".png", b"\x89PNG")):
        target = tmp_path / f"sheet{suffix}"
        code, out, _ = invoke("library", "sheet", entry.id, str(target), "--json")
        assert (code, json.loads(out)) == (0, {"path": str(target), "pictures": 2})
        assert target.read_bytes().startswith(start)
    for name, target, message in (
        ("nothing", tmp_path / "a.png", "no set nothing"),
        ("-foxes", tmp_path / "a.gif", "must end with"),
        (entry.id, LIBRARY_DIR / "a.png", "is in the library"),
    ):
        code, _, err = invoke("library", "sheet", "--", name, str(target))
        assert code == 2
        assert message in err


def test_rescan_finds_changes_of_the_folder() -> None:
    """Files that were added or removed are found, and a lost index is rebuilt."""
    fill()
    next(LIBRARY_DIR.glob("*/*-0-*.png")).unlink()
    (LIBRARY_DIR / "by hand").mkdir()
    (LIBRARY_DIR / "by hand" / "a\x1b[31m\nb.png").write_bytes(encode_png(9))
    code, out, err = invoke("library", "rescan", "--json")
    summary = json.loads(out)
    assert (code, summary["added"], summary["missing"], summary["skipped"]) == (0, 1, 1, {})
    assert err.endswith("✓ The library is up to date: 1 added, 1 missing.\n")
    code, out, err = invoke("library", "search")
    assert (code, len(out.splitlines())) == (0, 3)
    assert "control characters, use --json: " in err
    (LIBRARY_DIR / STATE_DIR / "library.sqlite3").unlink()
    code, out, err = invoke("library", "search", "--json")
    assert (code, len(parse_json_lines(out))) == (0, 4)
    assert "· Rebuilt the library index from 4 images.\n" in err
    shutil.rmtree(LIBRARY_DIR / STATE_DIR)
    assert invoke("library", "search")[0] == 2
    assert invoke("library", "rescan")[2].endswith("✓ The library is up to date: 4 added.\n")


def test_stats_count_the_library() -> None:
    """`stats` counts images, bytes and jobs, as text and as JSON."""
    fill()
    code, out, _ = invoke("library", "stats")
    assert code == 0
    for line in (
        r"^Images +4, \d+ KB",
        r"^Starred +1",
        r"^Trash +0, 0 bytes",
        r"^Created +2026-11-21 .* to 2026-11-24 ",
    ):
        assert re.search(line, out, re.MULTILINE), line
    stats = json.loads(invoke("library", "stats", "--json")[1])
    assert (stats["pictures"], stats["starred"], stats["jobs"]["failed"]) == (4, 1, 0)
    assert stats["picture_bytes"] == sum(
        path.stat().st_size for path in LIBRARY_DIR.glob("*/*.png")
    )
    assert stats["last"] == "2026-11-24T12:00:00+00:00"


def test_failed_jobs_can_be_searched_and_shown() -> None:
    """A failed job is found by is:failed, and shown with its error."""
    original_request = GenerationRequest("a cat\x1b[2J", seed=7)
    with Library.open(LIBRARY_DIR) as library:
        job = JobRecord(
            id="j",
            owner=LOCAL_OWNER_KEY,
            original_request=original_request,
            request=original_request,
            space="a/b",
            created_at=1.0,
            worker_id="x",
            position=1.0,
        )
        JobRepository(library).add(job)
        JobRepository(library).update(
            "j", status=JobStatus.FAILED, error_kind="busy", error_message="No GPU.\x07"
        )
    assert invoke("library", "search", "is:failed", "cat") == (0, "j\n", "")
    payload = json.loads(invoke("library", "search", "is:failed", "--json")[1])
    assert (payload["id"], payload["prompt"], payload["error"]["kind"]) == (
        "j",
        original_request.prompt,
        "busy",
    )
    code, out, _ = invoke("library", "show", "j")
    assert code == 0
    assert re.search(r"^Error +No GPU\. *$", out, re.MULTILINE)
    assert invoke("library", "show", "j", "--infotext")[:2] == (2, "")


STUDIO_SCRIPT = """
import io, sys, threading
from pathlib import Path
from PIL import Image
from sd35.metadata.model import GenerationMetadata
from sd35.library.library import Library
from sd35.core.picture import open_picture

is_closed = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), is_closed.set())).start()
with Library.open(Path("images")) as library:
    seed = 1000
    while not is_closed.is_set():
        out = io.BytesIO()
        Image.new("RGB", (64, 32), (seed % 256, seed // 256, 7)).save(out, "PNG")
        record = GenerationMetadata(prompt="made meanwhile", seed=seed)
        print(library.add(open_picture(out.getvalue()), record, "").id, flush=True)
        seed += 1
"""


def test_rescan_beside_a_running_studio() -> None:
    """An image that a studio adds during a rescan is neither lost nor marked as missing."""
    fill()
    with start_studio() as studio:
        assert studio.stdin is not None
        assert studio.stdout is not None
        assert studio.stderr is not None
        picture_ids = [studio.stdout.readline().strip()]
        for _ in range(4):
            summary = json.loads(invoke("library", "rescan", "--json")[1])
            assert (summary["missing"], summary["moved"], summary["skipped"]) == (0, 0, {})
            assert invoke("library", "search", "made")[0] == 0
        studio.stdin.close()
        # Not `communicate`, which loses the lines that `readline` has read ahead.
        picture_ids += studio.stdout.read().split()
        err = studio.stderr.read()
        assert (studio.wait(LIMIT_SECONDS), err) == (0, "")
    code, out, _ = invoke("library", "search", "made meanwhile", "--all", "--json")
    assert (code, [item["id"] for item in parse_json_lines(out)]) == (0, picture_ids[::-1])
    summary = json.loads(invoke("library", "rescan", "--json")[1])
    assert not any(summary.values()), summary


def start_studio() -> subprocess.Popen[str]:
    """Start a program that adds images to the library until its standard input is closed."""
    pipe = subprocess.PIPE
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", STUDIO_SCRIPT], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_a_rescan(signal_number: signal.Signals) -> None:
    """Ctrl+C and SIGTERM end a rescan, and the library isn't locked afterwards."""
    fill()
    with (
        FileLock(LIBRARY_DIR / STATE_DIR / "rescan.lock"),
        start_process("library", "rescan") as process,
    ):
        assert process.stderr is not None
        assert process.stderr.readline() == "Scanning the library…\n"
        process.send_signal(signal_number)
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    assert (process.returncode, out, err) == (
        128 + signal_number,
        "",
        "■ Stopped.\n",
    )
    assert invoke("library", "rescan")[0] == 0


def test_full_disk_and_closed_output_are_reported() -> None:
    """A full disk is an error with a message; `| head` is an exit code without one."""
    fill(f"number {index}" for index in range(50))
    with Path("/dev/full").open("w") as full:
        for arguments in (("stats",), ("search", "--json"), ("search",)):
            code, _, err = run_process("library", *arguments, stdout=full)
            assert (code, err.count("Couldn't write the output: the disk is full.")) == (
                9,
                1,
            )
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    code, _, err = run_process("library", "search", "--all", stdout=write_fd)
    os.close(write_fd)
    assert (code, err) == (141, "")


def test_terminal_gets_a_table() -> None:
    """A terminal gets a table with prompts, details and paths, without control sequences."""
    fill()
    leader, follower = pty.openpty()
    with start_process(
        "library", "search", "--limit", "4", stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        output = read_terminal(leader)
        assert process.wait(LIMIT_SECONDS) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", output.decode())
    assert re.search(r"^2026-11-24 \d\d:\d\d +64 × 32 +a lighthouse at dusk", text, re.MULTILINE)
    assert re.search(r"seed 1 · starred · sea ·\s+2026-11-23/\d+-1-a-light-boat\.png", text)
    assert "夜の灯台" in text
    assert "fog [31m[red] steps: 3" in text
    assert b"\x1b[31m" not in output


@pytest.mark.parametrize("options", [(), ("--infotext",)])
def test_terminal_gets_no_bidirectional_controls(options: tuple[str, ...]) -> None:
    """On a terminal, no text of an image can reverse the words around it; a pipe gets them all."""
    prompt = "a \u202ecat\u2066 in\u200f a hat"
    Path("cat.png").write_bytes(encode_png(1, parameters=f"{prompt}\nSteps: 20, Seed: 7"))
    leader, follower = pty.openpty()
    with start_process(
        *("library", "show", "cat.png", *options), stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        output = read_terminal(leader).decode()
        assert process.wait(LIMIT_SECONDS) == 0
    assert re.search(r"a ?\scat\s+in\s+a hat", output)
    assert not re.search("[\u202e\u2066\u200f]", output)
    if options:
        assert invoke("library", "show", "cat.png", *options)[1].startswith(prompt)
