#include "tools/command_line/output.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <stdexcept>

#include "graphs/files.hpp"
#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

// Characters, not bytes, of UTF-8 text.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// With a header that names no file and no time: same text, same bytes.
std::string gzipped(const std::string& text) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("zlib cannot compress");
  std::string result(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(result.data());
  stream.avail_out = static_cast<uInt>(result.size());
  const int status = deflate(&stream, Z_FINISH);
  result.resize(stream.total_out);
  deflateEnd(&stream);
  if (status != Z_STREAM_END) throw std::runtime_error("zlib cannot compress");
  return result;
}

}  // namespace

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

Table::Table(std::vector<std::string> headings) {
  for (std::string& heading : headings) {
    left_.push_back(left_.empty() || heading.starts_with('<'));
    if (heading.starts_with('<')) heading.erase(0, 1);
  }
  rows_.push_back(std::move(headings));
}

void Table::row(std::vector<std::string> cells) {
  cells.resize(left_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths(left_.size());
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  std::string result;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - width(row[i]), ' ');
      line += (i == 0 ? "" : "  ") + (left_[i] ? row[i] + padding : padding + row[i]);
    }
    result += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return result;
}

Progress::Progress() : terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (shown_) std::fputs("\r\033[K", stderr);
}

void Progress::show(const std::string& line) {
  if (!terminal_ || elapsed() < Seconds(1)) return;
  const std::lock_guard lock(mutex_);
  shown_ = true;
  std::fputs(fmt::format("\r\033[K{:.0f} s: {}", elapsed().value(), line).c_str(), stderr);
  std::fflush(stderr);
}

Seconds Progress::elapsed() const {
  return Seconds(std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count());
}

void check_output(std::string_view option, const std::optional<std::string>& path) {
  if (!path || *path == "-") return;
  const std::string place = fmt::format("{} {}", option, *path);
  struct stat status {};
  if (path->empty()) throw InputError(place, "the path is empty; name a file, or - for standard output");
  if (::stat(path->c_str(), &status) == 0 && S_ISDIR(status.st_mode))
    throw InputError(place, "is a folder; name a file in it");
  const WriteTarget target = write_target(*path);
  if (target.direct && ::stat(path->c_str(), &status) == 0) {
    if (::access(path->c_str(), W_OK) != 0) throw InputError(place, "cannot be written; choose another");
    return;
  }
  const std::size_t slash = target.path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : target.path.substr(0, std::max<std::size_t>(slash, 1));
  if (::stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
    throw InputError(place, fmt::format("the folder \"{}\" does not exist; make it first", folder));
  if (::access(folder.c_str(), W_OK) != 0)
    throw InputError(place, fmt::format("the folder \"{}\" cannot be written; choose another", folder));
}

void check_distinct(const std::vector<NamedPath>& inputs, const std::vector<NamedPath>& outputs) {
  const auto clash = [](const NamedPath& one, const NamedPath& other) {
    return one.path && other.path && *one.path != "-" && *other.path != "-" && same_file(*one.path, *other.path);
  };
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    for (const NamedPath& input : inputs)
      if (clash(input, outputs[i]))
        throw InputError(
            fmt::format("{} and {}", input.option, outputs[i].option),
            fmt::format("both are {}; an output must not overwrite an input, name another file", *outputs[i].path));
    for (std::size_t k = 0; k < i; ++k)
      if (clash(outputs[k], outputs[i]))
        throw InputError(fmt::format("{} and {}", outputs[k].option, outputs[i].option),
                         fmt::format("both write {}; name two files", *outputs[i].path));
  }
}

void write_perhaps_gzip(const std::string& path, const std::string& text) {
  write_file(path, path.ends_with(".gz") ? gzipped(text) : text);
}

bool is_standard_output(const std::optional<std::string>& path) { return path == "-"; }

void check_one_standard_output(const std::vector<std::pair<std::string, bool>>& outputs) {
  std::vector<std::string> used;
  for (const auto& [option, used_here] : outputs)
    if (used_here) used.push_back(option);
  if (used.size() > 1)
    throw InputError(joined(used, " and "), "both write to standard output; send all but one of them to a file");
}

}  // namespace meshloom
