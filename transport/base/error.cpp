#include "transport/base/error.h"

#include <cstdio>
#include <cstdlib>

namespace dsl {
namespace {

struct CatalogueEntry {
  ErrorCode code;
  std::string_view name;
  int exit_code;
  std::string_view meaning;
};

constexpr CatalogueEntry kCatalogue[] = {
#define DSL_ERROR(number, name, exit_code, meaning) \
  {ErrorCode::name, std::string_view(#name).substr(1), exit_code, meaning},
#include "transport/base/error_codes.def"
#undef DSL_ERROR
};

const CatalogueEntry& entry_of(ErrorCode code) {
  for (const CatalogueEntry& entry : kCatalogue) {
    if (entry.code == code) return entry;
  }
  return kCatalogue[0];
}

}  // namespace

std::string_view error_name(ErrorCode code) { return entry_of(code).name; }
std::string_view error_meaning(ErrorCode code) { return entry_of(code).meaning; }
int exit_code(ErrorCode code) { return entry_of(code).exit_code; }

std::string Error::to_string() const {
  std::string line =
      fmt::format("DSL-{} {}: {}", static_cast<int>(code), error_name(code), message);
  if (!remedy.empty()) line += fmt::format(". Remedy: {}", remedy);
  return line;
}

Error Error::within(std::string_view context) && {
  return Error{code, fmt::format("{}: {}", context, message), std::move(remedy), std::move(field)};
}

void check_failed(const char* file, int line, const char* expression, const std::string& values) {
  std::fprintf(stderr, "DSL-100 Internal: %s:%d: %s is false: %s\n", file, line, expression,
               values.c_str());
  std::abort();
}

}  // namespace dsl
