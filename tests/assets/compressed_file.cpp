#include "tests/assets/compressed_file.h"

#include <lzma.h>
#include <zlib.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <iterator>

#include "transport/base/error.h"

namespace dsl::test {
namespace {

std::string read_gz(const std::filesystem::path& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  DSL_CHECK(file != nullptr, "cannot open {}", path.string());
  std::string text;
  std::array<char, 1 << 16> buffer{};
  int count = 0;
  while ((count = gzread(file, buffer.data(), buffer.size())) > 0) {
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  DSL_CHECK(count == 0, "cannot read {}", path.string());
  gzclose(file);
  return text;
}

std::string read_xz(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  DSL_CHECK(file.good(), "cannot open {}", path.string());
  const std::string packed(std::istreambuf_iterator<char>(file), {});
  std::string text(std::size_t{32} << 20, '\0');
  std::uint64_t memory_limit = std::uint64_t{256} << 20;
  std::size_t packed_done = 0;
  std::size_t text_done = 0;
  const lzma_ret result = lzma_stream_buffer_decode(
      &memory_limit, 0, nullptr, reinterpret_cast<const std::uint8_t*>(packed.data()), &packed_done,
      packed.size(), reinterpret_cast<std::uint8_t*>(text.data()), &text_done, text.size());
  DSL_CHECK(result == LZMA_OK, "cannot decode {}: {}", path.string(), static_cast<int>(result));
  text.resize(text_done);
  return text;
}

}  // namespace

std::string read_compressed(const std::filesystem::path& path) {
  return path.extension() == ".xz" ? read_xz(path) : read_gz(path);
}

}  // namespace dsl::test
