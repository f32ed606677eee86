#include "accuracy/scatter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace meshloom {
namespace {

// In pixels. The legend stands to the right of the square.
constexpr double left = 76, top = 48, side = 620, legend = left + side + 28, line_height = 20, bottom = 64;
constexpr double width = legend + 470;

// Okabe and Ito's colours, which colour-blind readers tell apart; shapes change when they begin again.
constexpr std::array colours{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444", "#8B6C00"};
constexpr std::size_t shapes = 3;

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        // Control characters are not allowed in XML.
        result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  return result;
}

// Both axes have the same scale: whole decades around all times.
class Axes {
 public:
  explicit Axes(const AccuracyReport& report) {
    for (const AccuracyRow& row : report.rows)
      if (row.run.iteration_time)
        for (const double time : {row.run.iteration_time->value(), row.prediction.iteration_time.value()}) {
          low_ = std::min(low_, std::floor(std::log10(time)));
          high_ = std::max(high_, std::ceil(std::log10(time)));
        }
    if (low_ > high_) low_ = -1, high_ = 1;
    if (low_ == high_) ++high_;
  }

  int low() const { return static_cast<int>(low_); }
  int high() const { return static_cast<int>(high_); }
  double x(double time) const { return left + along(time); }
  double y(double time) const { return top + side - along(time); }

 private:
  double along(double time) const { return side * (std::log10(time) - low_) / (high_ - low_); }

  double low_ = 1e9, high_ = -1e9;
};

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor, escaped(text));
}

std::string grid(const Axes& axes) {
  std::string svg = "<g stroke=\"#dddddd\" stroke-width=\"1\">\n";
  for (int decade = axes.low(); decade <= axes.high(); ++decade) {
    const double time = std::pow(10.0, decade);
    svg += fmt::format("<path d=\"M{:.1f} {:.1f}V{:.1f}M{:.1f} {:.1f}H{:.1f}\"/>\n", axes.x(time), top, top + side,
                       left, axes.y(time), left + side);
  }
  svg += "</g>\n";
  for (int decade = axes.low(); decade <= axes.high(); ++decade) {
    const double time = std::pow(10.0, decade);
    svg += text_at(axes.x(time), top + side + 20, "middle", fmt::format("{:g}", time));
    svg += text_at(left - 8, axes.y(time) + 4, "end", fmt::format("{:g}", time));
  }
  svg += text_at(left + side / 2, top + side + 46, "middle", "measured time of a step in seconds");
  svg += fmt::format(
      "<text transform=\"translate(20 {:.1f}) rotate(-90)\" text-anchor=\"middle\">"
      "predicted time of a step in seconds</text>\n",
      top + side / 2);
  return svg;
}

// Where the prediction is `ratio` times the measurement, clipped to the square.
std::string ratio_line(const Axes& axes, double ratio, const char* style) {
  const double from = std::pow(10.0, axes.low()), to = std::pow(10.0, axes.high());
  const double first = std::max(from, from / ratio), last = std::min(to, to / ratio);
  return fmt::format("<path d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\" {}/>\n", axes.x(first), axes.y(first * ratio),
                     axes.x(last), axes.y(last * ratio), style);
}

std::string mark(std::size_t source, double x, double y, bool hollow, const std::string& title) {
  const char* colour = colours[source % colours.size()];
  const std::string style = hollow ? fmt::format("fill=\"none\" stroke=\"{}\"", colour)
                                   : fmt::format("fill=\"{}\" fill-opacity=\"0.65\"", colour);
  const std::string inside = title.empty() ? "" : fmt::format("<title>{}</title>", escaped(title));
  switch (source / colours.size() % shapes) {
    case 0:
      return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" {}>{}</circle>\n", x, y, style, inside);
    case 1:
      return fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"5.4\" height=\"5.4\" {}>{}</rect>\n", x - 2.7,
                         y - 2.7, style, inside);
    default:
      return fmt::format("<path d=\"M{:.1f} {:.1f}l3.6 6.2h-7.2z\" {}>{}</path>\n", x, y - 3.8, style, inside);
  }
}

std::string marks(const AccuracyReport& report, const Axes& axes) {
  std::string svg;
  for (const AccuracyRow& row : report.rows) {
    if (!row.run.iteration_time) continue;
    const auto source = std::find_if(report.by_source.begin(), report.by_source.end(),
                                     [&](const NamedSummary& each) { return each.first == row.run.source; });
    const double measured = row.run.iteration_time->value(), predicted = row.prediction.iteration_time.value();
    svg += mark(static_cast<std::size_t>(source - report.by_source.begin()), axes.x(measured), axes.y(predicted),
                !row.run.suspect.empty(),
                fmt::format("{}: measured {:.3g} s, predicted {:.3g} s ({:+.1f} %)", row.run.id, measured, predicted,
                            100 * *row.error()));
  }
  return svg;
}

std::string legend_of(const AccuracyReport& report) {
  std::string svg = text_at(legend, top + 4, "start", "source: runs, MAPE");
  for (std::size_t k = 0; k < report.by_source.size(); ++k) {
    const double y = top + line_height * static_cast<double>(k + 1);
    const auto& [name, summary] = report.by_source[k];
    svg += mark(k, legend + 4, y, false, "");
    svg +=
        text_at(legend + 16, y + 4, "start", fmt::format("{}: {}, {:.1f} %", name, summary.count, 100 * *summary.mape));
  }
  return svg;
}

}  // namespace

std::string scatter_svg(const AccuracyReport& report) {
  const Axes axes(report);
  const double lines = line_height * static_cast<double>(report.by_source.size() + 2);
  const double height = top + std::max(side + bottom, lines);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
      width, height);
  svg += text_at(left, top - 18, "start",
                 fmt::format("Predicted against measured training steps: {} runs", report.summary.count));
  svg += grid(axes);
  svg += ratio_line(axes, 1.1, "stroke=\"#888888\" stroke-dasharray=\"4 3\" fill=\"none\"");
  svg += ratio_line(axes, 1 / 1.1, "stroke=\"#888888\" stroke-dasharray=\"4 3\" fill=\"none\"");
  svg += ratio_line(axes, 1, "stroke=\"#333333\" fill=\"none\"");
  svg += marks(report, axes) + legend_of(report);
  return svg + text_at(left + side - 6, top + side - 8, "end", "dashed: ±10 %; hollow: suspect") + "</svg>\n";
}

}  // namespace meshloom
