"""A server that scores pictures as `--classifier http://HOST/PATH` asks, in 40 lines.

    python examples/score_server.py lab:birds-biased --port 8000
    dexter-tui run --classifier http://127.0.0.1:8000/score --class waterbird \
        --template "a picture of a bird with [MASK] and [MASK]" --generator lab

Put your own network in place of `load_classifier`. A request is a PNG; the reply is
{"scores": {label: probability}}.
"""

import argparse
import io
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import torch
from PIL import Image

from dexter.classifiers import load_classifier


class Scores(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for many pictures
    classifier = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        pixels = np.array(Image.open(io.BytesIO(body)).convert("RGB"))
        picture = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            p = self.classifier(picture).logits.double().softmax(-1)[0].tolist()
        scores = dict(zip(self.classifier.labels, p, strict=True))
        reply = json.dumps({"scores": scores}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classifier", help="such as lab:birds-biased")
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    Scores.classifier = load_classifier(options.classifier)
    with ThreadingHTTPServer(("127.0.0.1", options.port), Scores) as server:
        print(f"http://127.0.0.1:{server.server_port}/score", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
