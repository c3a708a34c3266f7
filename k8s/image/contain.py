"""Runs the image's program as Kubernetes would: `contain.py ROOT KEY_RING PROGRAM ARGUMENTS…`.

In namespaces of its own for mounts, processes and the network: the root file
system is ROOT and cannot be written, the data folder is an empty one in memory,
the key ring is root's and readable for the group alone. The user is not root, has
no capability and can get none. Needs root itself. Only Python's own library.
"""

import ctypes
import os
import subprocess
import sys

USER = 65532
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
SIGKILL = 9

libc = ctypes.CDLL(None, use_errno=True)


def must(result, what):
    if result != 0:
        raise SystemExit(f"error: {what}: {os.strerror(ctypes.get_errno())}")


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def enter(root, key_ring):
    """Inside the new namespaces, still as root."""
    mount("--make-rprivate", "/")
    mount("--bind", root, root)
    mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", f"{root}/proc")
    mount("--bind", "/dev", f"{root}/dev")
    data = f"mode=0700,uid={USER},gid={USER},size=64m,nosuid,nodev"
    mount("-t", "tmpfs", "-o", data, "tmpfs", f"{root}/var/lib/leasehold")
    rings = f"{root}/etc/leasehold/key-ring"
    mount("-t", "tmpfs", "-o", "mode=0755,nosuid,nodev,noexec", "tmpfs", rings)
    subprocess.run(
        ["install", "-o", "0", "-g", str(USER), "-m", "0440", key_ring, f"{rings}/keyring.json"],
        check=True,
    )
    mount("-o", "remount,bind,ro", rings)
    mount("-o", "remount,bind,ro", root)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.chroot(root)
    os.chdir("/")
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    # Capabilities go with the user.
    os.setresuid(USER, USER, USER)
    must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def main():
    root, key_ring, *command = sys.argv[1:]
    root = os.path.realpath(root)
    must(libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET), "namespaces (root is needed)")
    child = os.fork()
    if child == 0:
        must(libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "the end with the parent")
        enter(root, key_ring)
        os.execve(command[0], command, dict(os.environ))
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
