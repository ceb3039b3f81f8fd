// What this process uses, as the kernel counts it.
#pragma once

#include <cstdint>

namespace dsl::serving {

struct ProcessUsage {
  double cpu_s = 0;  // of all threads, in user and kernel mode
  std::int64_t resident_bytes = 0;
  std::int64_t num_open_files = 0;
  double start_unix_s = 0;
};

/// Reads this process's own part of /proc, which waits for no device; the longest part is its list
/// of open files, a millisecond for thousands. What cannot be read stays 0.
ProcessUsage read_process_usage();
/// CPU time of all threads, in user and kernel mode.
double process_cpu_seconds();
/// Physical memory of this process now.
std::int64_t resident_bytes();

}  // namespace dsl::serving
