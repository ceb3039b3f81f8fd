#include "engine/serving/engine_port/fabric_ports.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>

namespace dsl::serving {
namespace {

namespace fs = std::filesystem;

/// The two counters of data count words of four bytes.
constexpr std::int64_t kFabricWordBytes = 4;
/// How long counters are kept: no count.
constexpr const char* kLifespan = "lifespan";

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

std::optional<std::int64_t> read_count(const fs::path& file) {
  std::int64_t value = 0;
  std::ifstream stream(file);
  if (!(stream >> value)) return std::nullopt;
  return value;
}

std::optional<FabricPort> read_port(const fs::path& device, const fs::path& folder) {
  FabricPort port;
  port.device = device.filename().string();
  const std::string number = folder.filename().string();
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), port.port);
  if (parsed.ec != std::errc()) return std::nullopt;
  for (const char* group : {"counters", "hw_counters"}) {
    for (const fs::path& file : sorted_entries(folder / group)) {
      const std::string name = file.filename().string();
      const auto value = name == kLifespan ? std::nullopt : read_count(file);
      if (value) port.counters.push_back({group, name, *value});
    }
  }
  for (const FabricCounter& counter : port.counters) {
    if (counter.group != "counters") continue;
    if (counter.name == "port_xmit_data") port.transmitted_bytes = counter.value * kFabricWordBytes;
    if (counter.name == "port_rcv_data") port.received_bytes = counter.value * kFabricWordBytes;
  }
  return port;
}

}  // namespace

std::vector<FabricPort> read_fabric_ports(const fs::path& folder) {
  std::vector<FabricPort> ports;
  for (const fs::path& device : sorted_entries(folder)) {
    for (const fs::path& entry : sorted_entries(device / "ports")) {
      if (auto port = read_port(device, entry)) ports.push_back(*std::move(port));
    }
  }
  return ports;
}

}  // namespace dsl::serving
