#include "slurm/module/entry.h"

#include <slurm/slurm.h>
#include <slurm/slurm_version.h>

#include "slurm/module/libslurm_client.h"

namespace {

const dsl::slurm::ModuleTable kTable = {
    dsl::slurm::kModuleMagic,
    dsl::slurm::module_fingerprint(),
    SLURM_VERSION_NUMBER,
    [] { return SLURM_VERSION_MAJOR(static_cast<std::uint32_t>(slurm_api_version())); },
    [](const char* config) { slurm_init(config); },
    []() -> dsl::slurm::Client* { return new dsl::slurm::LibslurmClient(); },
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const dsl::slurm::ModuleTable*
dsl_slurm_module() {
  return &kTable;
}
