// The reference implementation's logits on small models (tests/reference/README.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "transport/base/error.h"

namespace dsl::testing {

struct ReferenceFixture {
  std::string name;
  std::filesystem::path model_dir;  // with synthesised weights
  std::vector<std::int32_t> token_ids;
  std::int64_t vocab_size = 0;
  std::vector<float> logits;  // [token_ids.size(), vocab_size]
};

/// Names of all fixtures, sorted.
std::vector<std::string> fixture_names();

/// Reads a fixture and synthesises its weights below `scratch`.
Result<ReferenceFixture> load_fixture(const std::string& name,
                                      const std::filesystem::path& scratch);

}  // namespace dsl::testing
