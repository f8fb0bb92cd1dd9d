"""The page: its functions, and the served page over HTTP and in a browser."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec

import httpx
import pytest
import soundfile
import torch

from mmcl.config.model import StrictModel, load_config
from mmcl.config.tasks import find_config, load_task
from mmcl.data import SpokenDigits, open_dataset
from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError
from mmcl.metrics.calibration import Calibration
from mmcl.models import ImageClassifier, SLUClassifier, TwoTower
from mmcl.models.saved import save_slu
from mmcl.models.saved_calibration import write_calibration
from mmcl.models.saved_classifiers import save_classifier
from mmcl.models.text_classifier import TextClassifier
from mmcl.models.text_to_text import TextToText
from mmcl.models.two_tower import embed_texts
from mmcl.predict import open_recognizer
from mmcl.runs.run import Run
from mmcl.serving.listener import Listener, TrainingSentences
from mmcl.serving.page import build_page, show_answer, show_course

# The server prints its network calls to stderr.
WATCHED = """
import sys
def watch(event, arguments):
    if event in ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        print(event, arguments[1 if event in ("socket.bind", "socket.connect") else 0], file=sys.stderr, flush=True)
sys.addaudithook(watch)
from mmcl.cli.main import main
main()
"""


class Config(StrictModel):
    strategy: tuple[str, ...] = ("naive", "coconut")
    seeds: tuple[int, ...] = (0, 1)


def incremental(folder):
    """A run of two strategies and two seeds; the first strategy forgets."""
    with Run.create("slu_incremental", Config(), folder) as run:
        for seed in (0, 1):
            for strategy, kept in (("naive", 0.0), ("coconut", 0.75 + seed / 10)):
                row = {"strategy": strategy, "seed": seed}
                run.log("stream", **row, experiences=[["<b>on"], ["off"]], train_sizes=[4, 4], test_sizes=[4, 4])
                run.log("evaluation", **row, experience=0, accuracy=[1.0, 0.0], seen_accuracy=1.0, per_class={})
                seen = {"accuracy": [kept, 0.5], "seen_accuracy": (kept + 0.5) / 2, "per_class": {}}
                run.log("evaluation", **row, experience=1, **seen)
    return run


@pytest.fixture
def listener():
    torch.manual_seed(0)
    model = TwoTower(build_encoder("audio", "cnn", dim=16), build_encoder("text", "words", dim=16)).eval()
    texts = ["a <b>tea</b>", "lamp on"]
    return Listener(model, TrainingSentences(texts, 7), embed_texts(model, texts))


def test_answer_is_shown_and_user_text_is_escaped(listener, recording):
    shown = show_answer(listener, recording, "<i>on</i>\ntea: a tea | tea please")
    answer = listener.answer(recording, {"<i>on</i>": ["<i>on</i>"], "tea": ["a tea", "tea please"]})
    assert shown.shares == pytest.approx({each.intent: each.share for each in answer.predictions})
    assert re.search(r"cosine -?\d\.\d{3}, in \d+ ms for 0\.6 s of speech", shown.message)
    assert "&lt;i&gt;on&lt;/i&gt;" in shown.scores and "a &lt;b&gt;tea&lt;/b&gt;" in shown.sentences
    assert not re.search("<[ib]>", "".join((shown.message, shown.scores, shown.sentences)))
    assert "the first 2 of 7" in shown.sentences
    for each in answer.predictions:
        number = '<td class="number">'
        assert f"{number}{each.cosine:.3f}</td>{number}{100 * each.share:.1f} %</td>" in shown.scores


def test_missing_training_sentences_are_explained(listener, recording):
    listener.sentences, listener.vectors = TrainingSentences([], 0, "the corpus is missing"), listener.vectors[:0]
    assert "the corpus is missing" in show_answer(listener, recording, "on").sentences
    listener.sentences = TrainingSentences([], 7)  # with --sentences 0
    assert show_answer(listener, recording, "on").sentences == ""


def test_errors_become_messages_with_the_file_name(listener, recording, tmp_path):
    (tmp_path / "<b>.wav").write_text("text")
    soundfile.write(tmp_path / "silent.wav", torch.zeros(8000).numpy(), 16000)
    for file, written, message in (
        (None, "on", "no recording"),
        (recording, " \n", "0 intents"),
        (recording, "on\nOn", "&#x27;on&#x27;"),
        (str(tmp_path / "<b>.wav"), "on", "&lt;b&gt;.wav"),
        (str(tmp_path / "silent.wav"), "on", "silent.wav"),
        (str(tmp_path / "gone.wav"), "on", "gone.wav"),
    ):
        shown = show_answer(listener, file, written)
        assert message in shown.message and shown[1:] == (None, "", "") and str(tmp_path) not in shown.message


def test_results_of_runs_are_drawn(tmp_path):
    runs = [incremental(tmp_path / "a"), incremental(tmp_path / "b")]
    page = show_course(runs[:1])
    assert page.count("<svg") == 2 and "coconut" in page and "naive" in page and str(tmp_path / "a") in page
    assert ">80</text>" in page  # mean of 75 and 85 % on the first experience
    some = show_course(runs[:1], ["naive"])
    assert "coconut" not in some and some.count("<svg") == 2
    assert {"a/naive", "b/coconut"} <= set(re.findall(r"[ab]/\w+", show_course(runs)))
    assert "No strategy" in show_course(runs, [])
    with (tmp_path / "a" / "metrics.jsonl").open("a") as file:
        file.write("nonsense\n")
    assert "metrics.jsonl line 13" in show_course(runs)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("mmcl.serving.page.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"gradio: pip install 'mmcl\[serve\]'"):
        build_page({}, [], "")


# --- the served page ---


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A two-tower run with the tiny config."""
    pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")
    folder = tmp_path_factory.mktemp("runs")
    task = load_task("speech_to_intent")
    config = load_config(task.Config, find_config("speech_to_intent", "tiny"), ["seeds=[0]"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMCL_CACHE", str(folder / "cache"))
        with Run.create("speech_to_intent", config, folder / "tiny") as opened:
            task.main(config, opened)
    return opened.folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folders of a classifier of speech, of images and of texts, by modality."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    speech = SLUClassifier(build_encoder("audio", "cnn", dim=16), hidden=8)
    student = TextToText.from_scratch(["set an alarm", "play"] * 3, vocabulary=120, dim=16, layers=1, heads=2)
    texts = TextClassifier(student)
    for model in (speech, texts):
        model.grow([0, 1])
    save_slu(speech, folder / "audio", ["lights on", "lights off"])
    save_classifier(texts, folder / "text", ["alarm", "music"])
    save_classifier(ImageClassifier(2), folder / "image", ["cat", "dog"])
    for name in ("audio", "text", "image"):
        write_calibration(folder / name, Calibration("temperature", (1.0,), 0.1, 30, 0.9, 0.1, 0.05))
    return {name: folder / name for name in ("audio", "text", "image")}


@pytest.fixture(scope="module")
def served(run, exported, tmp_path_factory):
    """The URL of the page, and a file with the network calls of the server."""
    if find_spec("gradio") is None:
        pytest.skip("the page needs the extra 'serve'")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("served")
    (folder / "tmp").mkdir()
    folders = [run, incremental(folder / "incremental").folder, *exported.values()]
    command = ["serve", *folders, "--port", port, "--longest", 5]
    own = {"MMCL_CACHE": str(run.parent / "cache"), "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    with (
        (folder / "watched.txt").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WATCHED, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **own},
        ) as server,
    ):
        try:
            line = server.stdout.readline()
            assert line.startswith(f"serving http://127.0.0.1:{port}/"), (folder / "watched.txt").read_text()
            yield line.split()[1], folder / "watched.txt"
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()
    assert not list((folder / "tmp").iterdir())  # recordings are deleted


