"""Run on a node as somebody, by `python -c`: what that user can read, hear and reach there.

Standard library and pyzmq only; prints a JSON object of lists.
"""

import contextlib
import glob
import json
import os
import socket
import ssl
import stat
import sys

LISTEN_MS = 3000


def read(uid, *folders):
    """What of that user's, or of what Slurm keeps, can be opened."""
    files = []
    for folder in folders:
        for place, _, names in os.walk(folder):
            files += [file for name in names if can_read(file := os.path.join(place, name), uid)]
        if os.stat(folder).st_uid == int(uid) and os.access(folder, os.R_OK):
            files.append(folder)
    pids = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if is_of(pid, uid)]
    parts = [f"/proc/{pid}/{part}" for pid in pids for part in ("environ", "mem", "maps", "cwd")]
    parts += [file for pid in pids for file in glob.glob(f"/proc/{pid}/fd/*")]
    return {"files": files, "processes": [part for part in parts if can_open(part)]}


def is_of(pid, uid):
    with contextlib.suppress(OSError):
        return os.stat(f"/proc/{pid}").st_uid == int(uid)
    return False


def can_read(file, uid):
    """Another's own file, or a script of Slurm's; pipes and the like are not opened."""
    with contextlib.suppress(OSError):
        found = os.stat(file)
        concerns = found.st_uid == int(uid) or "slurm_script" in file
        own = found.st_uid == os.getuid()
        return concerns and not own and stat.S_ISREG(found.st_mode) and can_open(file)
    return False


def can_open(file):
    try:
        if file.endswith("cwd") or "/fd/" in file:
            os.readlink(file)
        else:
            os.close(os.open(file, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def knock(port):
    """What a session's port says to who comes without the proxy's certificate."""
    own = anybody()
    files = memory_files(os.getuid())
    own.load_cert_chain(files["certificate"], files["key"])
    return {
        "plain": [answer(port, None)],
        "without a certificate": [answer(port, anybody())],
        "with that of his session": [answer(port, own)],
    }


def answer(port, context):
    try:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as plain:
            with context.wrap_socket(plain) if context else plain as connection:
                connection.sendall(b"GET /user/alice/api HTTP/1.0\r\n\r\n")
                return connection.recv(100).decode()
    except OSError as error:
        return type(error).__name__


def anybody():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def memory_files(uid):
    """Those without a name that this user's processes hold, as sessions keep certificates."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if is_of(pid, uid):
            for file in glob.glob(f"/proc/{pid}/fd/*"):
                with contextlib.suppress(OSError):
                    name = os.readlink(file)
                    if name.startswith("/memfd:"):
                        found[name.removeprefix("/memfd:").removesuffix(" (deleted)")] = file
    return found


def key(uid):
    """The private key of that user's session."""
    with open(memory_files(uid)["key"]) as file:
        return {"files": [file.read()]}


def kernel(home):
    """The connection file of the kernel that runs in that home."""
    runtime = os.path.join(home, ".local/share/jupyter/runtime/kernel-*.json")
    return {"files": [open(file).read() for file in glob.glob(runtime)]}


def listen(connection):
    """What the kernel's ports say: with its keys where they are known, else without."""
    import zmq

    known = json.loads(connection)
    if "curve_publickey" in known:
        own = [known[key].encode() for key in ("curve_publickey", "curve_secretkey")]
        return {"with her keys": hear({"iopub": known["iopub_port"]}, own)}
    ports = {name.removesuffix("_port"): port for name, port in known.items()}
    return {"plain": hear(ports, None), "with keys of his own": hear(ports, zmq.curve_keypair())}


def hear(ports, keys):
    """All that they say within some seconds, when greeted, as far as the first few words."""
    import zmq

    heard, poller = [], zmq.Poller()
    with zmq.Context() as context:
        for name, port in ports.items():
            reader = context.socket(zmq.SUB if name == "iopub" else zmq.DEALER)
            reader.linger = 0
            if keys:
                reader.curve_publickey, reader.curve_secretkey = keys
                reader.curve_serverkey = keys[0]
            if name == "iopub":
                reader.subscribe(b"")
            reader.connect(f"tcp://127.0.0.1:{port}")
            poller.register(reader, zmq.POLLIN)
            if name != "iopub":
                reader.send(b"hello", zmq.NOBLOCK)
        while len(heard) < 5 and (ready := poller.poll(LISTEN_MS)):
            heard += [b" ".join(one.recv_multipart()).decode(errors="replace") for one, _ in ready]
        context.destroy(linger=0)
    return heard


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
