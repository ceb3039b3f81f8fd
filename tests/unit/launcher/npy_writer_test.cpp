#include "launcher/output/npy_writer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <vector>

#include "tests/unit/launcher/scratch_folder.h"

namespace dsl::launcher {
namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(NpyWriter, WritesHeaderAndRows) {
  const ScratchFolder scratch;
  Result<NpyWriter> writer = NpyWriter::create(scratch.path() / "a.npy", 2, 3);
  ASSERT_TRUE(writer) << writer.error().to_string();
  ASSERT_TRUE(writer->append(std::vector<float>{1, 2, 3, 4}));
  EXPECT_FALSE(std::filesystem::exists(scratch.path() / "a.npy"));
  ASSERT_TRUE(writer->append(std::vector<float>{5, 6}));
  ASSERT_TRUE(writer->finish());

  const std::string bytes = read(scratch.path() / "a.npy");
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  const std::size_t header =
      static_cast<unsigned char>(bytes[8]) + 256U * static_cast<unsigned char>(bytes[9]);
  EXPECT_EQ((10 + header) % 64, 0U);
  EXPECT_EQ(bytes[9 + header], '\n');
  EXPECT_NE(bytes.find("'shape': (2, 3)"), std::string::npos);
  ASSERT_EQ(bytes.size(), 10 + header + 6 * sizeof(float));
  float last = 0;
  std::memcpy(&last, bytes.data() + bytes.size() - sizeof(float), sizeof(float));
  EXPECT_EQ(last, 6.0F);
}

TEST(NpyWriter, LeavesNothingUnfinishedBehind) {
  const ScratchFolder scratch;
  {
    Result<NpyWriter> writer = NpyWriter::create(scratch.path() / "a.npy", 2, 2);
    ASSERT_TRUE(writer->append(std::vector<float>{1}));
    EXPECT_EQ(writer->finish().error().code, ErrorCode::kInternal);
  }
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
  EXPECT_FALSE(NpyWriter::create(scratch.path() / "no/such/a.npy", 1, 1));
}

}  // namespace
}  // namespace dsl::launcher
