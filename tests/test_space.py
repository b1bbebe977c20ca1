"""The demo Space: over this program's client, gradio_client, and plain HTTP."""

import io
import json
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor

import anyio
import gradio as gr
import gradio_client
import httpx
import pytest
from gradio import processing_utils
from PIL import Image

from sd35.client import SpaceClient
from sd35.core.events import Finished, Preview, Progress
from sd35.core.limits import PUBLIC_LIMITS
from sd35.core.model_info import ModelInfo
from sd35.core.picture import open_picture
from sd35.core.request import GenerationRequest
from sd35.core.sizes import ASPECT_RATIOS, SizeUnavailableError, size_for
from sd35.server import launch
from sd35.server.blocks import locked_blocks
from sd35.server.sessions import replace_session_holder
from sd35.space.engine import Step
from sd35.space.painter import DemoPainter
from sd35.space.previews import LONGEST_SIDE, MAX_BYTES
from sd35.space.server import DemoSpace, announce_model, build_space
from tests.test_contract import DESCRIPTIONS
from tests.tripwire import open_tripwire

REQUEST = GenerationRequest("a cat by the sea", "", 512, 512, 4.5, 12, 7, randomize_seed=False)
REQUEST_DATA = [REQUEST.prompt, "", 7, False, 512, 512, 4.5, 12]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    space = DemoSpace()
    yield space.start()
    space.close()


@pytest.mark.anyio
async def test_run_yields_previews_progress_and_a_png(address: str) -> None:
    """A run yields small previews, the progress up to the last step, and a lossless image."""
    async with SpaceClient.connect(address) as space:
        assert space.contract.is_demo
        assert space.contract.limits == PUBLIC_LIMITS
        previews = []
        steps = []
        async with space.generate(REQUEST) as generation:
            async for event in generation:
                match event:
                    case Preview(picture=remote):
                        previews.append(await space.fetch(remote))
                    case Progress(step=step):
                        steps.append(step)
                    case Finished():
                        finished = event
        picture = await space.fetch(finished.picture)
    assert len({preview.data for preview in previews}) >= 3
    assert all(len(preview.data) <= MAX_BYTES for preview in previews[:-1])
    assert all(max(preview.width, preview.height) <= LONGEST_SIDE for preview in previews[:-1])
    assert steps
    assert steps[-1] == 12
    assert finished.seed == 7
    assert (picture.format, picture.width, picture.height) == ("PNG", 512, 512)
    text = Image.open(io.BytesIO(picture.data)).info
    assert "demo painter" in text["Software"]


@pytest.mark.anyio
async def test_every_aspect_ratio_is_accepted(address: str) -> None:
    """A Space with the public limits accepts the size of every available aspect ratio."""
    async with SpaceClient.connect(address) as space:
        for ratio in ASPECT_RATIOS:
            try:
                size = size_for(ratio, space.contract.limits)
            except SizeUnavailableError:
                continue
            async with space.generate(
                GenerationRequest("sun", "", size.width, size.height, 4.5, 1)
            ) as generation:
                finished = [event async for event in generation][-1]
            assert isinstance(finished, Finished)
            picture = await space.fetch(finished.picture)
            assert (picture.width, picture.height) == (size.width, size.height)


def test_api_is_that_of_the_public_space(address: str) -> None:
    """`/infer` has the parameters of the public Space: names, order, types and defaults."""
    info = httpx.get(f"{address}gradio_api/info").json()["named_endpoints"]["/infer"]["parameters"]
    public = json.loads(DESCRIPTIONS[-1].read_text())["info"]["named_endpoints"]["/infer"][
        "parameters"
    ]
    assert [{key: parameter[key] for key in public[0]} for parameter in info] == public


def test_gradio_client_gets_previews_and_result(address: str) -> None:
    """Gradio's own client gets the previews and the result."""
    client = gradio_client.Client(address, verbose=False, download_files=False)
    job = client.submit(*REQUEST_DATA, api_name="/infer")
    image, seed = job.result(timeout=30)
    assert seed == 7
    assert image["path"].endswith(".png")
    assert len(job.outputs()) > 3


@pytest.mark.parametrize("negative_prompt", ["", None])
def test_simple_http_api_works(address: str, negative_prompt: str | None) -> None:
    """`/call/infer` works, also with `null` for the negative prompt."""
    data = [REQUEST_DATA[0], negative_prompt, *REQUEST_DATA[2:]]
    event_id = httpx.post(f"{address}gradio_api/call/infer", json={"data": data}).json()["event_id"]
    answer = httpx.get(f"{address}gradio_api/call/infer/{event_id}", timeout=30).text
    events = [block.split("\n") for block in answer.strip().split("\n\n")]
    names = [lines[0] for lines in events]
    assert names.count("event: generating") >= 3
    assert names[-1] == "event: complete"
    image, seed = json.loads(events[-1][1].removeprefix("data: "))
    assert seed == 7
    assert open_picture(httpx.get(image["url"]).content).format == "PNG"


@pytest.mark.parametrize(
    ("position", "value", "expected_message"),
    [
        (4, 1344, "1344 is greater than maximum value 1024"),
        (5, 520, "multiples of 16"),
        (7, 51, "maximum value 50"),
    ],
)
def test_invalid_values_are_rejected(
    address: str, position: int, value: int, expected_message: str
) -> None:
    """The demo Space rejects what the public one rejects."""
    data: list[object] = [*REQUEST_DATA]
    data[position] = value
    event_id = httpx.post(f"{address}gradio_api/call/infer", json={"data": data}).json()["event_id"]
    answer = httpx.get(f"{address}gradio_api/call/infer/{event_id}", timeout=30).text
    assert "event: error" in answer
    assert expected_message in answer


