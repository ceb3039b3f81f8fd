#include "engine/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

namespace dsl::checkpoint {
namespace {

using nlohmann::json;

constexpr std::string_view kFetchAgain =
    "fetch or convert the file again; its header is not valid safetensors";
constexpr std::size_t kMaxRank = 8;
constexpr std::size_t kMaxNameBytes = 1024;

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

/// An untrusted name, short enough for a message.
std::string shortened(std::string_view name) {
  return name.size() <= 120 ? std::string(name) : std::string(name.substr(0, 120)) + "...";
}

/// Builds entries while the text is read: no tree, so memory is bounded by the entries themselves.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  std::vector<SafetensorsEntry> entries;
  std::string problem;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_float(number_float_t, const string_t&) override { return unexpected("a fraction"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool number_integer(number_integer_t value) override {
    return value < 0 ? unexpected("a negative number") : number(static_cast<std::uint64_t>(value));
  }
  bool number_unsigned(number_unsigned_t value) override { return number(value); }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadataValue) {
      place_ = Place::kMetadata;
      return true;
    }
    if (place_ != Place::kDtype) return unexpected("a string");
    auto dtype = parse_dtype(value);
    if (!dtype) return stop(dtype.error().message);
    dtype_ = *dtype;
    place_ = Place::kEntry;
    return true;
  }

  bool start_object(std::size_t) override {
    switch (place_) {
      case Place::kStart:
        place_ = Place::kTop;
        return true;
      case Place::kMetadataStart:
        place_ = Place::kMetadata;
        return true;
      case Place::kEntryStart:
        place_ = Place::kEntry;
        return true;
      default:
        return unexpected("an object");
    }
  }

  bool key(string_t& name) override {
    switch (place_) {
      case Place::kTop:
        return top_key(name);
      case Place::kEntry:
        return entry_key(name);
      default:
        place_ = Place::kMetadataValue;
        return true;
    }
  }

  bool end_object() override {
    switch (place_) {
      case Place::kMetadata:
        place_ = Place::kTop;
        return true;
      case Place::kEntry:
        place_ = Place::kTop;
        return finish_entry();
      default:
        place_ = Place::kEnd;
        return true;
    }
  }

  bool start_array(std::size_t) override {
    switch (place_) {
      case Place::kShapeStart:
        place_ = Place::kShape;
        return true;
      case Place::kOffsetsStart:
        place_ = Place::kOffsets;
        return true;
      default:
        return unexpected("a list");
    }
  }
  bool end_array() override {
    place_ = Place::kEntry;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return stop(fmt::format("malformed JSON at byte {} of the header", position));
  }

 private:
  enum class Place {
    kStart,
    kTop,
    kMetadataStart,
    kMetadata,
    kMetadataValue,
    kEntryStart,
    kEntry,
    kDtype,
    kShapeStart,
    kShape,
    kOffsetsStart,
    kOffsets,
    kEnd,
  };

  bool stop(std::string what) {
    problem = std::move(what);
    return false;
  }
  bool stop_entry(std::string_view what) {
    return stop(fmt::format("tensor {}: {}", shortened(current_.name), what));
  }
  bool unexpected(std::string_view found) {
    return stop(
        current_.name.empty()
            ? fmt::format("the header holds {} where none is allowed", found)
            : fmt::format("tensor {}: {} where none is allowed", shortened(current_.name), found));
  }

  bool top_key(const std::string& name) {
    if (!names_.insert(name).second)
      return stop(fmt::format("the name {} occurs twice", shortened(name)));
    if (name == "__metadata__") {
      place_ = Place::kMetadataStart;
      return true;
    }
    if (name.empty() || name.size() > kMaxNameBytes || name.find('\0') != std::string::npos) {
      return stop(fmt::format("a tensor name of {} bytes is not allowed", name.size()));
    }
    current_ = {};
    current_.name = name;
    dtype_.reset();
    offsets_.clear();
    has_shape_ = has_offsets_ = false;
    place_ = Place::kEntryStart;
    return true;
  }

  bool entry_key(const std::string& name) {
    if (name == "dtype" && !dtype_) {
      place_ = Place::kDtype;
    } else if (name == "shape" && !has_shape_) {
      has_shape_ = true;
      place_ = Place::kShapeStart;
    } else if (name == "data_offsets" && !has_offsets_) {
      has_offsets_ = true;
      place_ = Place::kOffsetsStart;
    } else {
      return stop_entry(fmt::format("the key \"{}\" is unknown or occurs twice", shortened(name)));
    }
    return true;
  }

