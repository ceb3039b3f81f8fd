// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "transport/base/bytes.h"
#include "transport/base/error.h"

namespace dsl::checkpoint {

/// Owns a read-only shared mapping of a whole file. Move-only, thread-safe. Pages become resident
/// when touched.
class MappedFile {
 public:
  /// kNotFound, kPermission or kIo name the path and what the system said.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  ConstBytes bytes() const { return {data_, size_}; }

 private:
  MappedFile(const std::byte* data, std::size_t size) : data_(data), size_(size) {}
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The whole text of a small file (config, index). Larger than `max_bytes` is `code`; a file that
/// cannot be opened is kNotFound, kPermission or kIo.
Result<std::string> read_text_file(const std::filesystem::path& path, std::size_t max_bytes,
                                   ErrorCode code);

}  // namespace dsl::checkpoint
