#include <dlfcn.h>

#include "engine/runtime/cuda/nccl_functions.h"

namespace dsl::cuda {
namespace {

template <typename Function>
Status find_function(void* library, const std::string& name, const char* symbol,
                     Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, symbol));
  if (function != nullptr) return {};
  return fail(ErrorCode::kNotFound, "install NCCL 2.14 or later", "{}: it has no {}", name, symbol);
}

}  // namespace

Result<NcclFunctions> open_nccl(const std::string& name) {
  void* const handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) {
    const char* const reason = ::dlerror();
    return fail(ErrorCode::kNotFound, "install NCCL, or name its folder in LD_LIBRARY_PATH", "{}",
                reason == nullptr ? name : reason);
  }
  NcclFunctions functions;
  DSL_TRY(find_function(handle, name, "ncclGetUniqueId", functions.get_unique_id));
  DSL_TRY(find_function(handle, name, "ncclCommInitRankConfig", functions.init_rank));
  DSL_TRY(find_function(handle, name, "ncclCommGetAsyncError", functions.get_async_error));
  DSL_TRY(find_function(handle, name, "ncclCommFinalize", functions.finalize));
  DSL_TRY(find_function(handle, name, "ncclCommDestroy", functions.destroy));
  DSL_TRY(find_function(handle, name, "ncclCommAbort", functions.abort));
  DSL_TRY(find_function(handle, name, "ncclGetErrorString", functions.get_error_string));
  DSL_TRY(find_function(handle, name, "ncclGetLastError", functions.get_last_error));
  DSL_TRY(find_function(handle, name, "ncclGroupStart", functions.group_start));
  DSL_TRY(find_function(handle, name, "ncclGroupEnd", functions.group_end));
  DSL_TRY(find_function(handle, name, "ncclSend", functions.send));
  DSL_TRY(find_function(handle, name, "ncclRecv", functions.receive));
  DSL_TRY(find_function(handle, name, "ncclAllGather", functions.all_gather));
  return functions;
}

}  // namespace dsl::cuda
