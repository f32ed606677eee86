"""The report in a browser. Skipped, with a line that says so, where no Chromium is installed."""
import json
import shutil
import unittest

from browser import CHROMIUM, Browser
from meshloom_program import CLUSTER, GRAPH, ROOT, Workplace, changed

EVIL = "</script><b>\"'&amp;"
# By colour scheme and variable: contrast of text on its surface, as WCAG 2 defines it.
CONTRAST = """(() => {
  const light = hex => rgb(hex).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const texts = ['text', 'muted', 'accent'].flatMap(text => ['page', 'card', 'soft'].map(on => ratio(color(text), color(on))));
  const slices = shapeColors.filter((_, i) => !shapes[i].kind.startsWith('receive')).map(fill => ratio(inkOn(fill), fill));
  return Math.min(...texts, ...slices);
})()"""


if not CHROMIUM:
    print("report_page_test: skipped, no chromium is installed (apt-get install chromium)")


@unittest.skipUnless(CHROMIUM, "no chromium is installed")
class ReportPage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = Browser()
        cls.place = Workplace()
        cls.place.run("graph", "gpt", "--layers", "8", "--hidden", "64", "--heads", "4", "--seq-len", "32", "--vocab", "64",
                      "-o", "gpt.json")

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.place.__exit__()

    def open_report(self, *words):
        run = self.place.run(*words, "--report", "r.html")
        self.assertEqual(0, run.returncode, run.stderr)
        self.browser.open(self.place.path / "r.html")

    def open_baseline(self, batch, *words):
        self.open_report("baseline", "gpt.json", "cluster.json", "--global-batch", str(batch), "--pp", "4",
                         "--microbatch-size", "1", "-o", "plan.json", *words)

    def open_example(self):
        """The example of docs/simulation.md: two stages, three microbatches, 38 us."""
        shutil.copy(ROOT / "tests/data/plan/plan.json", self.place.path / "example.json")
        self.open_report("simulate", "example.json")

    def text(self, selector):
        return self.browser.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def timeline_point(self, microseconds, rank):
        """The place on the screen of a moment of a rank; the page must show the whole step."""
        return self.browser.evaluate(f"""(() => {{
          canvas.scrollIntoView({{block: 'center'}});
          const box = canvas.getBoundingClientRect(), scale = (box.width - labelWidth) / (view.to - view.from);
          return [box.left + labelWidth + ({microseconds}e6 - view.from) * scale, box.top + axisHeight + ({rank} + 0.4) * rowHeight];
        }})()""")

    def test_it_opens_without_complaints_or_requests_in_both_colour_schemes(self):
        for schedule in ["1f1b", "zb-h1", "dualpipe", "inference"]:
            with self.subTest(schedule):
                self.open_baseline(8, "--schedule", schedule)
                for scheme in ["dark", "light"]:
                    self.browser.call("Emulation.setEmulatedMedia",
                                      features=[{"name": "prefers-color-scheme", "value": scheme}])
                    self.browser.settle()
                    self.assertEqual(scheme == "dark", self.browser.evaluate("dark.matches"))
                    self.assertGreaterEqual(self.browser.evaluate(CONTRAST), 4.5)
                self.assertEqual([], self.browser.complaints)
                self.assertEqual([(self.place.path / "r.html").as_uri()], self.browser.requests)

    def test_a_click_shows_the_instruction(self):
        self.open_example()
        # Stage 0 runs backward 1 from 21 to 25 us.
        self.browser.click(*self.timeline_point(23, 0))
        details = self.text("#details")
        for expected in ["backward, microbatch 1", "start\n21.0000 us", "end\n25.0000 us", "duration\n4.00 us",
                         "layers\nembed…h0", "devices\ndevices 0–1", "mesh\nx=2"]:
            self.assertIn(expected, details)
        # Stage 1 sends gradient 1 to stage 0 from 20 to 21 us; the boundary states 8,192 bytes.
        self.browser.click(*self.timeline_point(20.5, 1))
        details = self.text("#details")
        for expected in ["send gradient, microbatch 1", "to\nstage 0", "8.00 KiB", "link\nintra host"]:
            self.assertIn(expected, details)

    def test_keys_move_between_instructions_and_zoom(self):
        self.open_example()
        self.browser.click(*self.timeline_point(23, 0))
        self.browser.key("ArrowRight")  # until gradient 2 is there, from 25 to 30 us
        self.assertIn("wait for gradient, microbatch 2", self.text("#details"))
        self.browser.key("ArrowLeft")
        self.assertIn("backward, microbatch 1", self.text("#details"))
        self.browser.key("ArrowDown")  # what stage 1 runs at 21 us
        self.assertIn("forward, microbatch 2", self.text("#details"))
        self.browser.key("+", "+")
        self.assertAlmostEqual(0.6 * 38e6, self.browser.evaluate("view.to - view.from"), delta=1)
        self.browser.key("0", "0")
        self.assertEqual([0, 38e6], self.browser.evaluate("[view.from, view.to]"))
        x, y = self.timeline_point(10, 0)
        self.browser.wheel(x, y, -400)
        self.assertLess(self.browser.evaluate("view.to - view.from"), 30e6)
        self.assertAlmostEqual(10e6, self.browser.evaluate(f"timeAt({x} - canvas.getBoundingClientRect().left)"), delta=2e4)

    def test_hovering_tells_what_runs(self):
        self.open_example()
        x, y = self.timeline_point(8, 1)  # stage 1 runs backward 0 from 6 to 11 us
        self.browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.browser.settle()
        self.assertEqual("backward, microbatch 0\n5.00 us, stage 1", self.text("#tip"))

    def test_search_filters_and_columns_sort(self):
        self.open_baseline(8)
        stages = self.place.read("plan.json")["stages"]
        ops = [op["op"] for stage in stages for op in stage["ops"]]
        parameters = [tensor["tensor"] for stage in stages for tensor in stage["tensors"] if tensor["parameter"]]
        total = len(ops) + len(parameters)
        self.assertEqual(f"{total} of {total} rows", self.text("#sharding-count"))
        self.browser.evaluate("document.getElementById('search').focus()")
        self.browser.type("h3.mlp.up")
        # The product and its bias; the weight and the bias.
        self.assertEqual(f"4 of {total} rows", self.text("#sharding-count"))
        self.browser.evaluate("document.querySelector('[data-kind=op]').click()")
        names = "[...document.querySelectorAll('#sharding-rows tr')].map(row => row.children[3].innerText)"
        self.assertEqual(["h3.mlp.up", "h3.mlp.up.add_bias"], self.browser.evaluate(names))
        self.browser.evaluate("sortBy(3); document.querySelector('#sharding-head').children[3].firstChild.click()")
        self.assertEqual(["h3.mlp.up.add_bias", "h3.mlp.up"], self.browser.evaluate(names))
        self.assertEqual("descending",
                         self.browser.evaluate("document.querySelector('#sharding-head').children[3].ariaSort"))
        self.browser.evaluate("search.value = ''; search.dispatchEvent(new Event('input'))")
        self.assertEqual(f"{len(ops)} of {total} rows", self.text("#sharding-count"))
        self.assertEqual(100, self.browser.evaluate("document.querySelectorAll('#sharding-rows tr').length"))
        self.browser.evaluate("document.getElementById('more').click()")
        self.assertEqual(min(200, len(ops)), self.browser.evaluate("document.querySelectorAll('#sharding-rows tr').length"))

    def test_names_are_text_wherever_they_stand(self):
        graph = changed(changed(GRAPH, ["name"], EVIL), ["ops", 0, "id"], EVIL)
        for op in graph["ops"]:
            op["layer"] = EVIL + op["layer"]
        self.place.write("evil.json", graph)
        self.place.write("evil_cluster.json", changed(CLUSTER, ["name"], EVIL))
        self.open_report("plan", "evil.json", "evil_cluster.json", "--global-batch", "8")
        self.assertEqual([], self.browser.complaints)
        self.assertEqual(0, self.browser.evaluate("document.querySelectorAll('b').length"))
        self.assertTrue(self.browser.evaluate("document.title").startswith(EVIL))
        self.assertIn(EVIL, self.text("#sharding-rows"))
        self.assertIn(EVIL, self.text("#times"))
        self.assertIn(EVIL, self.text("#section-inputs"))

    def test_the_page_shows_what_the_trace_says(self):
        for words in [["--schedule", "zb-h1"], ["--schedule", "dualpipe"], ["--vpp", "2"]]:
            with self.subTest(words[-1]):
                self.open_baseline(16, *words)
                self.assertEqual(0, self.place.run("simulate", "plan.json", "--trace", "t.json").returncode)
                expected = sorted([e["pid"], e["cat"], e.get("args", {}).get("microbatch", 0),
                                   round(e["ts"] * 1e6), round(e["dur"] * 1e6)]
                                  for e in self.place.read("t.json")["traceEvents"] if e["ph"] == "X" and e["dur"] > 0)
                shown = self.browser.evaluate("""lanes.flatMap(lane => Array.from(lane.start, (start, i) =>
                    [lane.rank, shapes[lane.shape[i]].kind, lane.number[i], start, shapes[lane.shape[i]].duration]))""")
                self.assertEqual(expected, sorted(each for each in shown if not each[1].startswith("receive")))

    def test_chunks_and_split_backwards_look_different(self):
        self.open_baseline(16, "--schedule", "dualpipe")
        colors = self.browser.evaluate("Object.fromEntries(shapes.map((s, i) => [s.kind + s.chunk, shapeColors[i]]))")
        runs = [value for key, value in colors.items() if key.startswith("run_")]
        self.assertEqual(len(runs), len(set(runs)))
        self.assertIn("run_backward_weight1", colors)
        self.assertIn("chunks 0 to 1", self.text("#timeline-legend"))

    def test_hundreds_of_thousands_of_instructions_stay_usable(self):
        self.open_baseline(16384)  # 4 stages, 16,384 microbatches: forward, backward, sends and waits
        self.assertGreater(self.browser.evaluate("data.timeline.instructions"), 100_000)
        self.assertLess((self.place.path / "r.html").stat().st_size, 4_000_000)
        # Milliseconds, the best of three: other programs run, too.
        drawing = """Math.min(...[0, 1, 2].map(() => {
          const from = performance.now(); drawTimeline(); return performance.now() - from; }))"""
        self.assertLess(self.browser.evaluate(drawing), 500)
        self.browser.evaluate("show(0, 1e8)")
        self.assertLess(self.browser.evaluate(drawing), 100)

    def test_beyond_300000_instructions_neighbours_are_merged_and_the_page_says_so(self):
        self.open_baseline(65536)
        total, merged = self.browser.evaluate("[data.timeline.instructions, data.timeline.merged]")
        shown = self.browser.evaluate("lanes.reduce((sum, lane) => sum + lane.count, 0)")
        self.assertGreater(total, 300_000)
        self.assertLess(shown, 301_000)
        stands_for = self.browser.evaluate(
            "lanes.reduce((sum, lane) => lane.number.reduce((s, n, i) => s + (shapes[lane.shape[i]].kind === 'merged' ? n : 1), sum), 0)")
        self.assertEqual(total, stands_for)
        self.assertIn(f"{merged:,} between them are merged", self.text("#timeline-note"))
        self.assertLess((self.place.path / "r.html").stat().st_size, 6_000_000)

    def test_everything_has_a_name_and_nothing_is_wider_than_the_page(self):
        self.open_baseline(16, "--vpp", "2")
        nameless = """[...document.querySelectorAll('input, select, button, canvas, svg')].filter(e =>
          !(e.labels && e.labels.length) && !e.ariaLabel && !e.textContent.trim()).map(e => e.outerHTML)"""
        self.assertEqual([], self.browser.evaluate(nameless))
        for width in [1320, 800, 420]:
            self.browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
            self.assertLessEqual(self.browser.evaluate("document.documentElement.scrollWidth"), width)
        self.browser.call("Emulation.setDeviceMetricsOverride", width=1320, height=1000, deviceScaleFactor=1, mobile=False)
        self.assertEqual([], self.browser.complaints)


if __name__ == "__main__":
    unittest.main()
