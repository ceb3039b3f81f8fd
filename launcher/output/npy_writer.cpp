#include "launcher/output/npy_writer.h"

#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <string>

namespace dsl::launcher {
namespace {

static_assert(std::endian::native == std::endian::little, "the header announces little-endian");

/// The whole header is a multiple of 64 bytes, as the format asks, so that the data are aligned.
std::string make_header(std::int64_t num_rows, std::int64_t num_columns) {
  std::string dictionary = fmt::format(
      "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", num_rows, num_columns);
  constexpr std::size_t kPreamble = 10;
  while ((kPreamble + dictionary.size() + 1) % 64 != 0) dictionary += ' ';
  dictionary += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(dictionary.size() & 0xFFU);
  header += static_cast<char>(dictionary.size() >> 8U);
  return header + dictionary;
}

tl::unexpected<Error> write_failure(const std::filesystem::path& path) {
  return fail(ErrorCode::kIo, "check the folder and the disk's free space", "cannot write {}: {}",
              path.string(), std::strerror(errno));
}

}  // namespace

Result<NpyWriter> NpyWriter::create(const std::filesystem::path& path, std::int64_t num_rows,
                                    std::int64_t num_columns) {
  NpyWriter writer;
  writer.path_ = path;
  writer.temporary_ = path.string() + fmt::format(".{}.part", ::getpid());
  writer.file_.open(writer.temporary_, std::ios::binary | std::ios::trunc);
  const std::string header = make_header(num_rows, num_columns);
  if (!writer.file_.write(header.data(), static_cast<std::streamsize>(header.size()))) {
    return write_failure(path);
  }
  writer.missing_ = num_rows * num_columns;
  return writer;
}

NpyWriter::~NpyWriter() {
  if (temporary_.empty()) return;
  file_.close();
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

Status NpyWriter::append(std::span<const float> values) {
  const auto bytes = std::as_bytes(values);
  if (!file_.write(reinterpret_cast<const char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()))) {
    return write_failure(path_);
  }
  missing_ -= static_cast<std::int64_t>(values.size());
  return {};
}

Status NpyWriter::finish() {
  if (missing_ != 0) {
    return fail(ErrorCode::kInternal, "", "{} misses {} values", path_.string(), missing_);
  }
  file_.close();
  std::error_code problem;
  if (file_.fail()) return write_failure(path_);
  std::filesystem::rename(temporary_, path_, problem);
  if (problem) {
    return fail(ErrorCode::kIo, "check the folder", "cannot write {}: {}", path_.string(),
                problem.message());
  }
  temporary_.clear();
  return {};
}

}  // namespace dsl::launcher
