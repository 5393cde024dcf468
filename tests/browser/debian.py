"""Sees to the programs that the browser tests drive: Debian's Chromium and nginx, and OpenSSL for a certificate."""

import os
import shutil
import subprocess
import sys

PROGRAMS = {"chromium": "chromium", "nginx": "nginx-light", "openssl": "openssl"}
# Where Debian keeps nginx is not on everyone's path.
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])


def find(program: str) -> str | None:
    return shutil.which(program, path=PATH)


def main() -> None:
    packages = [package for program, package in PROGRAMS.items() if find(program) is None]
    if not packages:
        return
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"The browser tests need programs that are missing; on Debian: sudo {' '.join(install)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "--quiet"], check=True, env=environment)
    subprocess.run(install, check=True, env=environment)


if __name__ == "__main__":
    main()
