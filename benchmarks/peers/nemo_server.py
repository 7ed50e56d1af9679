"""NeMo Guardrails' own server with IORails: `python -m benchmarks.peers.nemo_server FOLDER`, FOLDER with a config.yaml.

The application, its engine and its web server are NeMo's. What differs from `nemoguardrails server`: it takes a free
port of the loopback interface and tells it, it does not fall back to the other engine, and it logs warnings only, where
the other always writes its debug log.
"""

import argparse
import json
import logging
import socket
from pathlib import Path

import uvicorn
from nemoguardrails.guardrails import iorails
from nemoguardrails.guardrails.guardrails import Guardrails
from nemoguardrails.llm.taskmanager import LLMTaskManager
from nemoguardrails.rails import RailsConfig
from nemoguardrails.server import api


def verdict(reply: str) -> list[bool]:
    """Whether the text is safe, as a rail wants it, from the reply of a check that has our form."""
    return [not json.loads(reply)["violation"]]


class Tasks(LLMTaskManager):
    """NeMo's, with our parser: IORails takes none (`register_output_parser` raises there), and none of its own fits."""

    def __init__(self, config: RailsConfig) -> None:
        super().__init__(config)
        self.register_output_parser(verdict, "verdict")


def engine(config: RailsConfig, verbose: bool) -> Guardrails:
    """What the server makes for each config: IORails, or an error."""
    return Guardrails(config, verbose=verbose, require_iorails=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    iorails.LLMTaskManager, api.LLMRails = Tasks, engine
    logging.disable(logging.INFO)
    api.app.rails_config_path = str(folder)
    api.set_default_config_id(folder.name)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(json.dumps({"host": "127.0.0.1", "port": listener.getsockname()[1]}), flush=True)
    uvicorn.Server(uvicorn.Config(api.app, log_level="warning", access_log=False)).run(sockets=[listener])
