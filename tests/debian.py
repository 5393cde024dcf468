"""Installs the programs that some tests drive: `python -m tests.debian chromium nginx`, from Debian's packages."""

import os
import shutil
import subprocess
import sys

PACKAGES = {"chromium": "chromium", "nginx": "nginx-light", "openssl": "openssl", "pgbouncer": "pgbouncer"}
# The folders in which Debian installs servers are not in the PATH of every user.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])


def find(program: str) -> str | None:
    return shutil.which(program, path=PATH)


def main(programs: list[str]) -> None:
    packages = [PACKAGES[program] for program in programs if find(program) is None]
    if not packages:
        return
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"Programs are missing; on Debian: sudo {' '.join(install)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "--quiet"], check=True, env=environment)
    subprocess.run(install, check=True, env=environment)


if __name__ == "__main__":
    main(sys.argv[1:])
