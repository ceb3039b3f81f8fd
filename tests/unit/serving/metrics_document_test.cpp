// docs/serving.md and docs/operations.md name the metrics that programs have, and no others.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace dsl::serving {
namespace {

namespace fs = std::filesystem;

const fs::path kRepository = fs::path(DSL_TEST_DATA_DIR).parent_path();

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void collect(const std::string& text, const std::regex& pattern, std::set<std::string>& names) {
  for (std::sregex_iterator match(text.begin(), text.end(), pattern), end; match != end; ++match)
    names.insert((*match)[1]);
}

std::set<std::string> names_in_code() {
  const std::regex pattern("\"((?:dslaunch_|vllm:)[a-z0-9_]+)\"");
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(kRepository / "engine" / "serving")) {
    if (entry.path().extension() == ".cpp") collect(text_of(entry.path()), pattern, names);
  }
  return names;
}

std::set<std::string> names_in_documents() {
  const std::regex pattern("`((?:dslaunch_|vllm:)[a-z0-9_]+)`");
  std::set<std::string> names;
  for (const char* document : {"serving.md", "operations.md"})
    collect(text_of(kRepository / "docs" / document), pattern, names);
  return names;
}

TEST(MetricsDocument, HasEveryMetricAndNoOther) {
  const std::set<std::string> in_code = names_in_code();
  EXPECT_GT(in_code.size(), 50u);
  EXPECT_THAT(names_in_documents(), testing::ElementsAreArray(in_code));
}

}  // namespace
}  // namespace dsl::serving
