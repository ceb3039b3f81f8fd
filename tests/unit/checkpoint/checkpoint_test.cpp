#include "engine/checkpoint/checkpoint.h"

#include <gmock/gmock.h>

#include "checkpoint_files.h"

namespace dsl::checkpoint {
namespace {

using testing::HasSubstr;

constexpr char kTwoByThree[] =
    R"({"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}      )";

void expect_corrupt(const TemporaryDirectory& directory, std::string_view message) {
  const auto opened = Checkpoint::open(directory.path());
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kCheckpointCorrupt);
  EXPECT_THAT(opened.error().message, HasSubstr(message));
}

TEST(Checkpoint, ReadsASingleFileInPlace) {
  const TemporaryDirectory directory;
  directory.write("model.safetensors", safetensors_file(kTwoByThree, "abcdefghijkl"));
  const auto checkpoint = Checkpoint::open(directory.path());
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  EXPECT_TRUE(checkpoint->has("w"));
  EXPECT_EQ(checkpoint->total_bytes(), 12);
  const auto weight = checkpoint->weight("w", 2, 3);
  ASSERT_TRUE(weight.has_value()) << weight.error().message;
  EXPECT_EQ(std::string(static_cast<const char*>(weight->data), 12), "abcdefghijkl");
  EXPECT_EQ(weight->row_stride, 3);
}

TEST(Checkpoint, MissingTensorNamesTensorAndDirectory) {
  const TemporaryDirectory directory;
  directory.write("model.safetensors", safetensors_file(kTwoByThree, "abcdefghijkl"));
  const auto checkpoint = Checkpoint::open(directory.path());
  const auto missing = checkpoint->weight("lm_head.weight", 2, 3);
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, ErrorCode::kTensorMissing);
  EXPECT_THAT(missing.error().message, HasSubstr("lm_head.weight"));
  EXPECT_THAT(missing.error().message, HasSubstr(directory.path().string()));
}

TEST(Checkpoint, WrongShapeOrDtypeSaysExpectedAndFound) {
  const TemporaryDirectory directory;
  directory.write(
      "model.safetensors",
      safetensors_file(R"({"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
                       R"("i":{"dtype":"I32","shape":[2,1],"data_offsets":[12,20]}}   )",
                       std::string(20, 'x')));
  const auto checkpoint = Checkpoint::open(directory.path());
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  const auto shape = checkpoint->weight("w", 3, 2);
  ASSERT_FALSE(shape.has_value());
  EXPECT_EQ(shape.error().code, ErrorCode::kTensorMismatch);
  EXPECT_THAT(shape.error().message, HasSubstr("[3, 2], found BF16 [2, 3]"));
  EXPECT_THAT(checkpoint->weight("i", 2, 1).error().message, HasSubstr("found I32"));
  EXPECT_THAT(checkpoint->vector("w", 6).error().message, HasSubstr("[6], found BF16 [2, 3]"));
}

TEST(Checkpoint, UnalignedDataIsRefused) {
  const TemporaryDirectory directory;
  directory.write("model.safetensors",
                  safetensors_file(R"({"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}} )",
                                   "abcdefghijkl"));
  const auto checkpoint = Checkpoint::open(directory.path());
  EXPECT_THAT(checkpoint->weight("w", 2, 3).error().message, HasSubstr("not aligned"));
}

TEST(Checkpoint, EmptyDirectoryNamesBothFiles) {
  const TemporaryDirectory directory;
  const auto opened = Checkpoint::open(directory.path());
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(opened.error().message, HasSubstr("model.safetensors.index.json"));
}

TEST(Checkpoint, EveryTruncationIsRefused) {
  const std::string whole = safetensors_file(kTwoByThree, "abcdefghijkl");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const TemporaryDirectory directory;
    directory.write("model.safetensors", whole.substr(0, size));
    const auto opened = Checkpoint::open(directory.path());
    ASSERT_FALSE(opened.has_value()) << size;
    EXPECT_EQ(opened.error().code, ErrorCode::kCheckpointCorrupt);
  }
}

TEST(Checkpoint, HugeHeaderIsRefused) {
  const TemporaryDirectory directory;
  std::string file = safetensors_file(kTwoByThree, "abcdefghijkl");
  file[6] = '\x7f';
  directory.write("model.safetensors", file);
  expect_corrupt(directory, "at most 100000000 are allowed");
}

TEST(Checkpoint, ADirectoryInPlaceOfAFileIsRefused) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory.path() / "model.safetensors");
  EXPECT_EQ(Checkpoint::open(directory.path()).error().code, ErrorCode::kNotFound);
}