def test_no_value_of_a_call_is_fetched(address: str) -> None:
    """The demo Space, too, refuses whatever looks like a file."""
    with open_tripwire() as tripwire, httpx.Client(base_url=address, timeout=30) as http:
        join = {"data": ["FILE", *REQUEST_DATA[1:]], "fn_index": 0, "session_hash": "s"}
        for path, status in tripwire.attack(http, {"queue/join": join}, "infer", REQUEST_DATA):
            assert 400 <= status < 500, path
        assert not tripwire.requested_paths


@pytest.mark.anyio
async def test_gradio_downloads_nothing() -> None:
    """Even a value that has come past all checks, or is a function's output, isn't fetched."""
    with open_tripwire() as tripwire:
        for is_output in (False, True):
            with pytest.raises(gr.Error, match="aren't fetched"):
                await processing_utils.async_move_files_to_cache(
                    tripwire.file(), gr.Textbox(), postprocess=is_output
                )
        assert not tripwire.requested_paths


@pytest.mark.anyio
async def test_failed_function_is_one_line(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """An unforeseen error in a function leaves its class and place in the log, nothing else."""

    def fail() -> None:
        raise ValueError("text of a visitor")

    with locked_blocks("failing") as demo:
        gr.Button("fail").click(fail)
    with pytest.raises(gr.Error, match="Something went wrong") as failure:
        await demo.process_api(demo.fns[0], [])
    assert not failure.value.print_exception, "with which Gradio prints a traceback"
    (record,) = caplog.records
    assert record.getMessage().startswith("fail: ValueError at tests/test_space.py:")
    assert record.exc_info is None
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.anyio
async def test_session_remembers_changes_of_components_and_nothing_else() -> None:
    """A session knows how a listener has changed a component, and describes none of them."""
    with locked_blocks("changing") as demo:
        slider = gr.Slider(0, 10)
        gr.Button("change").click(lambda: gr.update(maximum=20, value=15), None, slider)
    app = gr.routes.App.create_app(demo)
    replace_session_holder(app)
    session, another = app.state_holder["a"], app.state_holder["b"]
    result = await demo.process_api(demo.fns[0], [], state=session)
    assert result["data"] == [{"maximum": 20, "value": 15, "__type__": "update"}]
    assert session[slider._id].maximum == 20
    assert another[slider._id].maximum == 10
    assert not session.config_values
    assert app.state_holder["a"] is session


@pytest.mark.anyio
async def test_space_announces_the_model_that_it_has_now() -> None:
    """Who connects after an update of the model hears of the new revision."""
    demo = build_space(DemoPainter())
    address = launch.launch(demo, port=launch.free_port())
    announce_model(demo, ModelInfo("a/b", revision="new"))
    async with SpaceClient.connect(address) as client:
        assert client.contract.model_info == ModelInfo("a/b", revision="new")
    launch.close(demo)


class SlowlyStoppingPainter(DemoPainter):
    """Painter whose step, when the run is stopped, lasts until the test allows its end."""

    def __init__(self) -> None:
        super().__init__()
        self.is_stopping = threading.Event()
        self.may_stop = threading.Event()

    def generate(self, request: GenerationRequest) -> Generator[Step | Image.Image, None, None]:
        """Yield the painter's results."""
        try:
            yield from super().generate(request)
        finally:
            self.is_stopping.set()
            assert self.may_stop.wait(10)


@pytest.mark.anyio
async def test_stopping_a_run_holds_up_nobody_else() -> None:
    """While a run ends its step, the Space answers others."""
    engine = SlowlyStoppingPainter()
    demo = build_space(engine)
    address = launch.launch(demo, port=launch.free_port())
    async with SpaceClient.connect(address) as client:
        request = GenerationRequest("a", "", 512, 512, 4.5, 50, 1, randomize_seed=False)
        async with client.generate(request) as generation:
            async for event in generation:
                if isinstance(event, Progress):
                    break
        assert await anyio.to_thread.run_sync(engine.is_stopping.wait, 10)
        async with httpx.AsyncClient() as other:
            assert (await other.get(f"{address}config", timeout=5)).status_code == 200
    engine.may_stop.set()
    launch.close(demo)


def test_random_seed_is_returned(address: str) -> None:
    """With `randomize_seed`, each run returns the seed that it drew."""
    client = gradio_client.Client(address, verbose=False, download_files=False)
    seeds = {
        client.predict(*REQUEST_DATA[:3], *[True], *REQUEST_DATA[4:7], 1, api_name="/infer")[1]
        for _ in range(3)
    }
    assert len(seeds) == 3


def test_apps_built_in_two_threads_stay_separate() -> None:
    """Each of two apps that are built at the same time gets its own components and endpoints."""
    is_building_second = threading.Event()

    def build_second() -> gr.Blocks:
        with locked_blocks("second") as second:
            is_building_second.set()
            gr.Button("second").click(lambda: None, api_name="of_second")
        return second

    with ThreadPoolExecutor() as threads, locked_blocks("first") as first:
        second = threads.submit(build_second)
        assert not is_building_second.wait(0.2)
        gr.Button("first").click(lambda: None, api_name="of_first")
    endpoints = [
        [function.api_name for function in app.fns.values()] for app in (first, second.result(10))
    ]
    assert endpoints == [["of_first"], ["of_second"]]
