#include "launcher/process/error_line.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

namespace dsl::launcher {

std::optional<Error> parse_error_line(std::string_view line) {
  constexpr std::string_view kPrefix = "DSL-";
  constexpr std::string_view kRemedy = ". Remedy: ";
  const std::size_t start = line.find(kPrefix);
  if (start == std::string_view::npos) return std::nullopt;
  line.remove_prefix(start + kPrefix.size());
  int number = 0;
  const auto [end, problem] = std::from_chars(line.data(), line.data() + line.size(), number);
  if (problem != std::errc()) return std::nullopt;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));

  const auto code = static_cast<ErrorCode>(number);
  const std::string expected = fmt::format(" {}: ", error_name(code));
  if (line.substr(0, expected.size()) != expected) return std::nullopt;  // not in our catalogue
  line.remove_prefix(expected.size());
  const std::size_t remedy = line.rfind(kRemedy);
  Error error{code, std::string(line.substr(0, remedy)), ""};
  if (remedy != std::string_view::npos) error.remedy = line.substr(remedy + kRemedy.size());
  return error;
}

std::optional<Error> last_error_line(const std::filesystem::path& log) {
  // A program that ends by an error says so at last; its log may be large.
  constexpr std::streamoff kTailBytes = 65536;
  std::ifstream file(log, std::ios::binary | std::ios::ate);
  file.seekg(std::max<std::streamoff>(0, file.tellg() - kTailBytes));
  std::optional<Error> last;
  for (std::string line; std::getline(file, line);) {
    if (std::optional<Error> error = parse_error_line(line)) last = std::move(error);
  }
  return last;
}

}  // namespace dsl::launcher
