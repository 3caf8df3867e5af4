"""Nodes on this machine for the scripts that measure: started by tools/up, loaded by `torc bench load`, asked for /stats."""
import json, os, shutil, subprocess, sys, tempfile, urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def say(text):
    print(text, file=sys.stderr, flush=True)


class BenchCluster:
    """As a context manager: N nodes in a temporary folder, gone at the end. `settings`: lines of YAML that each is given."""

    def __init__(self, torc, nodes, settings=""):
        self.torc, self.nodes, self.settings = torc, nodes, settings
        self.environment = dict(os.environ, TORC_BIN=torc)
        self.targets = ",".join(f"127.0.0.1:{8087 + 10 * k}" for k in range(nodes))

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="torc-bench-")
        try:
            self.up()
            if self.settings:
                self.down()
                for k in range(self.nodes):
                    with open(f"{self.folder}/node{k + 1}.yaml", "a") as file:
                        file.write(self.settings)
                # What they have written so far was written by other settings.
                for k in range(self.nodes):
                    shutil.rmtree(f"{self.folder}/node{k + 1}")
                self.up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.down()
        shutil.rmtree(self.folder, ignore_errors=True)

    def up(self):
        done = subprocess.run([f"{ROOT}/tools/up", "--nodes", str(self.nodes), "--data", self.folder, "--detach"],
                              env=self.environment, capture_output=True, text=True, timeout=180)
        if done.returncode:
            raise SystemExit(f"tools/up failed:\n{done.stdout}{done.stderr}")

    def down(self):
        subprocess.run([f"{ROOT}/tools/down", "--data", self.folder], env=dict(self.environment, TORC_QUIET="1"),
                       capture_output=True, timeout=120)

    def pids(self):
        return [int(open(f"{self.folder}/node{k + 1}.pid").read()) for k in range(self.nodes)]

    def stats(self, k):
        with urllib.request.urlopen(f"http://127.0.0.1:{8098 + 10 * k}/stats", timeout=10) as answer:
            return json.load(answer)

    def command(self, *arguments):
        return [self.torc, "bench", "load", "--targets", self.targets, *map(str, arguments)]

    def load(self, seconds, *arguments):
        """The report of one run, with the processor time of all nodes; stops the script when anything failed."""
        command = self.command("--pids", ",".join(map(str, self.pids())), "--json", "-", "--duration", seconds, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 2 + 900)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        report = json.loads(done.stdout.strip().splitlines()[-1])
        if report["errorCount"]:
            say(f"  {report['errorCount']} errors: {report['errors'][:3]}")
        return report

    def preload(self, keys, value_bytes=1024):
        subprocess.run(self.command("--keys", keys, "--value-bytes", value_bytes, "--preload-only"), check=True,
                       capture_output=True, timeout=900)


def write_path(torc, *arguments, timeout=3600):
    """The report of one `torc bench write-path`, without references."""
    with tempfile.TemporaryDirectory(prefix="torc-bench-") as folder:
        command = [torc, "bench", "write-path", "--no-references", "--no-strace", "--folder", folder, "--out", f"{folder}/out",
                   *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        with open(f"{folder}/out.json") as file:
            return json.load(file)


def measured(report, level, name):
    """The rounds of one figure of a write-path report."""
    found = next(item for item in report["levels"] if item["name"] == level)
    return next(item["samples"] for item in found["measures"] if item["name"] == name)


def commit():
    return subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()


def heading(now):
    known = commit()
    return f"# {now:%Y-%m-%d %H:%M} UTC" + (f", commit {known}" if known else "")
