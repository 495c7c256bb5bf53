"""A person's way into a session, and what becomes of it when things are killed."""

import ipaddress
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from labkit_spawners.sign_in import MAX_WAIT_S
from tests.hub.real_lab import Answer, Browser, RealLab
from tests.waiting import wait_for


def refused(answer: Answer) -> bool:
    return answer.status in (403, 404) or "/hub/login" in answer.url


def test_a_session_starts_listens_on_loopback_alone_and_ends(lab: RealLab):
    ana = lab.browser("ana")
    ana.start_session("ana")
    record = lab.record("ana")
    assert record["started"] and record["host"] == "127.0.0.1"
    ana.run_in_kernel("ana", "1")
    listening = listeners(lab)
    assert f"127.0.0.1:{record['port']}" in listening["labkit_spawners.launcher"]
    assert listening["ipykernel_launcher"] and listening["configurable-http-proxy"]
    for address in [each for found in listening.values() for each in found]:
        assert ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).is_loopback, listening
    home = lab.folder / "homes" / "ana"
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "Start here.ipynb").exists()
    ana.stop_session("ana")
    assert lab.record("ana") == {}


def listeners(lab: RealLab) -> dict[str, list[str]]:
    """Where the lab's processes listen, by what they run."""
    said = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    ours = lab.processes()
    kinds = ("labkit_spawners.launcher", "ipykernel_launcher", "configurable-http-proxy", "")
    found: dict[str, list[str]] = {kind: [] for kind in kinds}
    for line in said.splitlines():
        for pid in set(map(int, re.findall(r"pid=(\d+)", line))) & set(ours):
            kind = next(kind for kind in kinds if kind in ours[pid])
            found[kind].append(line.split()[3])
    return found


def test_the_other_user_gets_neither_session_nor_files(lab: RealLab):
    ana, ben = lab.browser("ana"), lab.browser("ben")
    ana.start_session("ana")
    wanted = ["/user/ana/lab", "/user/ana/api/contents", "/user/ana/files/Start%20here.ipynb"]
    for path in wanted:
        assert ben.ask(path).status in (403, 404), path
        assert refused(Browser(lab.base).ask(path)), path
        direct = Browser(f"http://127.0.0.1:{lab.record('ana')['port']}")
        assert refused(direct.ask(path)), path
    for path, method in (("/hub/api/users/ana", "GET"), ("/hub/api/users/ana/server", "POST"),
                         ("/hub/api/users/ana/server", "DELETE")):  # fmt: skip
        assert ben.ask(path, method=method, body={}).status in (403, 404), (path, method)
    for path in ("spawn/ana", "spawn-pending/ana", "api/users/ana/server/progress"):
        assert ben.ask(f"/hub/{path}").status in (403, 404), path
        assert ana.ask(f"/hub/{path}").status == 200, path
    no_way_leads_out_of_ones_home(lab, ben)
    assert ana.ask("/user/ana/api/contents").status == 200
    ana.stop_session("ana")


def no_way_leads_out_of_ones_home(lab: RealLab, ben: Browser) -> None:
    """Through a session of one's own, to what lies beside one's home and can be read from there."""
    ben.start_session("ben")
    (secret := lab.folder / "homes" / "ana" / "secret.txt").write_text("of ana alone")
    (lab.folder / "homes" / "ben" / "own.txt").write_text("of ben")
    ways = ["../ana/secret.txt", "..%2Fana%2Fsecret.txt", "%2e%2e/ana/secret.txt",
            "%2e%2e%2fana%2fsecret.txt", "..%5Cana%5Csecret.txt", f"/{secret}",
            str(secret).replace("/", "%2F")]  # fmt: skip
    token = f"?_xsrf={ben.xsrf('/user/ben')}"
    for door in ("/user/ben/files", "/user/ben/api/contents"):
        assert "of ben" in ben.ask(f"{door}/own.txt{token}").text
        for way in ways:
            answer = ben.ask(f"{door}/{way}{token}")
            assert answer.status in (403, 404) and "of ana" not in answer.text, (door, way)
    ben.stop_session("ben")


