// The bytes of a file from its begin to its end, decompressed on the way when it is gzip (told by its first two bytes,
// not by its name). For files too large to be held whole.
#pragma once

#include <zlib.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace meshloom {

class CompressedInput {
 public:
  // "-" reads standard input. Throws InputError: a missing file, a folder.
  explicit CompressedInput(const std::string& path);
  // Reads `text`, which must outlive this; `file` names it in errors.
  CompressedInput(const std::string& text, std::string file);
  ~CompressedInput();
  CompressedInput(const CompressedInput&) = delete;
  CompressedInput& operator=(const CompressedInput&) = delete;

  // Fills `out` with up to `size` bytes; fewer only at the end. Throws InputError: the file cannot be read, its gzip
  // data is damaged, cut off or followed by something else.
  std::size_t read(char* out, std::size_t size);
  const std::string& file() const { return file_; }  // as errors name it

 private:
  using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

  void begin();
  void refill();
  std::size_t inflate_into(char* out, std::size_t size);
  void end_of_member();
  [[noreturn]] void fail(const std::string& message) const;

  std::string file_;
  File source_;
  std::vector<unsigned char> compressed_;
  z_stream inflation_{};  // its next_in and avail_in are what is left of compressed_, also of a plain file
  bool is_gzip_ = false, ended_ = false;
};

}  // namespace meshloom
