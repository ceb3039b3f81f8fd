// NCCL's functions, loaded where they are wanted: programs start without NCCL too.
#pragma once

#include <nccl.h>

#include <string>

#include "transport/base/error.h"

namespace dsl::cuda {

/// Those that a communicator needs, of whatever library has them. A value.
struct NcclFunctions {
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init_rank = nullptr;
  decltype(&ncclCommGetAsyncError) get_async_error = nullptr;
  decltype(&ncclCommFinalize) finalize = nullptr;
  decltype(&ncclCommDestroy) destroy = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclGetErrorString) get_error_string = nullptr;
  decltype(&ncclGetLastError) get_last_error = nullptr;
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) receive = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
};

/// Loads the shared library of this name, for as long as the process lives: threads of its own run
/// its code. kNotFound where there is none, or where it lacks a function.
Result<NcclFunctions> open_nccl(const std::string& name);

/// The machine's libnccl.so.2, loaded by the first call. Thread-safe.
Result<NcclFunctions> load_nccl();

}  // namespace dsl::cuda