  bool number(std::uint64_t value) {
    if (place_ == Place::kShape && current_.shape.size() < kMaxRank &&
        value <= std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
      current_.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ == Place::kOffsets && offsets_.size() < 2) {
      offsets_.push_back(value);
      return true;
    }
    return unexpected("a number");
  }

  bool finish_entry() {
    if (!dtype_ || !has_shape_ || offsets_.size() != 2) {
      return stop_entry("expected dtype, shape and two data_offsets");
    }
    current_.dtype = *dtype_;
    current_.begin = offsets_[0];
    current_.end = offsets_[1];
    if (current_.begin > current_.end) {
      return stop_entry(
          fmt::format("data_offsets [{}, {}] run backwards", current_.begin, current_.end));
    }
    std::uint64_t bytes = size_of(current_.dtype);
    for (const std::int64_t dimension : current_.shape) {
      if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(dimension), &bytes)) {
        return stop_entry(
            fmt::format("shape [{}] overflows 64 bits", fmt::join(current_.shape, ", ")));
      }
    }
    if (bytes != current_.end - current_.begin) {
      return stop_entry(
          fmt::format("{} of shape [{}] needs {} bytes, data_offsets [{}, {}] hold {}",
                      name_of(current_.dtype), fmt::join(current_.shape, ", "), bytes,
                      current_.begin, current_.end, current_.end - current_.begin));
    }
    entries.push_back(std::move(current_));
    current_ = {};
    return true;
  }

  Place place_ = Place::kStart;
  SafetensorsEntry current_;
  std::optional<DType> dtype_;
  std::vector<std::uint64_t> offsets_;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  std::unordered_set<std::string> names_;
};

}  // namespace

Result<std::uint64_t> read_header_length(ConstBytes prefix, std::uint64_t file_bytes,
                                         std::string_view origin) {
  if (file_bytes < kHeaderPrefixBytes || prefix.size() < kHeaderPrefixBytes) {
    return fail(ErrorCode::kCheckpointCorrupt, kFetchAgain,
                "{}: the file has {} bytes, too few for a safetensors header", origin, file_bytes);
  }
  std::uint64_t length = 0;
  std::memcpy(&length, prefix.data(), sizeof length);
  if (length > kMaxHeaderBytes) {
    return fail(ErrorCode::kCheckpointCorrupt, kFetchAgain,
                "{}: the header claims {} bytes, at most {} are allowed", origin, length,
                kMaxHeaderBytes);
  }
  if (!range_fits(kHeaderPrefixBytes, length, file_bytes)) {
    return fail(ErrorCode::kCheckpointCorrupt, "fetch the file again; it is truncated",
                "{}: the header claims {} bytes, the file has {}", origin, length, file_bytes);
  }
  return length;
}

Result<SafetensorsHeader> parse_safetensors_header(std::string_view text, std::uint64_t data_bytes,
                                                   std::string_view origin) {
  if (text.empty() || text.front() != '{') {
    return fail(ErrorCode::kCheckpointCorrupt, kFetchAgain, "{}: the header does not begin with {{",
                origin);
  }
  HeaderReader reader;
  if (!json::sax_parse(text, &reader)) {
    return fail(ErrorCode::kCheckpointCorrupt, kFetchAgain, "{}: {}", origin, reader.problem);
  }
  SafetensorsHeader header;
  header.entries = std::move(reader.entries);
  header.data_offset = kHeaderPrefixBytes + text.size();
  std::sort(header.entries.begin(), header.entries.end(), [](const auto& a, const auto& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t expected_begin = 0;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.end > data_bytes) {
      return fail(ErrorCode::kCheckpointCorrupt, "fetch the file again; it is truncated or altered",
                  "{}: tensor {} ends at byte {} of the data, the file holds {}", origin,
                  shortened(entry.name), entry.end, data_bytes);
    }
    if (entry.begin != expected_begin) {
      return fail(
          ErrorCode::kCheckpointCorrupt, kFetchAgain,
          "{}: tensor {} begins at byte {} of the data and {} the one before, which ends at {}",
          origin, shortened(entry.name), entry.begin,
          entry.begin < expected_begin ? "overlaps" : "leaves a gap after", expected_begin);
    }
    expected_begin = entry.end;
  }
  if (expected_begin != data_bytes) {
    return fail(ErrorCode::kCheckpointCorrupt, kFetchAgain,
                "{}: the tensors cover {} bytes of data, the file holds {}", origin, expected_begin,
                data_bytes);
  }
  return header;
}

}  // namespace dsl::checkpoint
