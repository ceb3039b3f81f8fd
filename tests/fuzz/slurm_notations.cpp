// Hostlists, limits and counts come from users, the environment and Slurm's answers: no text may
// crash their parsers or make them expand without bound.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "slurm/cpu_counts.h"
#include "slurm/gres.h"
#include "slurm/hostlist.h"
#include "slurm/job_spec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace dsl::slurm;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto hosts = expand_hostlist(text)) {
    if (hosts->empty() || hosts->size() > kMaxHosts) std::abort();
    if (hosts->size() > 1000) return 0;  // sanitizers take seconds for the largest
    const auto again = expand_hostlist(format_hostlist(*hosts));
    if (!again || *again != *hosts) std::abort();
  }
  if (const auto limit = parse_time_limit(text)) {
    const auto again = parse_time_limit(format_time_limit(*limit));
    if (!again || *again != *limit) std::abort();
  }
  if (const auto counts = expand_cpu_counts(text, 16)) {
    if (counts->size() != 16) std::abort();
  }
  if (const auto signal = parse_warn_signal(text)) {
    if (!parse_warn_signal(format_warn_signal(*signal))) std::abort();
  }
  (void)parse_node_count(text);
  (void)parse_memory_mb(text);
  (void)parse_begin_time(text, std::chrono::system_clock::from_time_t(1'800'000'000));
  (void)count_gpus(text);
  return 0;
}
