#include "launcher/process/line_buffer.h"

#include <gmock/gmock.h>

#include <random>
#include <vector>

namespace dsl::launcher {
namespace {

TEST(LineBuffer, LinesDoNotDependOnHowBytesArrive) {
  const std::uint64_t seed = 20261123u;
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const std::string text = "{\"a\":1}\n\n{\"b\":\"\xE6\xA8\xA1\"}\r\nlast";
  for (int round = 0; round < 200; ++round) {
    LineBuffer buffer(1024);
    std::vector<std::string> lines;
    const auto take = [&](std::string_view line) { lines.emplace_back(line); };
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::size_t piece = std::min<std::size_t>(rest.size(), 1 + random() % 5);
      buffer.feed(rest.substr(0, piece), take);
      rest.remove_prefix(piece);
    }
    buffer.finish(take);
    EXPECT_THAT(lines, testing::ElementsAre("{\"a\":1}", "", "{\"b\":\"\xE6\xA8\xA1\"}", "last"));
  }
}

TEST(LineBuffer, LongLinesComeInPiecesOfTheLimit) {
  LineBuffer buffer(8);
  std::vector<std::size_t> sizes;
  const auto take = [&](std::string_view line) { sizes.push_back(line.size()); };
  buffer.feed(std::string(20, 'x') + "\n" + "12345678\n", take);
  EXPECT_THAT(sizes, testing::ElementsAre(8U, 8U, 4U, 8U));
}

}  // namespace
}  // namespace dsl::launcher
