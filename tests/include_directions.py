#!/usr/bin/env python3
"""Checks which folder may include which, and that heavy headers stay where they belong.

Usage: tests/include_directions.py [ROOT]. Prints one line per offence; exits 1 when there is one.
"""
import pathlib
import re
import sys

# By folder: the folders whose headers it may include. A file belongs to the longest folder that contains it.
ALLOWED = {
    "graphs": {"graphs"},
    "costmodel": {"graphs", "costmodel"},
    "costmodel/profiler": {"graphs", "costmodel", "planner/plan", "planner", "costmodel/profiler"},
    "planner/plan": {"graphs", "costmodel", "planner/plan"},
    "planner/intra_op": {"graphs", "planner/intra_op"},
    "planner/inter_op": {"graphs", "costmodel", "planner/plan", "planner/inter_op"},
    "planner": {"graphs", "costmodel", "planner/plan", "planner/intra_op", "planner/inter_op", "planner"},
    "simulator": {"graphs", "costmodel", "planner/plan", "simulator"},
    "accuracy": {"graphs", "costmodel", "planner/plan", "planner", "simulator", "accuracy"},
    "tools": {"graphs", "costmodel", "planner/plan", "planner/intra_op", "planner/inter_op", "planner", "simulator",
              "accuracy", "tools"},
}
# By header: which files may include it, and why others must not.
CONFINED = [
    (r"^(coin/|Cbc|Clp|Osi|Coin)", r"^planner/intra_op/cbc\.cpp$", "CBC is private to planner/intra_op/cbc.cpp"),
    (r"^Eigen/", r"^accuracy/least_squares\.cpp$", "Eigen is private to accuracy/least_squares.cpp"),
    (r"^(nlohmann/|graphs/json_input\.hpp$)", r"(_json[a-z_]*|json_[a-z_]*)\.(cpp|hpp)$|^tools/|^graphs/json_input\.",
     "JSON is read and written in *_json.cpp files and tools"),
    (r"^CLI/", r"^tools/command_line/arguments_parts\.hpp$|^costmodel/profiler/program/arguments\.cpp$",
     "CLI11 is private to the files that read the words of a command line"),
    (r"^cblas", r"^costmodel/profiler/cpu_matrix\.cpp$", "OpenBLAS is private to costmodel/profiler/cpu_matrix.cpp"),
    (r"arguments_parts\.hpp$", r"^tools/command_line/arguments[a-z_]*\.[ch]pp$",
     "CLI11 is private to tools/command_line/arguments*.cpp"),
    (r"^(cuda|cublas|nccl|nvml|mma\.h)", r"^costmodel/profiler/cuda/", "CUDA is private to costmodel/profiler/cuda"),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.MULTILINE)


def folder_of(path):
    """The longest folder of ALLOWED that contains `path`, or None."""
    return max((folder for folder in ALLOWED if path.startswith(folder + "/")), key=len, default=None)


def offences(root):
    for source in sorted(path for folder in ("graphs", "costmodel", "planner", "simulator", "accuracy", "tools")
                         for path in (root / folder).rglob("*") if path.suffix in (".cpp", ".hpp", ".h", ".cu", ".cuh")):
        path = source.relative_to(root).as_posix()
        for included in INCLUDE.findall(source.read_text()):
            target = folder_of(included)
            if target is not None and target not in ALLOWED[folder_of(path)]:
                yield f"{path}: includes {included}; {folder_of(path)} may not know {target}"
            for header, home, reason in CONFINED:
                if re.search(header, included) and not re.search(home, path):
                    yield f"{path}: includes {included}; {reason}"


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent.parent
    found = list(offences(root))
    for offence in found:
        print(offence)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
