"""What a record must say about the machine and the sources it was measured on."""
import hashlib
import os
import platform
import re
import subprocess

# Instructions that int8 or fp32 kernels choose by, as /proc/cpuinfo spells them on x86-64 and Arm.
FLAGS = (
    "avx avx2 fma f16c avx_vnni avx512f avx512bw avx512_vnni avx512_bf16 amx_int8 amx_bf16 "
    "neon vfpv4 asimd asimdhp asimddp i8mm sve sve2"
).split()


def read(path):
    """The text of a file, empty if there is none."""
    try:
        with open(path, errors="replace") as file:
            return file.read().rstrip("\0\n")
    except OSError:
        return ""


def cpu():
    """Model name, the numbers behind it, and flags of interest. Arm boards name themselves in the device tree."""
    fields = dict(re.findall(r"^([^\t:\n]+?)[ \t]*:[ \t]*(.*)$", read("/proc/cpuinfo"), re.M))
    part = f"{platform.machine()} {fields['CPU part']}" if "CPU part" in fields else platform.machine()
    model = fields.get("model name") or read("/proc/device-tree/model") or fields.get("Model") or part
    present = (fields.get("flags") or fields.get("Features") or "").split()
    numbers = {key: fields[key] for key in ("cpu family", "model", "stepping", "CPU implementer", "CPU part") if key in fields}
    return {"model": model, "numbers": numbers, "flags": [flag for flag in FLAGS if flag in present]}


def facts():
    """The machine, before anything is measured."""
    return {
        "cpu": cpu(),
        "cpus": os.cpu_count(),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or None,
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def slug(name):
    """A folder name: `AMD EPYC 9R14` becomes `amd-epyc-9r14`."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unknown"


def commit(folder):
    """The checked-out commit of `folder`, and whether files differ from it; None outside of a repository."""
    git = lambda *args: subprocess.run(["git", "-C", folder, *args], capture_output=True, text=True, check=True).stdout
    try:
        return {"commit": git("rev-parse", "HEAD").strip(), "changed": bool(git("status", "--porcelain", "--untracked-files=no").strip())}
    except (OSError, subprocess.CalledProcessError):
        return None


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
