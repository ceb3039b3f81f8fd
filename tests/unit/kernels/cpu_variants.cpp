// The variants of the CPU.
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {

std::unique_ptr<Ops> make_variant(std::string_view variant, ThreadPool& pool) {
  auto ops = make_ops({.variant = std::string(variant)}, pool);
  DSL_CHECK(ops.has_value(), "{}", ops.error().to_string());
  return std::move(*ops);
}

std::vector<std::string_view> all_variants() {
  const auto variants = available_variants();
  return {variants.begin(), variants.end()};
}

std::vector<std::string_view> fast_variants() {
  std::vector<std::string_view> variants = all_variants();
  variants.erase(variants.begin());
  return variants;
}

std::vector<int> other_thread_counts() { return {1, 3, 4}; }

}  // namespace dsl::test
