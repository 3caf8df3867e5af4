"""Three nodes on this machine, started by tools/up, for tests of real processes."""
import os, signal, subprocess, time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NODES = [("127.0.0.1", 8087 + 10 * k) for k in range(3)]


class Cluster:
    def __init__(self, folder, torc):
        self.folder = folder
        self.environment = dict(os.environ, TORC_BIN=torc)

    def up(self):
        done = subprocess.run([os.path.join(ROOT, "tools", "up"), "--data", self.folder, "--detach"],
                              env=self.environment, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise SystemExit(f"tools/up failed:\n{done.stdout}\n{done.stderr}")

    def down(self):
        subprocess.run([os.path.join(ROOT, "tools", "down"), "--data", self.folder], env=self.environment,
                       capture_output=True, timeout=120)

    def pid(self, node):
        found = subprocess.run(["pgrep", "-f", f"serve .*{self.folder}/node{node + 1}[./ ]"], capture_output=True,
                               text=True).stdout.split()
        return int(found[0]) if found else None

    def kill(self, nodes):
        for node in nodes:
            pid = self.pid(node)
            if pid is None:
                raise SystemExit(f"node {node + 1} is not running; its log is in {self.folder}")
            os.kill(pid, signal.SIGKILL)
        for _ in range(200):
            if all(self.pid(node) is None for node in nodes):
                return
            time.sleep(0.01)
