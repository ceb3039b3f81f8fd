#include "tests/bench/gpu/profiled_steps.h"

#include <cuda_profiler_api.h>

#include "engine/runtime/cuda/cuda_status.h"
#include "tests/bench/gpu/shared_model.h"

namespace dsl::bench {

Status run_profiled_steps(const std::string& config_path, const ModelSizes& sizes) {
  SharedModel shared(config_path, sizes);
  DSL_ASSIGN(WholeModel* const whole, shared.in({}));
  DSL_TRY(whole->prefill_batch());
  DSL_TRY(cuda::cuda_status(cudaProfilerStart(), "telling a profiler of a start"));
  DSL_TRY(whole->prefill());
  for (const std::int64_t batch : {std::int64_t{1}, sizes.batch}) {
    DSL_TRY(whole->decode_step(0, batch, 0));
    DSL_TRY(whole->choose(batch));
  }
  return cuda::cuda_status(cudaProfilerStop(), "telling a profiler of an end");
}

}  // namespace dsl::bench
