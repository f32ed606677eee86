#include "graphs/compressed_input.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "graphs/input_error.hpp"

namespace meshloom {
namespace {

constexpr std::size_t chunk = 1 << 16;
constexpr unsigned char magic[] = {0x1f, 0x8b};

int keep_open(std::FILE*) { return 0; }

std::FILE* open_file(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode))
    throw InputError(path, "is a folder; name a file in it");
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) throw InputError(path, fmt::format("cannot be read: {}", std::strerror(errno)));
  return file;
}

}  // namespace

CompressedInput::CompressedInput(const std::string& path)
    : file_(path == "-" ? "<stdin>" : path),
      source_(path == "-" ? File(stdin, &keep_open) : File(open_file(path), &std::fclose)) {
  begin();
}

CompressedInput::CompressedInput(const std::string& text, std::string file)
    : file_(std::move(file)), source_(::fmemopen(const_cast<char*>(text.data()), text.size(), "rb"), &std::fclose) {
  if (!source_) fail(fmt::format("cannot be read: {}", std::strerror(errno)));
  begin();
}

CompressedInput::~CompressedInput() {
  if (is_gzip_) ::inflateEnd(&inflation_);
}

void CompressedInput::fail(const std::string& message) const { throw InputError(file_, message); }

void CompressedInput::begin() {
  compressed_.resize(chunk);
  refill();
  is_gzip_ = inflation_.avail_in >= sizeof(magic) && std::equal(std::begin(magic), std::end(magic), inflation_.next_in);
  constexpr int gzip_only = 16 + MAX_WBITS;
  if (is_gzip_ && ::inflateInit2(&inflation_, gzip_only) != Z_OK) throw std::bad_alloc();
}

void CompressedInput::refill() {
  inflation_.next_in = compressed_.data();
  inflation_.avail_in = static_cast<unsigned>(std::fread(compressed_.data(), 1, compressed_.size(), source_.get()));
  if (std::ferror(source_.get())) fail(fmt::format("cannot be read: {}", std::strerror(errno)));
}

std::size_t CompressedInput::read(char* out, std::size_t size) {
  std::size_t done = 0;
  while (done < size && !ended_) {
    if (inflation_.avail_in == 0) refill();
    if (is_gzip_) {
      done += inflate_into(out + done, size - done);
    } else {
      const std::size_t part = std::min<std::size_t>(size - done, inflation_.avail_in);
      std::memcpy(out + done, inflation_.next_in, part);
      inflation_.next_in += part, inflation_.avail_in -= static_cast<unsigned>(part);
      done += part;
      ended_ = part == 0;
    }
  }
  return done;
}

std::size_t CompressedInput::inflate_into(char* out, std::size_t size) {
  if (inflation_.avail_in == 0) fail("the gzip data is cut off; copy or compress the file again");
  inflation_.next_out = reinterpret_cast<unsigned char*>(out);
  inflation_.avail_out = static_cast<unsigned>(std::min<std::size_t>(size, 1 << 30));
  const unsigned asked = inflation_.avail_out;
  const int result = ::inflate(&inflation_, Z_NO_FLUSH);
  const std::size_t done = asked - inflation_.avail_out;
  if (result == Z_STREAM_END) end_of_member();
  if (result != Z_OK && result != Z_STREAM_END)
    fail(fmt::format("the gzip data is damaged ({}); copy or compress the file again",
                     inflation_.msg ? inflation_.msg : "it does not go on"));
  return done;
}

// A gzip file may hold several compressed pieces one after the other.
void CompressedInput::end_of_member() {
  if (inflation_.avail_in == 0) refill();
  ended_ = inflation_.avail_in == 0;
  if (ended_) return;
  if (*inflation_.next_in != magic[0]) fail("something follows the gzip data; copy or compress the file again");
  ::inflateReset(&inflation_);
}

}  // namespace meshloom
