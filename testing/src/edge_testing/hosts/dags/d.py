"""Tasks that log what their container or service lets them do."""

import errno
import json
import os
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from airflow.sdk import dag, task

DAGS = Path(__file__).parent


def attempt(what):
    try:
        what()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


def set_uid_bit():
    with tempfile.NamedTemporaryFile() as scratch:
        os.fchmod(scratch.fileno(), 0o4755)


@dag(schedule=None)
def d():
    @task
    def look():
        status = dict(line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines())
        with tempfile.TemporaryFile() as scratch:
            scratch.write(b"x")
        found = {
            "uid": os.getuid(),
            "capabilities": sorted({status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd")}),
            "no_new_privileges": status["NoNewPrivs"],
            "read_only": [path for path in ("/", "/opt", str(DAGS)) if os.statvfs(path).f_flag & os.ST_RDONLY],
            "writable": [path for path in (tempfile.gettempdir(), str(Path.home())) if os.access(path, os.W_OK)],
        }
        print(f"found {json.dumps(found)}")

    @task
    def reach():
        found = {
            "write to /usr": attempt(Path("/usr/tried").touch),
            "write to /etc": attempt(Path("/etc/tried").touch),
            "write to /dev": attempt(Path("/dev/tried").touch),
            "write to control groups": attempt(Path("/sys/fs/cgroup/tried").mkdir),
            "look into /home": attempt(lambda: next(Path("/home").iterdir(), None)),
            "look at a file in the host's /tmp": attempt(Path(tempfile.gettempdir(), "of-the-host").stat),
            "set a SUID bit": attempt(set_uid_bit),
            "talk to a network card": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)),
            "exit code of unshare": subprocess.run(["unshare", "--user", "true"], check=False).returncode,
            "signal systemd": attempt(lambda: os.kill(1, 0)),
            "read systemd's environment": attempt(Path("/proc/1/environ").read_bytes),
        }
        print(f"found {json.dumps(found)}")

    @task
    def hold():
        while not (DAGS / "go").exists():
            time.sleep(0.1)

    look()
    reach()
    hold()


d()