def test_a_get_starts_nothing(lab: RealLab):
    ana = lab.browser("ana")
    page = ana.ask("/hub/spawn?opt-profile=large&opt-cores=1&opt-memory=3%20GB")
    assert page.status == 200 and "The link has chosen for you" in page.text
    assert re.search(r'value="large"[^>]*\schecked\b', page.text), page.text
    assert not re.search(r'value="notebook"[^>]*\schecked\b', page.text)
    assert 'name="cores" value="1"' in page.text and 'name="memory" value="3 GB"' in page.text
    assert not ana.session("ana") and lab.record("ana") == {}


def test_wrong_options_are_answered_with_a_sentence(lab: RealLab):
    ana = lab.browser("ana")
    told = {
        "Wrong in the options": [{"profile": "huge"}, {"profile": "notebook", "cmd": ["sh"]}],
        "You asked for 1 TB of memory": [{"memory": "1 TB"}],
    }
    for sentence, bodies in told.items():
        for body in bodies:
            answer = ana.ask("/hub/api/users/ana/server", method="POST", body=body)
            assert answer.status == 400 and sentence in answer.text, answer.text
    page = ana.ask("/hub/spawn")
    page = ana.ask("/hub/spawn", form={"profile": "$(id)"})
    assert page.status == 400 and "Allowed: &#39;notebook&#39;" in page.text
    assert lab.record("ana") == {}


def test_what_can_never_fit_is_said(lab: RealLab):
    ana = lab.browser("ana")
    assert "Not in this lab:" in ana.ask("/hub/spawn").text
    body = {"profile": "impossible"}
    answer = ana.ask("/hub/api/users/ana/server", method="POST", body=body)
    assert answer.status == 400 and "100 TB" in answer.text and "Traceback" not in answer.text
    assert lab.record("ana") == {}


def test_batchspawners_route_is_gone_and_ours_wants_the_sessions_own_token(lab: RealLab):
    ana = lab.browser("ana")
    ana.start_session("ana")
    token = lab.record("ana")["api_token"]
    report = {"port": 22, "nonce": lab.record("ana")["nonce"]}
    nobody = Browser(lab.base)
    assert nobody.ask("/hub/api/batchspawner", method="POST", body={}, token=token).status == 404
    path = "/hub/api/labkit/port"
    assert nobody.ask(path, method="POST", body=report).status == 403
    assert ana.ask(path, method="POST", body=report).status == 403
    own = ana.ask("/hub/api/users/ana/tokens", method="POST", body={}).json()["token"]
    assert nobody.ask(path, method="POST", body=report, token=own).status == 403
    # Its own token, but it has said its port already.
    assert nobody.ask(path, method="POST", body=report, token=token).status == 409
    for wrong in (b"[]", b'{"port": "22", "nonce": ""}', b'{"port": 0, "nonce": ""}', b"{" * 150,
                  b'{"port": 22, "nonce": "", "ip": "1.2.3.4"}', b" " * 10_000):  # fmt: skip
        assert nobody.ask(path, method="POST", body=wrong, token=token).status == 400, wrong
    assert lab.record("ana")["port"] != 22
    ana.stop_session("ana")


def test_killing_hub_and_proxy_in_turn_ends_no_session(lab: RealLab):
    ana = lab.browser("ana")
    ana.start_session("ana")
    before = lab.record("ana")
    for name in ("hub", "proxy"):
        lab.kill(name)
        wait_for(lambda: ana.ask("/user/ana/api/contents").status == 200, "the session's answer")
    assert lab.record("ana") == before
    assert ana.session("ana")["ready"]
    ana.stop_session("ana")


