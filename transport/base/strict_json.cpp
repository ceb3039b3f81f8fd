#include "transport/base/strict_json.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace dsl {
namespace {

using nlohmann::json;

/// Looks at the text without building it, so that a hostile one costs no memory.
class Checker : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return enter(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }

  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    problem_ = fmt::format("the key \"{}\" occurs twice in one object", name.substr(0, 200));
    return false;
  }

  bool parse_error(std::size_t position, const std::string& token,
                   const nlohmann::detail::exception& error) override {
    const std::string what = error.what();
    const std::size_t detail = what.find("] ");
    problem_ =
        fmt::format("malformed JSON at byte {} near \"{}\": {}", position, token.substr(0, 40),
                    what.substr(detail == std::string::npos ? 0 : detail + 2, 200));
    return false;
  }

  const std::string& problem() const { return problem_; }

 private:
  bool enter() {
    keys_.emplace_back();
    if (keys_.size() <= kMaxJsonDepth) return true;
    problem_ = fmt::format("nested deeper than {} levels", kMaxJsonDepth);
    return false;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  std::vector<std::set<std::string>> keys_;  // of every open object or array
  std::string problem_;
};

}  // namespace

Result<json> parse_json(std::string_view text, std::string_view origin, ErrorCode code) {
  Checker checker;
  if (!json::sax_parse(text, &checker)) {
    return fail(code, "correct the text or fetch the file again", "{}: {}", origin,
                checker.problem());
  }
  return json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace dsl