TEST(IndexedCheckpoint, ReadsTensorsFromTheirFiles) {
  const TemporaryDirectory directory;
  directory.write(
      "a.safetensors",
      safetensors_file(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "a"));
  directory.write(
      "b.safetensors",
      safetensors_file(R"({"v":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "b"));
  directory.write(
      "model.safetensors.index.json",
      R"({"metadata":{"total_size":2},"weight_map":{"w":"a.safetensors","v":"b.safetensors"}})");
  const auto checkpoint = Checkpoint::open(directory.path());
  ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->num_files(), 2);
  EXPECT_EQ(checkpoint->tensor("v")->file, "b.safetensors");
  EXPECT_EQ(*checkpoint->tensor("w")->data, std::byte{'a'});
}

TEST(IndexedCheckpoint, MissingFileIsNamed) {
  const TemporaryDirectory directory;
  directory.write("model.safetensors.index.json", R"({"weight_map":{"w":"a.safetensors"}})");
  const auto opened = Checkpoint::open(directory.path());
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(opened.error().message, HasSubstr("weight file a.safetensors of"));
}

TEST(IndexedCheckpoint, TensorThatItsFileLacksIsNamed) {
  const TemporaryDirectory directory;
  directory.write(
      "a.safetensors",
      safetensors_file(R"({"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "a"));
  directory.write("model.safetensors.index.json",
                  R"({"weight_map":{"w":"a.safetensors","v":"a.safetensors"}})");
  expect_corrupt(directory, "tensor v is said to lie in a.safetensors");
}

class HostileIndexes : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(HostileIndexes, AreRefused) {
  const TemporaryDirectory directory;
  directory.write("model.safetensors.index.json", GetParam().first);
  expect_corrupt(directory, GetParam().second);
}

INSTANTIATE_TEST_SUITE_P(
    All, HostileIndexes,
    testing::Values(std::pair{R"({"weight_map":{"w":"../secret.safetensors"}})", "plain file name"},
                    std::pair{R"({"weight_map":{"w":"/etc/passwd"}})", "plain file name"},
                    std::pair{R"({"weight_map":{"w":".."}})", "plain file name"},
                    std::pair{R"({"weight_map":{"w":""}})", "plain file name"},
                    std::pair{R"({"weight_map":{"w":"a\u0000b"}})", "plain file name"},
                    std::pair{R"({"weight_map":{"w":7}})", "plain file name"},
                    std::pair{R"({"weight_map":{"w":"a","w":"b"}})", "occurs twice"},
                    std::pair{R"({"weight_map":{}})", "expected an object"},
                    std::pair{R"({"weight_map":[]})", "expected an object"},
                    std::pair{"[]", "expected an object"}, std::pair{"{", "malformed JSON"}));

std::string fp8_file(std::string_view scale_dtype, std::string_view scale_shape,
                     std::size_t scale_bytes) {
  // 130 x 3: two row blocks, one partial column block. Scales first, so that they are aligned.
  std::string header =
      fmt::format(R"({{"w.weight_scale_inv":{{"dtype":"{}","shape":{},"data_offsets":[0,{}]}},)"
                  R"("w.weight":{{"dtype":"F8_E4M3","shape":[130,3],"data_offsets":[{},{}]}}}})",
                  scale_dtype, scale_shape, scale_bytes, scale_bytes, scale_bytes + 390);
  header.append((8 - header.size() % 8) % 8, ' ');
  std::string data(scale_bytes, '\0');
  for (std::size_t i = 1; i < scale_bytes; i += 2) data[i] = '\x3f';
  return safetensors_file(header, data + std::string(390, '\x38'));
}

TEST(Fp8Weight, ScalesOfEveryAllowedTypeAreAttached) {
  const std::pair<const char*, std::size_t> types[] = {{"F32", 8}, {"BF16", 4}, {"F8_E8M0", 2}};
  for (const auto& [dtype, bytes] : types) {
    const TemporaryDirectory directory;
    directory.write("model.safetensors", fp8_file(dtype, "[2,1]", bytes));
    const auto checkpoint = Checkpoint::open(directory.path());
    ASSERT_TRUE(checkpoint.has_value()) << checkpoint.error().message;
    const auto weight = checkpoint->weight("w.weight", 130, 3);
    ASSERT_TRUE(weight.has_value()) << weight.error().message;
    EXPECT_EQ(weight->scales.row_stride, 1);
    if (std::string_view(dtype) == "BF16") {
      EXPECT_EQ(weight->scales.dtype, DType::kF32);
      EXPECT_EQ(static_cast<const float*>(weight->scales.data)[1], to_float(BFloat16{0x3f00}));
    } else {
      EXPECT_EQ(name_of(weight->scales.dtype), dtype);
    }
  }
}

TEST(Fp8Weight, ScalesOfAnotherShapeOrTypeAreRefused) {
  for (const auto& [dtype, shape, bytes] :
       {std::tuple{"F32", "[1,1]", std::size_t{4}}, std::tuple{"F32", "[2]", std::size_t{8}},
        std::tuple{"I32", "[2,1]", std::size_t{8}}}) {
    const TemporaryDirectory directory;
    directory.write("model.safetensors", fp8_file(dtype, shape, bytes));
    const auto weight = Checkpoint::open(directory.path())->weight("w.weight", 130, 3);
    ASSERT_FALSE(weight.has_value()) << shape;
    EXPECT_EQ(weight.error().code, ErrorCode::kTensorMismatch);
    EXPECT_THAT(weight.error().message, HasSubstr("w.weight_scale_inv"));
  }
}

TEST(Fp8Weight, MissingScalesAreNamed) {
  const TemporaryDirectory directory;
  directory.write(
      "model.safetensors",
      safetensors_file(R"({"w.weight":{"dtype":"F8_E4M3","shape":[1,1],"data_offsets":[0,1]}})",
                       "x"));
  const auto weight = Checkpoint::open(directory.path())->weight("w.weight", 1, 1);
  ASSERT_FALSE(weight.has_value());
  EXPECT_EQ(weight.error().code, ErrorCode::kTensorMissing);
  EXPECT_THAT(weight.error().message, HasSubstr("w.weight_scale_inv"));
}

}  // namespace
}  // namespace dsl::checkpoint
