#include "tests/e2e/reference_fixture.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/checkpoint/synth.h"
#include "transport/base/strict_json.h"

namespace dsl::testing {
namespace {

std::filesystem::path fixtures_dir() {
  return std::filesystem::path(DSL_TEST_DATA_DIR) / "reference" / "fixtures";
}

Result<std::vector<char>> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(ErrorCode::kNotFound, "", "opening {}", path.string());
  return std::vector<char>(std::istreambuf_iterator<char>(file), {});
}

struct Array {
  std::vector<float> values;
  std::int64_t last_dimension = 1;
};

/// A little-endian float32 array of NumPy's format 1.0 in C order.
Result<Array> read_npy(const std::filesystem::path& path) {
  DSL_ASSIGN(const std::vector<char> bytes, read_file(path));
  const std::size_t header_bytes =
      static_cast<unsigned char>(bytes.at(8)) + 256u * static_cast<unsigned char>(bytes.at(9));
  const std::string header(bytes.begin() + 10,
                           bytes.begin() + static_cast<std::ptrdiff_t>(10 + header_bytes));
  if (header.find("'<f4'") == std::string::npos ||
      header.find("'fortran_order': False") == std::string::npos) {
    return fail(ErrorCode::kInternal, "", "{} is not a float32 array: {}", path.string(), header);
  }
  Array array;
  const std::size_t begin = 10 + header_bytes;
  array.values.resize((bytes.size() - begin) / sizeof(float));
  std::memcpy(array.values.data(), bytes.data() + begin, array.values.size() * sizeof(float));
  const std::size_t comma = header.find(", ", header.find("'shape': ("));
  if (comma != std::string::npos) array.last_dimension = std::atoll(header.c_str() + comma + 2);
  return array;
}

}  // namespace

std::vector<std::string> fixture_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(fixtures_dir())) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<ReferenceFixture> load_fixture(const std::string& name,
                                      const std::filesystem::path& scratch) {
  const auto dir = fixtures_dir() / name;
  DSL_ASSIGN(const std::vector<char> text, read_file(dir / "fixture.json"));
  DSL_ASSIGN(const nlohmann::json json,
             parse_json({text.data(), text.size()}, name, ErrorCode::kInternal));

  checkpoint::SynthOptions synth;
  synth.config_path = dir / "config.json";
  synth.out_dir = scratch / name;
  synth.seed = json.at("seed").get<std::uint64_t>();
  synth.num_threads = 1;
  const auto dtype = json.at("dtype").get<std::string>();
  synth.format = dtype == "f32"    ? checkpoint::SynthFormat::kF32
                 : dtype == "f16"  ? checkpoint::SynthFormat::kF16
                 : dtype == "bf16" ? checkpoint::SynthFormat::kBF16
                                   : checkpoint::SynthFormat::kFp8;
  if (json.value("scale_type", "f32") == "e8m0") synth.scale_dtype = DType::kF8E8M0;
  DSL_TRY(checkpoint::synthesize(synth, nullptr));

  ReferenceFixture fixture;
  fixture.name = name;
  fixture.model_dir = synth.out_dir;
  fixture.token_ids = json.at("token_ids").get<std::vector<std::int32_t>>();
  DSL_ASSIGN(Array logits, read_npy(dir / "logits.npy"));
  fixture.logits = std::move(logits.values);
  fixture.vocab_size = logits.last_dimension;
  return fixture;
}

}  // namespace dsl::testing
