// dsl_slurm_probe MODULE [SLURM_CONF]: tries a configuration and its controller in a process of its
// own, because libslurm ends the process on a broken configuration and blocks on a missing one.
// Exit 0: usable; kProbeRefused: one line "CODE<tab>message<tab>remedy" on standard output;
// anything else: the library ended this process.
#include <dlfcn.h>

#include <chrono>
#include <cstdio>

#include "slurm/module/entry.h"
#include "slurm/module/probe_exit.h"

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: dsl_slurm_probe MODULE [SLURM_CONF]\n");
    return 2;
  }
  void* module = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
  if (module == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  const auto entry =
      reinterpret_cast<dsl::slurm::ModuleEntry>(dlsym(module, dsl::slurm::kModuleEntryName));
  if (entry == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  const dsl::slurm::ModuleTable* table = entry();
  table->initialize(argc == 3 ? argv[2] : nullptr);
  const std::unique_ptr<dsl::slurm::Client> client(table->make_client());
  // The parent kills this process at its own deadline.
  const auto cluster = client->cluster(dsl::Deadline::never());
  if (cluster) return 0;
  std::printf("%d\t%s\t%s\n", static_cast<int>(cluster.error().code),
              cluster.error().message.c_str(), cluster.error().remedy.c_str());
  return dsl::slurm::kProbeRefused;
}
