#!/usr/bin/env python3
"""The README's ```console blocks print what they show. `tests/readme_test.py --update` writes what they print now."""
import os
import pathlib
import re
import subprocess
import sys
import unittest

from meshloom_program import PROGRAM, ROOT, Workplace

README = ROOT / "README.md"
BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```)", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n", re.MULTILINE)


def run_block(place, block):
    """The block with the output that its commands print in the folder of `place`."""
    path = f"{pathlib.Path(PROGRAM).parent}:{os.environ['PATH']}"
    printed = ""
    for command in COMMAND.findall(block):
        run = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=place.path,
                             env={**os.environ, "PATH": path})
        if run.returncode != 0:
            raise AssertionError(f"{command} exited with {run.returncode}: {run.stderr}{run.stdout}")
        printed += f"$ {command}\n{run.stdout}"
    return printed


def as_printed(text):
    with Workplace() as place:
        (place.path / "cluster_specs").symlink_to(ROOT / "cluster_specs")
        return BLOCK.sub(lambda block: run_block(place, block[1]), text)


class Readme(unittest.TestCase):
    text = README.read_text()

    def test_its_commands_print_what_it_shows(self):
        self.assertGreater(len(BLOCK.findall(self.text)), 0)
        self.maxDiff = None
        self.assertEqual(self.text, as_printed(self.text), "tests/readme_test.py --update writes what is printed now")

    def test_every_file_it_names_exists(self):
        names = re.findall(r"\]\(([^)#:]+)\)", self.text) + re.findall(r"`?((?:tools|docs)/[\w.]+\.\w+)", self.text)
        self.assertGreater(len(names), 5)
        for name in names:
            self.assertTrue((ROOT / name).exists(), name)

    def test_its_first_command_is_the_quickstart(self):
        self.assertEqual("tools/quickstart.sh", re.search(r"^```sh\n(.*)\n", self.text, re.MULTILINE)[1])


if __name__ == "__main__":
    if sys.argv[1:] == ["--update"]:
        README.write_text(as_printed(README.read_text()))
    else:
        unittest.main()
