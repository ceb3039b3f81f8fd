#include "engine/serving/process/process_usage.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <string>

namespace dsl::serving {
namespace {

std::int64_t count_open_files() {
  std::error_code ignored;
  const std::filesystem::directory_iterator files("/proc/self/fd", ignored);
  const auto num_files = std::distance(begin(files), end(files));
  return num_files > 0 ? num_files - 1 : 0;  // one of them is the folder itself, to read it
}

double boot_unix_seconds() {
  std::ifstream stat("/proc/stat");
  std::string key;
  while (stat >> key) {
    double seconds = 0;
    if (key == "btime" && stat >> seconds) return seconds;
    stat.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

/// The program's name, the second field, may hold anything: fields are counted from its end.
double start_unix_seconds() {
  constexpr int kFieldsBetweenNameAndStart = 19;
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t name_end = text.rfind(')');
  const double boot = boot_unix_seconds();
  if (name_end == std::string::npos || boot <= 0) return 0;
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int i = 0; i < kFieldsBetweenNameAndStart; ++i) fields >> skipped;
  double ticks = 0;
  fields >> ticks;
  return boot + ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace

double process_cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total_pages = 0;
  std::int64_t resident_pages = 0;
  statm >> total_pages >> resident_pages;
  return resident_pages * ::sysconf(_SC_PAGESIZE);
}

ProcessUsage read_process_usage() {
  static const double start_unix_s = start_unix_seconds();
  return {process_cpu_seconds(), resident_bytes(), count_open_files(), start_unix_s};
}

}  // namespace dsl::serving