@pytest.fixture(scope="module")
def spoken(data_dir):
    """A recording of a spoken digit."""
    return SpokenDigits(data_dir / "fsdd", "test").utterances[0].path


@pytest.fixture(scope="module")
def client(served):
    from gradio_client import Client

    return Client(served[0], verbose=False)


@pytest.mark.slow
@pytest.mark.ci
def test_page_answers_over_http(client, spoken, run):
    from gradio_client import handle_file

    for model in ("clip-seed0", "cwcl-seed0"):
        message, shares, scores, sentences = client.predict(
            model, handle_file(spoken), "zero\none: one | a one", api_name="/ask"
        )
        expected = Listener(TwoTower.load(run / "models" / model)).answer(
            spoken, {"zero": ["zero"], "one": ["one", "a one"]}
        )
        assert shares["label"] == expected.predictions[0].intent and f"<strong>{shares['label']}</strong>" in message
        found = {each["label"]: each["confidence"] for each in shares["confidences"]}
        assert found == pytest.approx({each.intent: each.share for each in expected.predictions}, abs=1e-5)
        assert "<td>one</td>" in scores and sentences.count("<tr>") == 6 and "all 24" in sentences


@pytest.fixture(scope="module")
def digit(data_dir, tmp_path_factory):
    """An image of a written digit."""
    from torchvision.utils import save_image

    path = tmp_path_factory.mktemp("images") / "seven.png"
    save_image(open_dataset("mnist", "test", data_dir / "MNIST")[0]["image"], path)
    return path


