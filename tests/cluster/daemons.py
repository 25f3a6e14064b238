"""A real Slurm on this machine: three nodes that share its processors, for tests."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

HOME = Path("/etc/slurm")
"""Where job steps look for the configuration, whatever SLURM_CONF says."""
PACKAGES = ("slurm-wlm", "munge")
NODES = ("whole", "left", "right")
"""`whole` has all processors and two GPUs that do nothing, the others one of each."""
MARK = "# written by tests/cluster"
SLURM_CONF = """\
{mark}
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# or else a job waits for two minutes before it runs again
AuthInfo=cred_expire=5
CredType=cred/munge
MpiDefault=none
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
MinJobAge=300
KillWait=5
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=DEFAULT Sockets=1 ThreadsPerCore=1 RealMemory={memory} State=UNKNOWN
NodeName=whole NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 \
CoresPerSocket={cores} Gres=gpu:fake:2
NodeName=left NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 \
CoresPerSocket=1 Gres=gpu:fake:1
NodeName=right NodeHostname={host} NodeAddr=127.0.0.1 Port=17003 \
CoresPerSocket=1 Gres=gpu:fake:1
PartitionName=main Nodes=whole Default=YES PriorityTier=1
PartitionName=urgent Nodes=whole PriorityTier=10 PreemptMode=OFF
PartitionName=pair Nodes=left,right PriorityTier=1
"""
GRES_CONF = """\
AutoDetect=off
NodeName=whole Name=gpu Type=fake File={folder}/gpu[0-1]
NodeName=left,right Name=gpu Type=fake File={folder}/gpu0
"""


class Unavailable(Exception):
    """Why there can be no Slurm of our own here."""


def install() -> None:
    """Get Slurm's programs from Debian where they are missing."""
    if os.geteuid():
        raise Unavailable("only root can install and start a Slurm")
    conf = HOME / "slurm.conf"
    if conf.exists():
        if not conf.read_text().startswith(MARK):
            raise Unavailable(f"{conf} is there: this machine has a Slurm")
        # a killed test left it behind, and its daemons
        run("pkill", "-x", "slurmctld")
        run("pkill", "-x", "slurmd")
        wait_for("end of slurmctld", lambda: run("pgrep", "-x", "slurmctld").returncode)
    if shutil.which("slurmctld") and shutil.which("munged"):
        return
    if not shutil.which("apt-get"):
        raise Unavailable("slurmctld and munged are missing, and so is apt-get")
    for arguments in (
        ["update"],
        ["install", "--yes", "--no-install-recommends", *PACKAGES],
    ):
        done = run(
            "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", *arguments
        )
        if done.returncode:
            raise Unavailable(f"apt-get {arguments[0]} failed: {done.stderr.strip()}")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command's output, whether it succeeds or not."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def wait_for(what: str, happened, seconds: float = 60) -> None:
    """Ask again and again whether something has happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"{what}: not within {seconds} seconds"
        time.sleep(0.2)


class Slurm:
    """The daemons, from `start` to `stop`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        """Bring the nodes up."""
        (self.folder / "state").mkdir()
        for number in (0, 1):  # whatever: /dev/null
            run("mknod", str(self.folder / f"gpu{number}"), "c", "1", "3")
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 - 500
        facts = {
            "mark": MARK,
            "host": socket.gethostname().partition(".")[0],
            "folder": self.folder,
            "cores": os.cpu_count(),
            "memory": memory,
        }
        HOME.mkdir(exist_ok=True)
        (HOME / "slurm.conf").write_text(SLURM_CONF.format_map(facts))
        (HOME / "gres.conf").write_text(GRES_CONF.format_map(facts))
        (HOME / "cgroup.conf").write_text("CgroupAutomount=no\n")
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        if run("pgrep", "-x", "munged").returncode:
            subprocess.run(["runuser", "-u", "munge", "--", "munged"], check=True)
        self.start_controller()
        for node in NODES:
            subprocess.run(["slurmd", "-N", node], check=True)
        try:
            wait_for("idle nodes", lambda: self.states() == {"idle"})
        except AssertionError as error:
            log = (self.folder / "slurmctld.log").read_text()
            raise Unavailable(f"{error}\n{log}") from None

    def states(self) -> set[str]:
        """What the nodes do."""
        return set(run("sinfo", "--noheader", "--format=%t").stdout.split())

    def start_controller(self) -> None:
        """Start slurmctld, which takes up what it knew."""
        subprocess.run(["slurmctld"], check=True)

    def stop_controller(self) -> None:
        """End slurmctld; jobs go on without."""
        self.end("slurmctld")

    def restart_controller(self, preempt: str = "REQUEUE") -> None:
        """Choose what happens to a job that has to make way."""
        self.stop_controller()
        conf, mode = HOME / "slurm.conf", f"PreemptMode={preempt}"
        conf.write_text(re.sub(r"(?m)^PreemptMode=.*", mode, conf.read_text()))
        self.start_controller()

    def end(self, daemon: str) -> None:
        """End a daemon and wait for it."""
        path = self.folder / f"{daemon}.pid"
        if path.exists():
            pid = path.read_text().strip()
            run("kill", pid)
            wait_for(f"end of {daemon}", lambda: not Path(f"/proc/{pid}").exists())

    def stop(self) -> None:
        """Cancel what runs, end the daemons, and leave no configuration behind."""
        self.cancel_all()
        for daemon in ("slurmctld", *(f"slurmd-{node}" for node in NODES)):
            self.end(daemon)
        for name in ("slurm.conf", "gres.conf", "cgroup.conf"):
            (HOME / name).unlink(missing_ok=True)

    def jobs(self, state: str) -> dict[str, str]:
        """Jobs in a state: by number what they are."""
        said = run("squeue", "--noheader", f"--states={state}", "--format=%i %k").stdout
        return dict(line.split(maxsplit=1) for line in said.splitlines())

    def preempt(self, job: str) -> None:
        """Take a job's processors away for a second, for one that matters more."""
        urgent = ("-p", "urgent", "--exclusive", "-o", "/dev/null")
        run("sbatch", *urgent, "--wrap", "sleep 1")
        wait_for("preemption", lambda: job in self.jobs("PENDING,PREEMPTED"))

    def cancel_all(self) -> None:
        """Leave an empty queue."""
        run("scancel", "--user=root")
        wait_for("an empty queue", lambda: not run("squeue", "-h").stdout)
