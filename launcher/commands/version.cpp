// dslaunch version: what this build is and what it finds on this machine.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "launcher/commands/commands.h"
#include "launcher/commands/detected.h"

namespace dsl::launcher {

void add_version(Command& root, OutputOptions& output) {
  Command& command = root.add_subcommand("version", "Print the version and what was detected");
  const auto verbose = std::make_shared<bool>(false);
  command.add_flag("-v,--verbose", verbose.get(),
                   "also UCX, RDMA devices, CUDA, NCCL, Slurm and the engine's kernels");
  output.add_to(command);
  command.set_examples("  dslaunch version --verbose\n  dslaunch version --verbose --json\n");
  command.set_action([verbose, &output]() -> Result<int> {
    const std::vector<Detected> found = *verbose ? detect_all() : std::vector<Detected>{};
    if (output.json) {
      nlohmann::ordered_json object = {{"dslaunch", DSL_VERSION}};
      for (const Detected& component : found) {
        object[component.name] = {{"found", component.found}, {"detail", component.detail}};
      }
      std::puts(
          object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace).c_str());
      return 0;
    }
    fmt::print("dslaunch {}\n", DSL_VERSION);
    for (const Detected& component : found) {
      fmt::print("{:<9} {}\n", component.name, component.detail);
    }
    return 0;
  });
}

}  // namespace dsl::launcher
