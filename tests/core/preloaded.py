"""A process that has imported the package once and forks for every command: a start costs milliseconds.

    python -P preloaded.py serve SOCKET                 in the environment whose commands it runs
    python preloaded.py run SOCKET COMMAND [WORD ...]   what a shell runs in the place of COMMAND

A command has its caller's folder, environment and files 0 to 2. COMMAND is `warmprompt` or `python`, whose
first word is then a file.
"""

import array
import importlib
import json
import os
import runpy
import socket
import sys
from pathlib import Path

_FILES = (0, 1, 2)
_MOST_BYTES = 1 << 20


# What most commands import, and takes seconds.
MODULES = (
    "transformers.models.bert.modeling_bert",
    "transformers.models.llama.modeling_llama",
    "warmprompt.assembly.evaluating",
    "warmprompt.cli",
    "warmprompt.training.run",
)


def serve(address: str) -> None:
    """Import modules, then run whatever is asked for, each command in a process of its own."""
    for module in MODULES:
        importlib.import_module(module)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(part := f"{address}.part")
        listening.listen()
        Path(part).rename(address)
        while True:
            asked, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                break
            asked.close()
            _reap()
    request, files = _receive(asked)
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        asked.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    asked.close()
    _become(request, files)
    _run(request["command"], request["words"])


def run(address: str, command: str, words: list[str]) -> int:
    """Have a command run by the process that serves, and return its exit code."""
    request = {"command": command, "words": words, "folder": str(Path.cwd()), "variables": dict(os.environ)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked:
        asked.connect(address)
        files = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", _FILES).tobytes())
        asked.sendmsg([json.dumps(request).encode()], [files])
        return int(asked.recv(16))


def _reap() -> None:
    """Forget processes that are done."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _receive(asked: socket.socket) -> tuple[dict, array.array]:
    files = array.array("i", _FILES)
    message, ((_, _, sent),), *_ = asked.recvmsg(_MOST_BYTES, socket.CMSG_SPACE(len(files) * files.itemsize))
    return json.loads(message), array.array("i", sent)


def _become(request: dict, files: array.array) -> None:
    """Take the caller's folder, environment and files."""
    for file, number in zip(files, _FILES, strict=True):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["variables"])


def _run(command: str, words: list[str]) -> None:
    if command == "python":
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")
    else:
        from warmprompt.cli import main

        sys.argv = [command, *words]
        main()


if __name__ == "__main__":
    mode, address, *rest = sys.argv[1:]
    if mode == "serve":
        serve(address)
    else:
        sys.exit(run(address, rest[0], rest[1:]))