def test_a_hub_killed_while_a_session_starts_adopts_it(lab: RealLab):
    ana = lab.browser("ana")
    ana.ask_for_session()
    job = wait_for(lambda: lab.record("ana").get("job_id"), "the job")
    token = lab.record("ana")["api_token"]
    lab.kill("hub")
    wait_for(lambda: ana.session("ana").get("ready"), "the session")
    assert lab.record("ana")["job_id"] == job
    assert lab.record("ana")["api_token"] == token
    assert ana.ask("/user/ana/lab").status == 200
    ana.stop_session("ana")


def test_a_session_whose_job_is_killed_is_seen_as_ended(lab: RealLab):
    ana = lab.browser("ana")
    ana.start_session("ana")
    job = lab.record("ana")["job_id"]
    for pid, command in lab.processes().items():
        if "labkit_spawners.launcher" in command:
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not ana.session("ana"), "the hub's notice", 90)
    assert "Your last session" in ana.ask("/hub/spawn").text
    ana.start_session("ana")
    assert lab.record("ana")["job_id"] != job
    ana.stop_session("ana")


def test_ten_wrong_passwords_are_slowed_down_and_let_nobody_in(lab: RealLab):
    took_s = [seconds_for_a_wrong_password(lab) for _ in range(5)]
    with ThreadPoolExecutor(5) as at_once:
        took_s += at_once.map(lambda _: seconds_for_a_wrong_password(lab), range(5))
    assert took_s[3] >= 0.5 and took_s[4] >= 1 and min(took_s[5:]) >= 2, took_s
    began = time.monotonic()
    assert lab.browser("ana").session("ana") == {}  # signed in, after the longest wait
    assert MAX_WAIT_S <= time.monotonic() - began
    assert Browser(lab.base).sign_in("mallory", lab.password).status == 403


def seconds_for_a_wrong_password(lab: RealLab) -> float:
    began = time.monotonic()
    assert "Invalid username or password" in Browser(lab.base).sign_in("ana", "wrong").text
    return time.monotonic() - began


def test_a_second_lab_on_the_site_is_refused(lab: RealLab):
    second = subprocess.run(
        [sys.executable, "-m", "labkit", "lab"],
        env=lab.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 2
    assert "is open already" in second.stderr
    assert Browser(lab.base).ready()


def test_named_sessions_stand_beside_the_first(lab: RealLab):
    ana = lab.browser("ana")
    ana.start_session("ana")
    path = "/hub/api/users/ana/servers/for-class"
    assert ana.ask(path, method="POST", body={"profile": "notebook"}).status in (201, 202)
    wait_for(lambda: ana.sessions("ana").get("for-class", {}).get("ready"), "the second session")
    assert lab.record("ana", "for-class")["port"] != lab.record("ana")["port"]
    assert ana.ask("/user/ana/for-class/lab").status == 200
    assert ana.ask("/hub/api/users/ana/servers/a%2Fb", method="POST", body={}).status in (400, 404)
    assert ana.ask(path, method="DELETE").status in (202, 204)
    wait_for(lambda: not ana.sessions("ana").get("for-class", {}).get("ready"), "its end")
    assert ana.ask("/user/ana/lab").status == 200
    ana.stop_session("ana")


def test_ctrl_c_has_runs_save_a_checkpoint_and_ends_everything(lab: RealLab):
    """The last test here: it ends the lab."""
    ana = lab.browser("ana")
    ana.start_session("ana")
    ana.run_in_kernel("ana", "1")
    run = lab.start_run("ana", "--epochs=200")
    wait_for(lambda: lab.status(run).get("step", 0) > 3, "some steps")
    going = "\n".join(lab.processes().values())
    for part in ("labkit lab", "jupyterhub -f", "configurable-http-proxy", "ipykernel_launcher",
                 "labkit_spawners.launcher", "_local_supervisor", run.name):  # fmt: skip
        assert part in going, part
    lab.interrupt()
    assert lab.status(run)["state"] == "stopped"
    assert any((run / "attempts" / "1" / "checkpoints").iterdir())
    wait_for(lambda: not lab.processes(), "the end of every process", 30, seen=lab.processes)
    assert "The lab is open" in lab.said() and "Traceback" not in lab.said()
