#include "launcher/commands/token_file.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iostream>

namespace dsl::launcher {
namespace {

constexpr std::size_t kMaxFileBytes = 64 << 20;
constexpr std::string_view kSeparators = ", \t\r\n";

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

}  // namespace

Result<std::vector<std::int32_t>> parse_token_ids(std::string_view text, std::string_view origin) {
  constexpr std::string_view kRemedy = "write integers separated by commas or white space";
  std::string_view rest = trim(text);
  if (!rest.empty() && rest.front() == '[') {
    if (rest.size() < 2 || rest.back() != ']') {
      return fail(ErrorCode::kInvalidArgument, kRemedy, "{}: the list has no closing bracket",
                  origin);
    }
    rest = rest.substr(1, rest.size() - 2);
  }
  std::vector<std::int32_t> ids;
  while (true) {
    const std::size_t start = rest.find_first_not_of(kSeparators);
    if (start == std::string_view::npos) break;
    rest.remove_prefix(start);
    const std::string_view piece = rest.substr(0, rest.find_first_of(kSeparators));
    std::int32_t id = 0;
    const auto [end, problem] = std::from_chars(piece.data(), piece.data() + piece.size(), id);
    if (problem != std::errc() || end != piece.data() + piece.size() || id < 0) {
      return fail(ErrorCode::kInvalidArgument, kRemedy, "{}: \"{}\" is not a token id", origin,
                  piece.substr(0, 40));
    }
    ids.push_back(id);
    rest.remove_prefix(piece.size());
  }
  if (ids.empty()) {
    return fail(ErrorCode::kInvalidArgument, kRemedy, "{}: there are no token ids", origin);
  }
  return ids;
}

Result<std::string> read_text_file(const std::string& path) {
  std::ifstream file;
  if (path != "-") file.open(path, std::ios::binary);
  std::istream& in = path == "-" ? std::cin : file;
  std::string text;
  if (in) {
    char buffer[65536];
    while (in.read(buffer, sizeof(buffer)), in.gcount() > 0) {
      text.append(buffer, static_cast<std::size_t>(in.gcount()));
      if (text.size() > kMaxFileBytes) {
        return fail(ErrorCode::kInvalidArgument, "name a smaller file", "{} is larger than {} MiB",
                    path, kMaxFileBytes >> 20);
      }
    }
    if (!in.bad() && in.eof()) return text;
  }
  return fail(ErrorCode::kNotFound, "check the path", "cannot read {}: {}", path,
              std::strerror(errno));
}

}  // namespace dsl::launcher
