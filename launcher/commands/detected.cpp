#include "launcher/commands/detected.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launcher/output/human.h"
#include "launcher/process/program_paths.h"
#include "launcher/process/run_program.h"
#include "slurm/load_client.h"
#include "transport/verbs/gpudirect.h"
#include "transport/verbs/rdma_devices.h"
#include "transport/verbs/ucx_facts.h"

namespace dsl::launcher {
namespace {

Detected missing(std::string name, const Error& error) {
  return {std::move(name), false, "not found: " + error.message};
}

Detected detect_ucx(const Result<verbs::UcxFacts>& facts) {
  if (!facts) return missing("ucx", facts.error());
  return {"ucx", true,
          fmt::format("{}, transports {}; memory {}", facts->version,
                      fmt::join(facts->transports, ", "), fmt::join(facts->memory_types, ", "))};
}

Detected detect_rdma() {
  const Result<std::vector<verbs::RdmaDevice>> devices = verbs::list_rdma_devices();
  if (!devices) return missing("rdma", devices.error());
  if (devices->empty()) return {"rdma", false, "not found: libibverbs lists no device"};
  std::vector<std::string> ports;
  for (const verbs::RdmaDevice& device : *devices) {
    for (const verbs::RdmaPort& port : device.ports) {
      ports.push_back(fmt::format("{}:{} {} {} {:g} Gb/s{}", device.name, port.number, port.state,
                                  port.link_layer, port.gbit_per_s,
                                  device.software ? " (software)" : ""));
    }
  }
  return {"rdma", true, fmt::format("{}", fmt::join(ports, ", "))};
}

Detected detect_gpudirect(const Result<verbs::UcxFacts>& facts) {
  const bool ucx_has_cuda =
      facts && std::find(facts->memory_types.begin(), facts->memory_types.end(), "cuda") !=
                   facts->memory_types.end();
  const verbs::GpuDirect gpudirect = verbs::find_gpudirect(ucx_has_cuda);
  return {"gpudirect", gpudirect.missing.empty(), describe(gpudirect)};
}

/// Owns a library that was opened at run time.
using Library = std::unique_ptr<void, int (*)(void*)>;

Library open_library(const char* name) {
  return {::dlopen(name, RTLD_NOW | RTLD_LOCAL), ::dlclose};
}

/// A version function `int f(int*)` with 0 for success, as the CUDA driver and NCCL have it.
bool ask_version(const Library& library, const char* function, int& version) {
  using VersionFunction = int (*)(int*);
  const auto ask = reinterpret_cast<VersionFunction>(::dlsym(library.get(), function));
  return ask != nullptr && ask(&version) == 0;
}

Detected detect_cuda() {
  const Library driver = open_library("libcuda.so.1");
  if (!driver) return {"cuda", false, "not found: no driver library libcuda.so.1"};
  int version = 0;
  if (!ask_version(driver, "cuDriverGetVersion", version)) {
    return {"cuda", false, "the driver library does not answer"};
  }
  using InitFunction = int (*)(unsigned);
  const auto init = reinterpret_cast<InitFunction>(::dlsym(driver.get(), "cuInit"));
  int num_devices = 0;
  if (init == nullptr || init(0) != 0 || !ask_version(driver, "cuDeviceGetCount", num_devices) ||
      num_devices == 0) {
    return {"cuda", false,
            fmt::format("driver for CUDA {}.{}, but no usable device", version / 1000,
                        version % 1000 / 10)};
  }
  return {"cuda", true,
          fmt::format("driver for CUDA {}.{}, {} device{}", version / 1000, version % 1000 / 10,
                      num_devices, num_devices == 1 ? "" : "s")};
}

Detected detect_nccl() {
  const Library library = open_library("libnccl.so.2");
  int version = 0;
  if (!library) return {"nccl", false, "not found: no library libnccl.so.2"};
  if (!ask_version(library, "ncclGetVersion", version)) {
    return {"nccl", false, "the library does not answer"};
  }
  return {"nccl", true,
          fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100)};
}

Detected detect_slurm() {
  const Result<slurm::ModuleInfo> module = slurm::inspect_module({});
  if (!module) return missing("slurm", module.error());
  std::string detail =
      fmt::format("client module for {}, libslurm.so.{}", module->built_for, module->library_abi);
  const Deadline deadline = Deadline::after(std::chrono::seconds(5));
  const Result<std::unique_ptr<slurm::Client>> client = slurm::load_client({}, deadline);
  if (!client) {
    return {"slurm", false, fmt::format("{}, but no cluster: {}", detail, client.error().message)};
  }
  const Result<slurm::ClusterInfo> cluster = (*client)->cluster(deadline);
  if (!cluster) {
    return {"slurm", false, fmt::format("{}, but no cluster: {}", detail, cluster.error().message)};
  }
  return {"slurm", true,
          fmt::format("{}, cluster {} of version {}, controller {}", detail, cluster->name,
                      cluster->version, fmt::join(cluster->controllers, ", "))};
}

Detected detect_engine() {
  const Result<std::string> engine = find_engine();
  if (!engine) return missing("engine", engine.error());
  Result<std::string> version =
      run_program({*engine, "version"}, Deadline::after(std::chrono::seconds(5)));
  if (!version) return missing("engine", version.error());
  while (!version->empty() && version->back() == '\n') version->pop_back();
  return {"engine", true, fmt::format("{} ({})", *version, *engine)};
}

/// "NVIDIA H100, 85.90 GB: well", or what is wrong and what helps.
Detected gpu_of(const nlohmann::json& gpu) {
  std::string detail = fmt::format("{}, {}: ", gpu.at("name").get<std::string>(),
                                   human_bytes(gpu.at("memory_bytes").get<std::int64_t>()));
  const nlohmann::json& problems = gpu.at("problems");
  if (problems.empty()) detail += "well";
  for (std::size_t i = 0; i < problems.size(); ++i) {
    detail +=
        fmt::format("{}{} ({})", i == 0 ? "" : "; ", problems[i].at("problem").get<std::string>(),
                    problems[i].at("remedy").get<std::string>());
  }
  return {fmt::format("gpu {}", gpu.at("gpu").get<int>()), problems.empty(), std::move(detail)};
}

/// None where there is no engine, no driver or no GPU: the lines before say so.
std::vector<Detected> detect_gpus() {
  std::vector<Detected> found;
  const Result<std::string> engine = find_engine();
  if (!engine) return found;
  const Result<std::string> output =
      run_program({*engine, "gpus"}, Deadline::after(std::chrono::seconds(5)));
  if (!output) return found;
  std::istringstream lines(*output);
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json gpu = nlohmann::json::parse(line, nullptr, false);
    if (gpu.is_object()) found.push_back(gpu_of(gpu));
  }
  return found;
}

}  // namespace

std::vector<Detected> detect_all() {
  const Result<verbs::UcxFacts> ucx = verbs::query_ucx();
  std::vector<Detected> found = {detect_engine(),       detect_ucx(ucx), detect_rdma(),
                                 detect_gpudirect(ucx), detect_cuda(),   detect_nccl(),
                                 detect_slurm()};
  for (Detected& gpu : detect_gpus()) found.push_back(std::move(gpu));
  return found;
}

}  // namespace dsl::launcher
