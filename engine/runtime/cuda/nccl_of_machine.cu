#include "engine/runtime/cuda/nccl_functions.h"

namespace dsl::cuda {

Result<NcclFunctions> load_nccl() {
  static const Result<NcclFunctions> loaded = open_nccl("libnccl.so.2");
  return loaded;
}

}  // namespace dsl::cuda
