// docs/errors.md and the error catalogue say the same.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>

#include "transport/base/error.h"

namespace dsl {
namespace {

struct Row {
  std::string name;
  int exit_code = 0;
};

/// Rows "| DSL-nnn | Name | exit | meaning | causes | remedy |" of the document.
std::map<int, Row> documented() {
  std::ifstream file(std::string(DSL_TEST_DATA_DIR) + "/../docs/errors.md");
  std::map<int, Row> rows;
  const std::regex pattern(R"(^\| DSL-(\d+) \| (\w+) \| (\d+) \| [^|]+ \| [^|]+ \| [^|]+ \|$)");
  for (std::string line; std::getline(file, line);) {
    std::smatch match;
    if (line.rfind("| DSL-", 0) != 0) continue;
    EXPECT_TRUE(std::regex_match(line, match, pattern)) << line;
    if (match.empty()) continue;
    EXPECT_TRUE(rows.emplace(std::stoi(match[1]), Row{match[2], std::stoi(match[3])}).second)
        << line;
  }
  return rows;
}

TEST(ErrorsDocument, HasEveryCodeOfTheCatalogueAndNoOther) {
  std::map<int, Row> rows = documented();
  const ErrorCode catalogue[] = {
#define DSL_ERROR(number, name, exit, meaning) ErrorCode::name,
#include "transport/base/error_codes.def"
#undef DSL_ERROR
  };
  for (const ErrorCode code : catalogue) {
    const int number = static_cast<int>(code);
    const auto row = rows.find(number);
    ASSERT_NE(row, rows.end()) << "DSL-" << number << " " << error_name(code)
                               << " is not explained";
    EXPECT_EQ(row->second.name, error_name(code)) << number;
    EXPECT_EQ(row->second.exit_code, exit_code(code)) << number;
    rows.erase(row);
  }
  for (const auto& [number, row] : rows)
    ADD_FAILURE() << "DSL-" << number << " is not in the catalogue";
}

}  // namespace
}  // namespace dsl
