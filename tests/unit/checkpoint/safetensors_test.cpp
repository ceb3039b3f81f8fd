#include "engine/checkpoint/safetensors.h"

#include <gmock/gmock.h>

#include <random>

#include "checkpoint_files.h"

namespace dsl::checkpoint {
namespace {

using testing::HasSubstr;

struct HostileHeader {
  const char* name;
  const char* header;
  std::uint64_t data_bytes;
  const char* message;
};

class HostileHeaders : public testing::TestWithParam<HostileHeader> {};

TEST_P(HostileHeaders, AreRefusedWithTheReason) {
  const auto parsed =
      parse_safetensors_header(GetParam().header, GetParam().data_bytes, "m.safetensors");
  ASSERT_FALSE(parsed.has_value());
  EXPECT_EQ(parsed.error().code, ErrorCode::kCheckpointCorrupt);
  EXPECT_THAT(parsed.error().message, HasSubstr("m.safetensors"));
  EXPECT_THAT(parsed.error().message, HasSubstr(GetParam().message));
  EXPECT_FALSE(parsed.error().remedy.empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileHeaders,
    testing::Values(
        HostileHeader{"Empty", "", 0, "does not begin with {"},
        HostileHeader{"NotJson", "{]", 0, "malformed JSON at byte"},
        HostileHeader{"List", "[]", 0, "does not begin with {"},
        HostileHeader{"Unterminated", R"({"a":{"dtype":"F32")", 0, "malformed JSON"},
        HostileHeader{"TextAfterTheEnd", "{} {}", 0, "malformed JSON"},
        HostileHeader{"InvalidUtf8", "{\"\xff\":{}}", 0, "malformed JSON"},
        HostileHeader{"ValueIsNoObject", R"({"a":1})", 0, "a number where none is allowed"},
        HostileHeader{"UnknownDtype", R"({"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}})", 4,
                      "F7"},
        HostileHeader{"DtypeIsANumber", R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", 4,
                      "tensor a"},
        HostileHeader{"NoShape", R"({"a":{"dtype":"F32","data_offsets":[0,4]}})", 4,
                      "expected dtype, shape"},
        HostileHeader{"NoOffsets", R"({"a":{"dtype":"F32","shape":[1]}})", 4, "two data_offsets"},
        HostileHeader{"ThreeOffsets", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})",
                      8, "a number"},
        HostileHeader{"UnknownKey", R"({"a":{"dtype":"F32","shape":[1],"offsets":[0,4]}})", 4,
                      "\"offsets\" is unknown"},
        HostileHeader{"KeyTwice",
                      R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
                      "twice"},
        HostileHeader{
            "NameTwice",
            R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
            8, "the name a occurs twice"},
        HostileHeader{"EmptyName", R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
                      "name of 0 bytes"},
        HostileHeader{"NulInName",
                      R"({"a\u0000b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
                      "not allowed"},
        HostileHeader{"NegativeShape", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})",
                      4, "a negative number"},
        HostileHeader{"FractionalShape",
                      R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4,
                      "a fraction"},
        HostileHeader{"NestedShape", R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})",
                      4, "a list"},
        HostileHeader{
            "ShapeOverflows",
            R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0,
            "overflows"},
        HostileHeader{
            "NumberBeyond64Bits",
            R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,0]}})", 0,
            "a fraction"},
        HostileHeader{"WrongSize", R"({"a":{"dtype":"BF16","shape":[3],"data_offsets":[0,4]}})", 4,
                      "needs 6 bytes"},
        HostileHeader{"Backwards", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4,
                      "run backwards"},
        HostileHeader{"BeyondTheFile", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                      4, "the file holds 4"},
        HostileHeader{
            "OffsetsNearTheTop",
            R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[18446744073709551613,18446744073709551615]}})",
            4, "ends at byte"},
        HostileHeader{
            "Overlap",
            R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
            8, "overlaps"},
        HostileHeader{
            "Gap",
            R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
            12, "leaves a gap"},
        HostileHeader{"TrailingData", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                      8, "cover 4 bytes"},
        HostileHeader{"MetadataIsNested", R"({"__metadata__":{"a":{}}})", 0, "an object"},
        HostileHeader{"NineDimensions",
                      R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", 1,
                      "a number"}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(SafetensorsHeader, DeepNestingIsRefusedWithoutRecursion) {
  const std::string header = "{\"a\":" + std::string(1'000'000, '[');
  EXPECT_FALSE(parse_safetensors_header(header, 0, "m").has_value());
}

TEST(SafetensorsHeader, EntriesComeInFileOrderWithPaddingAndMetadataAccepted) {
  const auto parsed = parse_safetensors_header(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[],"data_offsets":[6,10]},)"
      R"("a":{"data_offsets":[0,6],"shape":[3,1],"dtype":"BF16"},"empty":{"dtype":"F32","shape":[0,5],"data_offsets":[6,6]}}  )",
      10, "m");
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  ASSERT_EQ(parsed->entries.size(), 3u);
  EXPECT_EQ(parsed->entries[0].name, "a");
  EXPECT_EQ(parsed->entries[0].dtype, DType::kBF16);
  EXPECT_THAT(parsed->entries[0].shape, testing::ElementsAre(3, 1));
  EXPECT_EQ(parsed->entries[1].name, "empty");
  EXPECT_EQ(parsed->entries[2].name, "b");
}

Result<std::uint64_t> length_of(std::uint64_t claimed, std::uint64_t file_bytes) {
  return read_header_length(std::as_bytes(std::span(&claimed, 1)), file_bytes, "m");
}

TEST(SafetensorsHeader, LengthIsCheckedBeforeTheHeaderIsRead) {
  EXPECT_EQ(length_of(10, 18).value(), 10u);
  EXPECT_THAT(length_of(11, 18).error().message, HasSubstr("claims 11 bytes, the file has 18"));
  EXPECT_THAT(length_of(kMaxHeaderBytes + 1, ~0ull).error().message,
              HasSubstr("at most 100000000"));
  EXPECT_THAT(length_of(~0ull, 18).error().message, HasSubstr("at most"));
  EXPECT_THAT(length_of(0, 7).error().message, HasSubstr("too few"));
}

TEST(SafetensorsHeader, BitFlipsNeverCrashAndNeverPassAWrongSize) {
  const std::string good =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}})";
  const unsigned seed = 20261123u;
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 20'000; ++round) {
    std::string text = good;
    for (int flips = 1 + static_cast<int>(random() % 3); flips > 0; --flips) {
      text[random() % text.size()] ^= static_cast<char>(1u << (random() % 8));
    }
    const auto parsed = parse_safetensors_header(text, 32, "m");
    if (!parsed) continue;
    std::uint64_t covered = 0;
    for (const auto& entry : parsed->entries) covered += entry.end - entry.begin;
    EXPECT_EQ(covered, 32u) << text;
  }
}

}  // namespace
}  // namespace dsl::checkpoint
