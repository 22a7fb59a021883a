# SPDX-License-Identifier: MIT
"""A guest that speaks the protocol, and means harm: it can end its own session, and nothing else."""
import threading
import time

from raw_peer import hostile


def servers(host):
    return [line for _, line in host.processes().values() if line.startswith("homeport sftp-server")]


class Watch:
    """The most there was of something, looked at all the time."""

    def __init__(self, look):
        self.look = look
        self.most = 0
        self.going = True
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        self.thread.join()

    def run(self):
        while self.going:
            self.most = max(self.most, self.look())
            time.sleep(0.02)


def test_ten_thousand_streams_are_no_ten_thousand_processes(homeport, host, guest, host_home):
    """Each sftp stream is a process of the host: the guest decides how many streams, the host how many processes."""
    with hostile(guest, """
            p.greet()
            target = struct.pack(">II", p.mounts[0], 0)
            for _ in range(100):
                p.send(b"".join(p.open_frame(KIND_SFTP, target) for _ in range(100)))
            p.serve(2)
            refused = sum(1 for s in p.seen if s[1] == REFUSE)
            p.control(MOUNT_STATE, mount_state(p.mounts[0], MOUNTED, b"/home/me", b""))
            p.control(PORTS_BEGIN, struct.pack(">Q", 1))
            p.control(PORTS_END, struct.pack(">Q", 1))
            p.serve(20)
            """) as args, Watch(lambda: len(servers(host))) as watch:
        assert homeport.up(*args).returncode == 0
    assert 1 <= watch.most <= 8
    assert homeport.status()["state"] == "connected"
