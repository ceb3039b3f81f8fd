// float32 matrices as NumPy's .npy files, written row by row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>

#include "transport/base/error.h"

namespace dsl::launcher {

/// Owns the file, which is beside its final place until finish(). Move-only, thread-compatible.
class NpyWriter {
 public:
  /// A matrix [num_rows, num_columns], row-major, little-endian (format version 1.0).
  static Result<NpyWriter> create(const std::filesystem::path& path, std::int64_t num_rows,
                                  std::int64_t num_columns);
  NpyWriter(NpyWriter&&) = default;
  NpyWriter& operator=(NpyWriter&&) = default;
  /// Removes an unfinished file.
  ~NpyWriter();

  Status append(std::span<const float> values);
  /// Moves the file to its place; kInternal when the number of values is not the announced one.
  Status finish();

 private:
  NpyWriter() = default;
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::ofstream file_;
  std::int64_t missing_ = 0;  // values
};

}  // namespace dsl::launcher
