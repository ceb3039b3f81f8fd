// The CUDA backend, emulated or on a GPU, in place of the CPU's variants; the reference stays.
#include "engine/kernels/cuda/cuda_ops.h"
#include "tests/unit/kernels/copying_ops.h"
#include "tests/unit/kernels/op_fixtures.h"

namespace dsl::test {

std::unique_ptr<Ops> make_variant(std::string_view variant, ThreadPool& pool) {
  if (variant == "cuda") {
    auto device = cuda::open_cuda_device(0);
    DSL_CHECK(device.has_value(), "{}", device.error().to_string());
    // Which kernels the device has is known then.
    const Status reserved = device->ops->reserve(smallest_limits());
    DSL_CHECK(reserved.has_value(), "{}", reserved.error().to_string());
    return make_copying_ops(std::move(*device));
  }
  auto ops = make_ops({.variant = std::string(variant)}, pool);
  DSL_CHECK(ops.has_value(), "{}", ops.error().to_string());
  return std::move(*ops);
}

std::vector<std::string_view> all_variants() { return {"cuda"}; }
std::vector<std::string_view> fast_variants() { return {"cuda"}; }

/// The device does not use the pool.
std::vector<int> other_thread_counts() { return {}; }

}  // namespace dsl::test
