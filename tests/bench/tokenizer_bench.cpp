// Tokenizer throughput on mixed text with the DeepSeek-V3 tokenizer: MB/s on one core, ids verified
// first.
//   tokenizer_bench [megabytes = 8] [repetitions = 9]

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "engine/text/file.h"
#include "engine/text/tokenizer.h"
#include "tests/assets/compressed_file.h"

namespace dsl::text {
namespace {

constexpr std::string_view kDataFolder = DSL_TEST_DATA_DIR;
constexpr int kMinRepetitions = 7;

/// The strings of the goldens, long runs left out, which are checked while they are read.
std::vector<std::string> verified_strings(const Tokenizer& tokenizer) {
  std::istringstream lines(test::read_compressed(
      fmt::format("{}/reference/tokenizer_goldens/goldens.jsonl.gz", kDataFolder)));
  std::vector<std::string> strings;
  for (std::string line; std::getline(lines, line);) {
    const auto golden = nlohmann::json::parse(line);
    const auto text = golden["text"].get<std::string>();
    const auto ids = tokenizer.encode(text, {.special_tokens = SpecialTokens::kParse});
    DSL_CHECK(ids.has_value() && *ids == golden["v3"].get<std::vector<std::int32_t>>(),
              "other ids than the reference for \"{}\"", text);
    strings.push_back(text);
  }
  return strings;
}

/// English, Chinese, code, numbers and emoji as the goldens have them, in a fixed random order.
std::string mixed_text(const std::vector<std::string>& strings, std::size_t size) {
  std::mt19937 random(1);
  std::string text;
  while (text.size() < size) {
    text += strings[random() % strings.size()];
    text += '\n';
  }
  return text;
}

/// Megabytes (10^6 bytes) per second, the median of the repetitions.
double median_rate(const Tokenizer& tokenizer, const std::string& text, int repetitions) {
  std::vector<double> rates;
  std::size_t num_ids = 0;
  for (int i = 0; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const auto ids = tokenizer.encode(text);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    DSL_CHECK(ids.has_value(), "{}", ids.error().to_string());
    DSL_CHECK(num_ids == 0 || num_ids == ids->size(), "repetitions differ");
    num_ids = ids->size();
    rates.push_back(static_cast<double>(text.size()) / 1e6 / elapsed.count());
  }
  std::ranges::sort(rates);
  fmt::print("  {} bytes, {} tokens, {:.2f} bytes per token\n", text.size(), num_ids,
             static_cast<double>(text.size()) / static_cast<double>(num_ids));
  return rates[rates.size() / 2];
}

int run(std::size_t megabytes, int repetitions) {
  const std::string folder = fmt::format("{}/assets/tokenizers/deepseek-v3", kDataFolder);
  const auto start = std::chrono::steady_clock::now();
  const std::string json = test::read_compressed(folder + "/tokenizer.json.xz");
  const auto decompressed = std::chrono::steady_clock::now();
  const auto tokenizer = Tokenizer::parse(json, "", "deepseek-v3");
  const std::chrono::duration<double> load_time = std::chrono::steady_clock::now() - decompressed;
  DSL_CHECK(tokenizer.has_value(), "{}", tokenizer.error().to_string());
  fmt::print("load: {:.0f} ms (reading the compressed asset: {:.0f} ms)\n", load_time.count() * 1e3,
             std::chrono::duration<double>(decompressed - start).count() * 1e3);
  const std::vector<std::string> strings = verified_strings(*tokenizer);
  fmt::print("verified: {} strings give the reference ids\n", strings.size());
  fmt::print("mixed text: {:.1f} MB/s (median of {})\n",
             median_rate(*tokenizer, mixed_text(strings, megabytes * 1000000), repetitions),
             repetitions);
  fmt::print("one letter: {:.1f} MB/s (median of {})\n",
             median_rate(*tokenizer, std::string(megabytes * 1000000, 'a'), repetitions),
             repetitions);
  return 0;
}

}  // namespace
}  // namespace dsl::text

int main(int argc, char** argv) {
  const int megabytes = argc > 1 ? std::atoi(argv[1]) : 8;
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 9;
  if (megabytes < 1 || megabytes > 1000 || repetitions < dsl::text::kMinRepetitions) {
    fmt::print(stderr, "usage: tokenizer_bench [megabytes 1..1000] [repetitions, at least {}]\n",
               dsl::text::kMinRepetitions);
    return 2;
  }
  return dsl::text::run(static_cast<std::size_t>(megabytes), repetitions);
}
