#include "engine/text/jinja/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/text/jinja/failure.h"

namespace dsl::text::jinja {
namespace {

constexpr std::size_t kMaxJsonDepth = 64;

/// Builds a value from parser events.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Builder(Source source) : source_(source) {}

  bool null() override { return add(Value::none()); }
  bool boolean(bool value) override { return add(Value::boolean(value)); }
  bool number_integer(number_integer_t value) override { return add(Value::integer(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<number_unsigned_t>(INT64_MAX))
      return problem("an integer beyond 64 bits");
    return add(Value::integer(static_cast<std::int64_t>(value)));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    if (text.find_first_of(".eE") == string_t::npos) return problem("an integer beyond 64 bits");
    return add(Value::number(value));
  }
  bool string(string_t& value) override { return add(Value::text(value, source_)); }
  bool binary(binary_t&) override { return problem("binary data"); }
  bool start_object(std::size_t) override { return open({true, {}, {}, {}}); }
  bool start_array(std::size_t) override { return open({false, {}, {}, {}}); }
  bool key(string_t& name) override {
    open_.back().key = name;
    return true;
  }
  bool end_object() override {
    Open done = std::move(open_.back());
    open_.pop_back();
    return add(Value::dict(std::move(done.dict)));
  }
  bool end_array() override {
    Open done = std::move(open_.back());
    open_.pop_back();
    return add(Value::list(std::move(done.list)));
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return problem(fmt::format("malformed JSON at byte {}", position));
  }

  Value& root() { return root_; }
  const std::string& message() const { return message_; }

 private:
  struct Open {
    bool is_object = false;
    Dict dict;
    List list;
    std::string key;
  };

  bool problem(std::string_view text) {
    if (message_.empty()) message_ = text;
    return false;
  }
  bool open(Open container) {
    if (open_.size() == kMaxJsonDepth) {
      return problem(fmt::format("nested deeper than {} levels", kMaxJsonDepth));
    }
    open_.push_back(std::move(container));
    return true;
  }
  bool add(Value value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().dict.set(SourcedText(open_.back().key, source_), std::move(value));
    } else {
      open_.back().list.push_back(std::move(value));
    }
    return true;
  }

  Source source_;
  Value root_;
  std::vector<Open> open_;
  std::string message_;
};

void write_string(std::string_view bytes, std::string& out) {
  out += '"';
  for (const char c : bytes) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\b':
        out += "\\b";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += fmt::format("\\u{:04x}", static_cast<int>(c));
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

class Writer {
 public:
  Writer(const JsonStyle& style, int line) : style_(style), line_(line) {}

  void write(const Value& value, int depth) {
    if (const SourcedText* text = value.as_text()) {
      write_string(text->bytes(), out_);
    } else if (value.is<None>()) {
      out_ += "null";
    } else if (const auto* boolean = std::get_if<bool>(&value.data)) {
      out_ += *boolean ? "true" : "false";
    } else if (const auto* integer = std::get_if<std::int64_t>(&value.data)) {
      out_ += std::to_string(*integer);
    } else if (const auto* number = std::get_if<double>(&value.data)) {
      out_ += std::isnan(*number)   ? "NaN"
              : std::isinf(*number) ? (*number < 0 ? "-Infinity" : "Infinity")
                                    : float_text(*number);
    } else if (const List* list = value.as_list()) {
      write_items('[', ']', *list, depth, [&](const Value& item) { write(item, depth + 1); });
    } else if (const Dict* dict = value.as_dict()) {
      std::vector<const Dict::Entry*> entries;
      for (const Dict::Entry& entry : dict->entries()) entries.push_back(&entry);
      if (style_.sorts_keys) {
        std::ranges::sort(entries, {}, [](const auto* entry) { return entry->key.bytes(); });
      }
      write_items('{', '}', entries, depth, [&](const Dict::Entry* entry) {
        write_string(entry->key.bytes(), out_);
        out_ += style_.key_separator;
        write(entry->value, depth + 1);
      });
    } else {
      give_up(line_, "tojson: a value of type {} is not JSON serializable", type_name(value));
    }
  }

  std::string take() { return std::move(out_); }

 private:
  template <typename Items, typename WriteItem>
  void write_items(char open, char close, const Items& items, int depth, WriteItem write_item) {
    out_ += open;
    bool is_first = true;
    for (const auto& item : items) {
      if (!is_first) out_ += style_.item_separator;
      is_first = false;
      break_line(depth + 1);
      write_item(item);
    }
    if (!is_first) break_line(depth);
    out_ += close;
  }
  void break_line(int depth) {
    if (!style_.indent) return;
    out_ += '\n';
    out_.append(static_cast<std::size_t>(*style_.indent) * static_cast<std::size_t>(depth), ' ');
  }

  const JsonStyle& style_;
  int line_;
  std::string out_;
};

}  // namespace

Result<Value> from_json(std::string_view json, Source source, std::string_view origin) {
  return make_value(origin, [&] {
    Builder builder(source);
    if (!nlohmann::json::sax_parse(json, &builder)) give_up(0, "{}", builder.message());
    return std::move(builder.root());
  });
}

Result<Value> make_value(std::string_view origin, const std::function<Value()>& make) {
  try {
    return make();
  } catch (const Failure& failure) {
    return fail(ErrorCode::kRequestInvalid, "correct the request", "{}: {}", origin,
                failure.message);
  }
}

SourcedText to_json(const Value& value, const JsonStyle& style, int line) {
  Writer writer(style, line);
  writer.write(value, 0);
  return {writer.take(), Source::kRequest};
}

}  // namespace dsl::text::jinja