def test_classifiers_answer_over_http(client, exported, spoken, digit):
    from gradio_client import handle_file

    for modality, given in (("audio", spoken), ("image", digit), ("text", "play")):
        sent = given if modality == "text" else handle_file(given)
        name = f"{exported[modality]}/{modality}"
        message, shares, details = client.predict(name, sent, api_name=f"/classify_{modality}")
        recognizer = open_recognizer(exported[modality])
        expected = recognizer.recognize_text(given) if modality == "text" else recognizer.recognize_file(given)
        found = {each["label"]: each["confidence"] for each in shares["confidences"]}
        assert found == pytest.approx({each.label: each.confidence for each in expected.guesses}, abs=1e-5)
        assert f"<strong>{expected.label}</strong>" in message and "validation samples" in details


def test_uploaded_images_are_shown_and_scripts_are_not(served, digit):
    address, _ = served
    for name, kind in (("seven.png", "image/png"), ("seven.svg", "application/octet-stream")):
        (path,) = httpx.post(f"{address}gradio_api/upload", files={"files": (name, digit.read_bytes())}).json()
        answer = httpx.get(f"{address}gradio_api/file={path}")
        assert answer.status_code == 200 and answer.headers["content-type"] == kind


def test_only_uploaded_files_are_read(served, spoken):
    address, watched = served
    (sent,) = httpx.post(f"{address}gradio_api/upload", files={"files": (spoken.name, spoken.read_bytes())}).json()
    for path in (sent, str(spoken), "/etc/hostname", "http://example.com/order.wav", "https://192.0.2.1/order.wav"):
        data = ["clip-seed0", {"path": path, "meta": {"_type": "gradio.FileData"}}, "on"]
        asked = {"data": data, "fn_index": 0, "session_hash": "own"}
        joined = httpx.post(f"{address}gradio_api/queue/join", json=asked)
        assert joined.status_code == (200 if path == sent else 422)
    with httpx.stream("GET", f"{address}gradio_api/queue/data?session_hash=own", timeout=20) as lines:
        done = next(line for line in lines.iter_lines() if "process_completed" in line)
    assert '"success":true' in done and "cosine" in done
    assert httpx.get(f"{address}gradio_api/file={spoken}").status_code == 403
    asked = {line for line in watched.read_text().splitlines() if line.startswith("socket.")}
    assert asked and all(
        line.startswith("socket.bind ('127.0.0.1'") for line in asked
    )  # the server makes no connections


