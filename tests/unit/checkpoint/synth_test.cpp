#include "engine/checkpoint/synth.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include <nlohmann/json.hpp>

#include "checkpoint_files.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/inspect.h"
#include "engine/checkpoint/model_config.h"
#include "engine/checkpoint/synthetic_values.h"

namespace dsl::checkpoint {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::filesystem::path kFixtures =
    std::filesystem::path(DSL_TEST_DATA_DIR) / "reference" / "fixtures";

std::vector<std::string> fixture_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFixtures)) {
    if (std::filesystem::exists(entry.path() / "fixture.json"))
      names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

SynthOptions options_of(const std::string& fixture, const std::filesystem::path& out_dir) {
  const json description = json::parse(read_file(kFixtures / fixture / "fixture.json"));
  const std::map<std::string, SynthFormat> formats = {{"f32", SynthFormat::kF32},
                                                      {"bf16", SynthFormat::kBF16},
                                                      {"f16", SynthFormat::kF16},
                                                      {"fp8", SynthFormat::kFp8}};
  SynthOptions options;
  options.config_path = kFixtures / fixture / "config.json";
  options.out_dir = out_dir;
  options.format = formats.at(description["dtype"]);
  options.scale_dtype = description["scale_type"] == "e8m0" ? DType::kF8E8M0 : DType::kF32;
  options.seed = description["seed"];
  return options;
}

class Fixtures : public testing::TestWithParam<std::string> {};

TEST_P(Fixtures, EveryTensorHasTheBytesOfTheReferenceGenerator) {
  const TemporaryDirectory directory;
  const auto written = synthesize(options_of(GetParam(), directory.path() / "out"), {});
  ASSERT_TRUE(written.has_value()) << written.error().message;
  const auto checkpoint = Checkpoint::open(directory.path() / "out");
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  const json expected = json::parse(read_file(kFixtures / GetParam() / "fixture.json"))["crc32"];
  EXPECT_EQ(checkpoint->tensors().size(), expected.size());
  for (const TensorView& tensor : checkpoint->tensors()) {
    const auto crc = ::crc32(0, reinterpret_cast<const Bytef*>(tensor.data),
                             static_cast<uInt>(tensor.size_bytes));
    ASSERT_TRUE(expected.contains(tensor.name)) << tensor.name;
    EXPECT_EQ(fmt::format("{:08x}", crc), expected[std::string(tensor.name)].get<std::string>())
        << tensor.name;
  }
}

TEST_P(Fixtures, ResultIsWhatItsConfigurationAsksFor) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(synthesize(options_of(GetParam(), directory.path() / "out"), {}).has_value());
  const auto config = load_model_config(directory.path() / "out");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  const CheckpointSummary summary = inspect(*Checkpoint::open(directory.path() / "out"), *config);
  EXPECT_THAT(summary.missing, testing::IsEmpty());
  EXPECT_THAT(summary.unexpected, testing::IsEmpty());
  EXPECT_THAT(summary.mismatched, testing::IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(All, Fixtures, testing::ValuesIn(fixture_names()),
                         [](const auto& test) { return test.param; });

TEST(Synthesize, BytesDoNotDependOnFilesOrThreads) {
  const TemporaryDirectory directory;
  SynthOptions options = options_of("v3_fp8", directory.path() / "one");
  options.num_threads = 1;
  ASSERT_TRUE(synthesize(options, {}).has_value());
  options.out_dir = directory.path() / "many";
  options.num_threads = 2;
  options.max_file_bytes = 200'000;
  std::int64_t last_total = 0;
  std::int64_t last_done = 0;
  const auto written = synthesize(options, [&](std::int64_t done, std::int64_t total) {
    last_done = done;
    last_total = total;
  });
  ASSERT_TRUE(written.has_value()) << written.error().message;
  const auto one = Checkpoint::open(directory.path() / "one");
  const auto many = Checkpoint::open(options.out_dir);
  ASSERT_TRUE(many.has_value()) << many.error().message;
  EXPECT_GT(many->num_files(), 2);
  EXPECT_EQ(last_done, last_total);
  EXPECT_EQ(last_total, many->total_bytes());
  ASSERT_EQ(one->tensors().size(), many->tensors().size());
  for (const TensorView& tensor : one->tensors()) {
    const TensorView twin = *many->tensor(tensor.name);
    ASSERT_EQ(twin.size_bytes, tensor.size_bytes);
    EXPECT_EQ(std::memcmp(twin.data, tensor.data, static_cast<std::size_t>(tensor.size_bytes)), 0)
        << tensor.name;
  }
}

TEST(Synthesize, RefusesADirectoryThatHoldsACheckpoint) {
  const TemporaryDirectory directory;
  directory.write("config.json", "{}");
  const auto written = synthesize(options_of("v3_fp8", directory.path()), {});
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(written.error().message, HasSubstr("holds a checkpoint already"));
}

TEST(Synthesize, SaysWhyItCannotMakeTheDirectory) {
  const auto refused = synthesize(options_of("v3_fp8", "/sys/no_checkpoint"), {});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kIo);
  EXPECT_THAT(refused.error().message, testing::StartsWith("cannot make /sys/no_checkpoint: "));
  EXPECT_THAT(refused.error().message, testing::Not(testing::HasSubstr("No such file")));
}

TEST(Synthesize, LeavesNothingBehindWhenTheDiskRefuses) {
  const TemporaryDirectory directory;
  directory.write("file", "");
  const auto written = synthesize(options_of("v3_fp8", directory.path() / "file"), {});
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code, ErrorCode::kIo);
}

TEST(Synthesize, E8m0ScalesNeedAPowerOfTwoConfiguration) {
  const TemporaryDirectory directory;
  SynthOptions options = options_of("v3_fp8", directory.path() / "out");
  options.scale_dtype = DType::kF8E8M0;
  EXPECT_EQ(synthesize(options, {}).error().code, ErrorCode::kInvalidArgument);
}

TEST(FillSynthetic, AnyPieceEqualsItsPlaceInTheWhole) {
  const std::uint64_t key = synthetic_key("model.norm.weight", 7);
  std::vector<float> whole(1000);
  fill_synthetic(key, 0, 1.0f, 0.125f, whole);
  std::vector<float> piece(100);
  fill_synthetic(key, 333, 1.0f, 0.125f, piece);
  EXPECT_TRUE(std::equal(piece.begin(), piece.end(), whole.begin() + 333));
  for (const float value : whole) {
    EXPECT_GE(value, 0.875f);
    EXPECT_LE(value, 1.125f);
  }
}

}  // namespace
}  // namespace dsl::checkpoint
