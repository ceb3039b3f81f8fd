#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checkpoint_files.h"
#include "engine/checkpoint/checkpoint.h"

namespace dsl::checkpoint {
namespace {

constexpr std::int64_t kRows = 4096;
constexpr std::int64_t kCols = 16384;  // a row of BF16 is eight pages

/// A directory with one BF16 weight w [kRows, kCols], 128 MiB.
void write_big_weight(const TemporaryDirectory& directory) {
  std::string header =
      fmt::format(R"({{"w":{{"dtype":"BF16","shape":[{},{}],"data_offsets":[0,{}]}}}})", kRows,
                  kCols, kRows * kCols * 2);
  header.append(4096 - 8 - header.size(), ' ');
  const auto path = directory.write("model.safetensors", safetensors_file(header, ""));
  std::filesystem::resize_file(path, static_cast<std::uintmax_t>(4096 + kRows * kCols * 2));
}

/// Bytes of file-backed pages in this process's page tables.
std::int64_t resident_file_bytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.starts_with("RssFile:")) return std::stoll(line.substr(8)) * 1024;
  }
  return -1;
}

TEST(Prefetch, MakesTheShardResidentAndNothingElse) {
  const TemporaryDirectory directory;
  write_big_weight(directory);
  const auto checkpoint = Checkpoint::open(directory.path());
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  const WeightView whole = *checkpoint->weight("w", kRows, kCols);
  const std::int64_t before = resident_file_bytes();

  const WeightView columns[] = {whole.cols_from(kCols / 2, kCols / 2)};
  std::int64_t last_done = 0;
  std::int64_t last_total = 0;
  const auto status = prefetch(columns, {}, [&](std::int64_t done, std::int64_t total) {
    EXPECT_GE(done, last_done);
    last_done = done;
    last_total = total;
  });
  ASSERT_TRUE(status.has_value()) << status.error().message;
  EXPECT_EQ(last_done, last_total);
  EXPECT_EQ(last_total, columns[0].bytes());
  const double grown = static_cast<double>(resident_file_bytes() - before);
  EXPECT_GE(grown, 0.95 * static_cast<double>(columns[0].bytes()));
  EXPECT_LE(grown, 1.15 * static_cast<double>(columns[0].bytes()));

  const WeightView rows[] = {whole};
  ASSERT_TRUE(prefetch(rows, {}, {}).has_value());
  EXPECT_GE(resident_file_bytes() - before, whole.bytes() * 95 / 100);
}

TEST(Prefetch, AFileThatShrankIsAnErrorAndNotASignal) {
  const TemporaryDirectory directory;
  write_big_weight(directory);
  const auto checkpoint = Checkpoint::open(directory.path());
  const WeightView weights[] = {*checkpoint->weight("w", kRows, kCols)};
  std::filesystem::resize_file(directory.path() / "model.safetensors", 8192);
  const auto status = prefetch(weights, {}, {});
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
}

TEST(Prefetch, NothingToReadIsFine) { EXPECT_TRUE(prefetch({}, {}, {}).has_value()); }

}  // namespace
}  // namespace dsl::checkpoint
