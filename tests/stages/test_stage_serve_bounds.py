"""What a request may take of the server's memory: counted from headers, refused beforehand, given back afterwards."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from starlette.requests import ClientDisconnect, Request

from passmuster.core.config import DataConfig, ServeConfig
from passmuster.core.errors import DataError
from passmuster.modality.find import modalities
from passmuster.stages.serve.app import wanted
from passmuster.stages.serve.decoding import Decoder, Field
from passmuster.stages.serve.refusals import Full, TooLarge
from serving_case import Server, forked, maker, pictures, png, project

SMALL = png(pictures(1)[0])  # 64 pixels
NEVER = threading.Event()
LIMITS = ServeConfig(max_request_pixels=640, max_pixels_in_flight=1_000)


def fields(*items: object) -> list[Field]:
    open_json = modalities["image"].open_json
    return [Field(f"items[{i}]", partial(open_json, item, DataConfig())) for i, item in enumerate(items)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = project(maker(tmp_path_factory.mktemp("bounds")), max_request_pixels=640)
    with forked(store) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as made:
        yield made


def tensor(n: int) -> dict[str, object]:
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [n], "data": [SMALL] * n}]}


def test_a_request_of_too_many_pixels_is_413_and_says_how_many(client: httpx.Client) -> None:
    assert client.post("/v1/predict", json={"items": [SMALL] * 10}).status_code == 200
    answer = client.post("/v1/predict", json={"items": [SMALL] * 11})
    told = answer.json()["error"]
    assert (answer.status_code, told["code"]) == (413, "request.too_many_pixels")
    assert (told["value"], told["limit"], told["where"]) == ("704 in 11 of 11 items", "640", "items[10]")
    assert "serve.max_request_pixels" in told["next"]


def test_the_same_bound_holds_for_tensors(client: httpx.Client) -> None:
    assert client.post("/v2/models/project/infer", json=tensor(10)).status_code == 200
    answer = client.post("/v2/models/project/infer", json=tensor(11))
    assert (answer.status_code, answer.json()["code"]) == (413, "request.too_many_pixels")


def test_nothing_is_decompressed_before_all_headers_are_known() -> None:
    cut = SMALL[:-40]  # its header is whole, its pixels are not
    with pytest.raises(TooLarge):
        Decoder(LIMITS).open(fields(*[cut] * 11), NEVER)


def test_pixels_count_until_their_memory_is_free() -> None:
    decoder = Decoder(LIMITS)
    ten = fields(*[SMALL] * 10)
    held = decoder.load(ten, decoder.open(ten, NEVER), NEVER)
    assert decoder.budget.n_pixels == 640
    with pytest.raises(Full) as caught:
        decoder.load(ten, decoder.open(ten, NEVER), NEVER)
    assert (caught.value.code, caught.value.http_status, caught.value.value) == ("serve.memory", 429, 1280)
    assert decoder.budget.n_pixels == 640
    del held[:3]
    gc.collect()
    assert decoder.budget.n_pixels == 448


def test_what_could_not_be_decoded_counts_no_longer() -> None:
    decoder = Decoder(LIMITS)
    spoilt = fields(SMALL, png(pictures(1)[0])[:-40])
    with pytest.raises(DataError, match=r"items\[1\]"):
        decoder.load(spoilt, decoder.open(spoilt, NEVER), NEVER)
    gc.collect()
    assert decoder.budget.n_pixels == 0


def test_alone_a_request_may_be_larger_than_what_is_set_aside() -> None:
    decoder = Decoder(ServeConfig(max_pixels_in_flight=10))
    one = fields(SMALL)
    assert len(decoder.load(one, decoder.open(one, NEVER), NEVER)) == 1


def test_decoding_stops_once_nobody_waits() -> None:
    decoder, gone, opened = Decoder(LIMITS), threading.Event(), []

    def leave_after_two() -> object:
        opened.append(1)
        if len(opened) == 2:
            gone.set()
        return modalities["image"].open_json(SMALL, DataConfig())

    several = [Field("", leave_after_two)] * 5
    with pytest.raises(ClientDisconnect):
        decoder.open(several, gone)
    assert len(opened) == 2
    whole = fields(SMALL, SMALL)
    with pytest.raises(ClientDisconnect):
        decoder.load(whole, decoder.open(whole, NEVER), gone)
    assert decoder.budget.n_pixels == 0


def test_a_caller_who_hangs_up_and_a_deadline_are_both_told_to_the_thread() -> None:
    async def hang_up() -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def nothing() -> dict[str, str]:
        await asyncio.sleep(60)
        return {}

    async def play() -> None:
        async with wanted(Request({"type": "http"}, hang_up)) as gone:
            assert await asyncio.to_thread(gone.wait, 10)
        found: list[threading.Event] = []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(found), 0.01)
        assert found[0].is_set()

    async def wait(found: list[threading.Event]) -> None:
        async with wanted(Request({"type": "http"}, nothing)) as gone:
            assert not gone.is_set()
            found.append(gone)
            await asyncio.sleep(60)

    asyncio.run(play())
