"""A model on this machine: what `doctor` says about it, and how much of its memory it takes."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from sd35.client import Contract, SpaceClient
from tests.cli_program import ROOT, invoke
from tests.model_hub import REPOSITORY, serve_tiny_model
from tests.test_app import environment

pytestmark = pytest.mark.model

LIMIT_SECONDS = 60


def read_report(*arguments: str) -> tuple[int, dict[str, str], str]:
    """Return the exit code of `doctor`, the status of each check, and its output."""
    code, out, _ = invoke("doctor", *arguments, "--json")
    report = json.loads(out)
    assert report["exit_code"] == code
    return code, {check["check"]: check["status"] for check in report["checks"]}, out


def test_doctor_passes_a_model_in_a_folder_and_tries_it(tmp_path: Path) -> None:
    """All checks are passed: they say how the model will run, and an image is made with it."""
    from tests.random_model import save_tiny_model  # noqa: PLC0415  # needs torch

    target = f"local:{save_tiny_model(tmp_path / 'tiny')}"
    code, statuses, out = read_report(target, "--try", "--device", "cpu", "--precision", "int8")
    assert (code, set(statuses.values())) == (0, {"ok"})
    names = ["Packages", "Device", "Memory", "Token", "Model", "Disk", "Fit", "Space", "Image"]
    assert list(statuses) == names
    assert "runs as int8, with T5, on CPU: takes 2.5 of " in out
    assert "generated: PNG, " in out


def test_doctor_says_which_step_of_the_gate_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that may not be downloaded has an exit code of its own, and isn't fitted."""
    with serve_tiny_model(tmp_path / "model") as hub:
        hub.token = "hf_of_an_account_that_has_accepted"  # made up
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
        code, out, _ = invoke("doctor", f"local:{REPOSITORY}")
        text = " ".join(out.split())
        assert code == 4
        assert f"not ok Model {REPOSITORY} can be downloaded once its licence is accepted" in text
        assert "skipped Fit skipped until the model works" in text
        code, statuses, _ = read_report(f"local:{REPOSITORY}", "--token", hub.token)
    assert (code, statuses["Model"]) == (0, "ok"), "the token of the command is the child's"


def test_doctor_says_what_the_machine_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU and without the network, each is a failed check, and the rest goes on."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    code, statuses, out = read_report("local:medium", "--device", "mps")
    assert (code, statuses["Device"], statuses["Model"]) == (3, "not ok", "not ok")
    assert statuses["Fit"] == "skipped"
    assert "Leave out --device" in out
    assert "stable-diffusion-3.5-medium isn't on this machine" in out


def test_smaller_plan_is_loaded_after_a_lack_of_memory(tmp_path: Path) -> None:
    """The Space starts again at its address, and announces what it runs then."""
    from tests.random_model import save_tiny_model  # noqa: PLC0415  # needs torch

    script = (
        "import torch; from diffusers import StableDiffusion3Pipeline as P; to = P.to\n"
        "def fail(*_, **__):\n"
        "    P.to = to\n"
        "    raise torch.OutOfMemoryError('CUDA out of memory.')\n"
        "P.to = fail\n"
        "from sd35.space.__main__ import end, main; end(main())"
    )
    options = ("--model", str(save_tiny_model(tmp_path / "model")), "--device", "cpu")
    command = [sys.executable, "-c", script, *options, "--port", "0"]
    with subprocess.Popen(  # noqa: S603  # our own program
        command, stdout=subprocess.PIPE, encoding="utf-8", env=environment(tmp_path), cwd=ROOT
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("http://"):
            lines.append(process.stdout.readline().strip())
            assert process.poll() is None
        contract = anyio.run(read_contract, lines[-1])
        process.terminate()
        assert process.wait(LIMIT_SECONDS) == 0
    plans = [line for line in lines if "takes" in line]
    assert [plan.split(",")[0].split()[-1] for plan in plans] == ["bfloat16", "int8"]
    text = "Loading it again with --device cpu --precision int8 --offload none"
    assert any(text in line for line in lines)
    assert contract.model_info.precision == "int8"


async def read_contract(address: str) -> Contract:
    async with SpaceClient.connect(address) as client:
        return client.contract