@pytest.fixture(scope="module")
def page(served, spoken, tmp_path_factory):
    """The page in a browser with a recording as microphone input, and the requests of the browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="a browser is driven by the extra 'dev'")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("there is no chromium")
    loud = tmp_path_factory.mktemp("microphone") / "loud.wav"
    waveform, rate = soundfile.read(spoken)
    soundfile.write(loud, waveform / abs(waveform).max(), rate)
    microphone = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", *microphone, f"--use-file-for-fake-audio-capture={loud}"]
        browser = driver.chromium.launch(executable_path=chromium, args=arguments)
        opened = browser.new_context(permissions=["microphone"], viewport={"width": 1280, "height": 900}).new_page()
        opened.asked, opened.errors = [], []
        opened.on("request", lambda request: opened.asked.append(request.url))
        opened.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.on("dialog", lambda dialog: opened.errors.append(dialog.message) or dialog.dismiss())
        opened.set_default_timeout(20_000)
        opened.goto(served[0])
        yield opened
        browser.close()


def send(page, path):
    """Upload a file, replacing the current one."""
    upload = page.locator("#speech input[type=file]")
    if page.locator("#speech button[aria-label=Clear]").count():
        page.click("#speech button[aria-label=Clear]")
    page.click('#speech button[aria-label="Upload file"]')
    with page.expect_response(lambda response: "/upload" in response.url):
        upload.set_input_files(path)
    page.wait_for_selector("#speech button[aria-label=Clear]")


def ask(page):
    """Press the button and return the new message."""
    page.evaluate("document.querySelector('#message .message').setAttribute('data-old', '')")
    page.click("#ask")
    page.wait_for_selector("#message .message:not([data-old])")
    return page.inner_text("#message")


@pytest.mark.slow
@pytest.mark.ci
def test_answer_in_a_browser(page, served, spoken, tmp_path):
    page.wait_for_selector("#ask")
    assert "activate music" in page.input_value("#intents textarea")  # classes that the run was evaluated on
    send(page, spoken)
    assert re.search(r"volume|music", ask(page))
    page.fill("#intents textarea", "${alert(1)} {{7*7}} <img src=x onerror=alert(2)>\nlights: lights on | lamp on")
    said = ask(page)
    assert re.search(r"cosine -?0\.\d{3}, in \d+ ms for 0\.\d s of speech", said)
    assert "${alert(1)} {{7*7}} <img src=x onerror=alert(2)>" in page.inner_text("#scores")
    assert "lights" in page.inner_text("#shares") and "%" in page.inner_text("#shares")
    assert page.locator("#sentences tbody tr").count() == 5
    page.click("#model input")
    page.get_by_role("option", name="cwcl-seed0").click()
    assert ask(page) != said
    page.screenshot(path=tmp_path / "answer.png", full_page=True)
    assert page.errors == []
    assert all(url.startswith((served[0], "data:", "blob:")) for url in page.asked)


@pytest.mark.slow
def test_errors_in_a_browser(page, tmp_path):
    (tmp_path / "text.wav").write_text("this is text")
    soundfile.write(tmp_path / "silent.wav", torch.zeros(16000).numpy(), 16000)
    soundfile.write(tmp_path / "long.wav", torch.randn(16000 * 6).numpy() * 0.1, 16000)
    (tmp_path / "large.wav").write_bytes(bytes(4_000_000))
    page.fill("#intents textarea", "on\noff")
    for name, message in (
        ("text.wav", "text.wav"),
        ("silent.wav", "silent.wav"),
        ("long.wav", "long.wav lasts 6.0 s"),
    ):
        send(page, tmp_path / name)
        assert message in ask(page) and page.locator("#message .fault").count() == 1
        assert page.locator("#scores table").count() == page.locator("#sentences table").count() == 0
    page.click("#speech button[aria-label=Clear]")
    page.click('#speech button[aria-label="Upload file"]')
    page.set_input_files("#speech input[type=file]", tmp_path / "large.wav")
    page.get_by_text("exceed the maximum allowed size").wait_for()
    assert "no recording" in ask(page)


@pytest.mark.slow
def test_microphone_recording_in_a_browser(page):
    page.fill("#intents textarea", "on\non")
    page.click('#speech button[aria-label="Record audio"]')
    page.click("#speech button.record-button")
    page.wait_for_timeout(1500)
    with page.expect_response(lambda response: "/upload" in response.url):
        page.click("#speech button.stop-button")
    page.wait_for_selector("#speech button[aria-label=Clear]")
    assert "'on'" in ask(page)
    page.fill("#intents textarea", "on\noff")
    assert re.search(r"(on|off) cosine .* ms for [1-3]\.\d s of speech", ask(page).replace("\n", " "))


@pytest.mark.slow
def test_results_are_drawn_in_a_browser(page, tmp_path):
    page.get_by_role("tab", name="Class-incremental").click()
    page.wait_for_selector("#course svg")
    assert page.locator("#course svg").count() == 2 and "naive" in page.inner_text("#course table")
    page.uncheck("#strategies label:has-text('naive') input")
    page.wait_for_function("!document.querySelector('#course').innerText.includes('naive')")
    assert "coconut" in page.inner_text("#course table") and page.locator("#course svg").count() == 2
    page.screenshot(path=tmp_path / "course.png", full_page=True)


@pytest.mark.slow
def test_an_image_and_a_text_are_classified_in_a_browser(page, digit, tmp_path):
    page.get_by_role("tab", name="Classify images").click()
    page.click("#image_ask")
    page.get_by_text("no image").wait_for()
    with page.expect_response(lambda response: "/upload" in response.url):
        page.set_input_files("#image_input input[type=file]", digit)
    page.wait_for_function("document.querySelector('#image_input img')?.naturalWidth > 0")
    page.click("#image_ask")
    page.wait_for_selector("#image_message strong")
    assert re.search(r"(cat|dog) confidence \d\d\.\d %", page.inner_text("#image_message").replace("\n", " "))
    assert page.locator("#image_details tbody tr").count() == 2
    page.screenshot(path=tmp_path / "image.png", full_page=True)
    page.get_by_role("tab", name="Classify texts").click()
    page.fill("#text_input textarea", "<img src=x onerror=alert(1)> play")
    page.click("#text_ask")
    page.wait_for_selector("#text_message strong")
    assert "%" in page.inner_text("#text_shares") and page.errors == []
