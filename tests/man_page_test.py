"""docs/meshloom.1 names every command and every long option that --help names, and nothing that does not exist."""
import os
import pathlib
import re
import shlex
import subprocess
import unittest

from meshloom_program import Workplace

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("MESHLOOM_PROGRAM", str(ROOT / "build/release/meshloom"))
GROUPS = ["graph", "solve", "import"]
LONG_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def help_text(*words):
    return subprocess.run([PROGRAM, *words, "--help"], capture_output=True, text=True, check=True).stdout


def subcommands(*words):
    listed = help_text(*words).split("Subcommands:")[1].split("Example:")[0]
    return re.findall(r"^  ([\w-]+) ", listed, re.MULTILINE)


def commands():
    return [[name] for name in subcommands() if name not in GROUPS] + \
           [[group, name] for group in GROUPS for name in subcommands(group)]


class ManPage(unittest.TestCase):
    page = re.sub(r"\\f[A-Z]", "", (ROOT / "docs/meshloom.1").read_text().replace(r"\-", "-"))

    def test_it_names_every_command(self):
        for words in commands():
            self.assertRegex(self.page, rf"\b{words[0]}\b")
            self.assertIn(f".SH {words[0].upper()}", self.page)

    def test_it_names_every_long_option_of_the_help_and_no_other(self):
        in_help = set(LONG_OPTION.findall(help_text()))
        for words in commands():
            in_help |= set(LONG_OPTION.findall(help_text(*words)))
        self.assertEqual(in_help, set(LONG_OPTION.findall(self.page)))

    def test_every_help_has_an_example(self):
        for words in [[], *([group] for group in GROUPS), *commands()]:
            self.assertIn("Example:\n", help_text(*words))

    def test_the_page_states_every_exit_code(self):
        self.assertEqual(["0", "1", "2", "3", "4", "5"], re.findall(r"^\.B (\d)$", self.page, re.MULTILINE))

    def test_its_examples_run_in_order(self):
        block = re.search(r"^\.SH EXAMPLES\n\.nf\n(.*?)^\.fi", self.page, re.MULTILINE | re.DOTALL)[1]
        with Workplace() as place:
            (place.path / "cluster_specs").symlink_to(ROOT / "cluster_specs")
            for line in block.splitlines():
                name, *words = shlex.split(line)
                run = place.run(*words)
                self.assertEqual(("meshloom", 0), (name, run.returncode), line + run.stderr)


if __name__ == "__main__":
    unittest.main()
