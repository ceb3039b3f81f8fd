#include "engine/serving/text_service/postprocessor.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "engine/serving/http/remedies.h"
#include "engine/serving/text_service/request_reader.h"
#include "engine/serving/text_service/text_json.h"
#include "transport/base/strict_json.h"

namespace dsl::serving {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxItems = 4096;
constexpr std::size_t kMaxIdBytes = 256;

}  // namespace

struct Postprocessor::Item {
  std::string id;
  std::optional<AnswerFormat> format;  // there: the tokens are all tokens of the answer
  std::int64_t position = 0;           // tokens whose effect the client has
  std::vector<sampling::SampledToken> tokens;
  std::optional<AnswerEnd> end;

  static Result<Item> read(const json& value) {
    DSL_ASSIGN(RequestReader reader, RequestReader::open(value, "items", kOneVersionRemedy));
    Item item;
    DSL_ASSIGN(auto id, reader.text("stream"));
    if (!id || id->empty() || id->size() > kMaxIdBytes)
      return reader.wrong("stream", "the id of an answer");
    item.id = *std::move(id);
    if (const json* format = reader.find("format")) {
      DSL_ASSIGN(item.format, answer_format_of(*format));
    }
    DSL_ASSIGN(item.position, reader.integer("position", 0, 0, INT64_MAX));
    DSL_ASSIGN(item.tokens, sampled_tokens_of(value));
    if (item.format && item.position > static_cast<std::int64_t>(item.tokens.size()))
      return reader.wrong("position", "a number of tokens that are there");
    DSL_ASSIGN(const auto end, reader.text("finish"));
    if (!end) return item;
    if (*end != "stop" && *end != "length") return reader.wrong("finish", "stop or length");
    item.end = *end == "stop" ? AnswerEnd::kStop : AnswerEnd::kLength;
    return item;
  }
};

Result<std::string> Postprocessor::process(std::string_view body) {
  DSL_ASSIGN(const json document, parse_json(body, "the body", ErrorCode::kRequestInvalid));
  DSL_ASSIGN(RequestReader reader, RequestReader::open(document, "", kOneVersionRemedy));
  const json* items = reader.find("items");
  if (items == nullptr || !items->is_array() || items->size() > kMaxItems)
    return reader.wrong("items", fmt::format("a list of at most {}", kMaxItems));
  // All are read before any is worked on: a malformed request changes nothing.
  std::vector<Item> read_items;
  for (const json& value : *items) {
    DSL_ASSIGN(Item item, Item::read(value));
    read_items.push_back(std::move(item));
  }
  std::string answer = "{\"items\":[";
  for (std::size_t i = 0; i < read_items.size(); ++i) {
    if (i > 0) answer += ',';
    DSL_ASSIGN(const std::string update, process_item(std::move(read_items[i])));
    answer += update;
  }
  return answer + "]}";
}

Result<std::string> Postprocessor::process_item(Item item) {
  std::span<const sampling::SampledToken> tokens = item.tokens;
  std::optional<StreamCache::Entry> entry;
  if (item.format) {
    DSL_ASSIGN(AnswerStream stream, AnswerStream::open(model_, *std::move(item.format)));
    const auto num_known = static_cast<std::size_t>(item.position);
    if (num_known > 0) {
      ++num_rebuilds_;
      stream.push(tokens.first(num_known));
      tokens = tokens.subspan(num_known);
    }
    entry = StreamCache::Entry{std::move(stream), item.position};
  } else {
    entry = cache_.take(item.id, item.position);
  }
  if (!entry) {
    ++num_misses_;
    return std::string("{\"need\":\"all\"}");
  }
  num_tokens_ += static_cast<std::int64_t>(tokens.size());
  if (item.end) return to_json(entry->stream.finish(*item.end, tokens));
  const AnswerUpdate update = entry->stream.push(tokens);
  entry->position += static_cast<std::int64_t>(tokens.size());
  cache_.put(item.id, *std::move(entry));
  return to_json(update);
}

}  // namespace dsl::serving
