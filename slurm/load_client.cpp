#include "slurm/load_client.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <system_error>
#include <vector>

#include "slurm/bounded_client.h"
#include "slurm/module/entry.h"
#include "slurm/probe_child.h"

namespace dsl::slurm {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kModuleName = "libdsl_slurm.so";

std::optional<fs::path> from_environment(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return fs::path(value);
}

Result<fs::path> find_module(const LoadOptions& options) {
  std::vector<fs::path> places;
  if (options.module) {
    places.push_back(*options.module);
  } else if (const auto path = from_environment("DSLAUNCH_SLURM_MODULE")) {
    places.push_back(*path);
  } else {
    std::error_code error;
    const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
    const fs::path lib = folder.parent_path() / "lib";  // of the installation, or of the build tree
    places = {folder / kModuleName, lib / "dslaunch" / kModuleName, lib / kModuleName};
  }
  std::string looked;
  for (const fs::path& place : places) {
    std::error_code error;
    if (fs::exists(place, error)) return fs::absolute(place, error);
    looked += fmt::format("{}{}", looked.empty() ? "" : ", ", place.string());
  }
  return fail(ErrorCode::kSlurmUnavailable,
              "build dslaunch where libslurm-dev is installed, or work without Slurm "
              "(--cluster local)",
              "Slurm: the client module is not installed: looked for {}", looked);
}

/// The table of a module that fits this program. The module stays loaded: libslurm's threads and
/// exit handlers do not survive an unload.
Result<const ModuleTable*> open_module(const fs::path& path) {
  // Global, because Slurm's plugins find libslurm's symbols in the global scope.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
  if (handle == nullptr) {
    return fail(ErrorCode::kSlurmUnavailable,
                "install the libslurm this module was built for, or rebuild it for this Slurm "
                "(docs/slurm.md)",
                "Slurm: cannot load {}: {}", path.string(), dlerror());
  }
  const auto entry = reinterpret_cast<ModuleEntry>(dlsym(handle, kModuleEntryName));
  const ModuleTable* table = entry == nullptr ? nullptr : entry();
  if (table == nullptr || table->magic != kModuleMagic ||
      table->fingerprint != module_fingerprint()) {
    return fail(ErrorCode::kSlurmUnavailable,
                "install the dslaunch and libdsl_slurm.so of one build together",
                "Slurm: {} belongs to another build of dslaunch", path.string());
  }
  return table;
}

Status check_readable(const fs::path& config) {
  std::error_code error;
  const bool is_file = fs::is_regular_file(config, error);
  if (is_file && access(config.c_str(), R_OK) == 0) return {};
  const std::string why = error     ? error.message()
                          : is_file ? std::strerror(errno)
                                    : "it is not a regular file";
  return fail(ErrorCode::kSlurmUnavailable, "point SLURM_CONF to a readable slurm.conf",
              "Slurm: cannot read the configuration {}: {}", config.string(), why);
}

/// libslurm can be initialised once per process, with one configuration.
Status initialize_once(const ModuleTable* table, const std::optional<fs::path>& config) {
  static std::mutex mutex;
  static std::optional<std::optional<fs::path>> initialized_with;
  const std::lock_guard guard(mutex);
  if (!initialized_with) {
    table->initialize(config ? config->c_str() : nullptr);
    initialized_with = config;
  }
  if (*initialized_with == config) return {};
  return fail(ErrorCode::kInvalidArgument, "use one SLURM_CONF per process",
              "Slurm: this process already uses another configuration");
}

}  // namespace

Result<std::unique_ptr<Client>> load_client(const LoadOptions& options, Deadline deadline) {
  DSL_ASSIGN(const fs::path module, find_module(options));
  const auto config = options.config ? options.config : from_environment("SLURM_CONF");
  if (config) DSL_TRY(check_readable(*config));
  DSL_ASSIGN(const ModuleTable* const table, open_module(module));
  const Deadline limit = Deadline::after(options.call_limit);
  DSL_TRY(
      probe_cluster(module, config, limit.time_point() < deadline.time_point() ? limit : deadline));
  DSL_TRY(initialize_once(table, config));
  return make_bounded_client(std::unique_ptr<Client>(table->make_client()), options.call_limit);
}

Result<ModuleInfo> inspect_module(const LoadOptions& options) {
  DSL_ASSIGN(fs::path module, find_module(options));
  DSL_ASSIGN(const ModuleTable* const table, open_module(module));
  return ModuleInfo{std::move(module), version_text(table->header_version), table->library_abi()};
}

}  // namespace dsl::slurm
