#include "engine/text/stop_matcher.h"

#include <deque>
#include <utility>

#include "engine/text/utf8.h"

namespace dsl::text {
namespace {

constexpr std::size_t kMaxStopBytes = 64 << 10;

}  // namespace

Result<StopMatcher> StopMatcher::create(std::vector<std::string> stop_strings) {
  std::size_t bytes = 0;
  for (const std::string& stop : stop_strings) {
    if (stop.empty()) {
      return fail(ErrorCode::kRequestInvalid, "leave out empty stop strings",
                  "stop: expected strings that are not empty, found an empty one");
    }
    if (find_invalid_utf8(stop)) {
      return fail(ErrorCode::kRequestInvalid, "send stop strings as UTF-8",
                  "stop: a string of {} bytes is not valid UTF-8", stop.size());
    }
    bytes += stop.size();
  }
  if (bytes > kMaxStopBytes) {
    return fail(ErrorCode::kRequestInvalid, "send fewer or shorter stop strings",
                "stop: expected at most {} bytes in all, found {}", kMaxStopBytes, bytes);
  }
  return StopMatcher(std::move(stop_strings));
}

StopMatcher::StopMatcher(std::vector<std::string> stop_strings)
    : stop_strings_(std::move(stop_strings)), nodes_(1) {
  for (std::uint32_t stop = 0; stop < stop_strings_.size(); ++stop) {
    std::uint32_t node = 0;
    for (const char c : stop_strings_[stop]) {
      const auto byte = static_cast<std::uint8_t>(c);
      std::optional<std::uint32_t> next = child(node, byte);
      if (!next) {
        next = static_cast<std::uint32_t>(nodes_.size());
        Node fresh;
        fresh.byte = byte;
        fresh.depth = nodes_[node].depth + 1;
        nodes_.push_back(std::move(fresh));
        nodes_[node].children.push_back(*next);
      }
      node = *next;
    }
    if (!nodes_[node].stop) nodes_[node].stop = stop;
  }
  // Aho-Corasick failure links, breadth first.
  std::deque<std::uint32_t> queue(nodes_[0].children.begin(), nodes_[0].children.end());
  while (!queue.empty()) {
    const std::uint32_t node = queue.front();
    queue.pop_front();
    for (const std::uint32_t next : nodes_[node].children) {
      std::uint32_t fail_node = nodes_[node].fail;
      while (fail_node != 0 && !child(fail_node, nodes_[next].byte))
        fail_node = nodes_[fail_node].fail;
      nodes_[next].fail = child(fail_node, nodes_[next].byte).value_or(0);
      if (!nodes_[next].stop) nodes_[next].stop = nodes_[nodes_[next].fail].stop;
      queue.push_back(next);
    }
  }
}

std::optional<std::uint32_t> StopMatcher::child(std::uint32_t node, std::uint8_t byte) const {
  for (const std::uint32_t next : nodes_[node].children) {
    if (nodes_[next].byte == byte) return next;
  }
  return std::nullopt;
}

std::string StopMatcher::push(std::string_view text) {
  if (matched_) return {};
  held_ += text;
  std::size_t scanned = held_.size() - text.size();
  for (; scanned < held_.size(); ++scanned) {
    const auto byte = static_cast<std::uint8_t>(held_[scanned]);
    while (node_ != 0 && !child(node_, byte)) node_ = nodes_[node_].fail;
    node_ = child(node_, byte).value_or(0);
    if (nodes_[node_].stop) {
      matched_ = *nodes_[node_].stop;
      held_.resize(scanned + 1 - stop_strings_[*matched_].size());
      return std::exchange(held_, {});
    }
  }
  std::string safe = held_.substr(0, held_.size() - nodes_[node_].depth);
  held_.erase(0, safe.size());
  return safe;
}

std::string StopMatcher::finish() {
  node_ = 0;
  return std::exchange(held_, {});
}

}  // namespace dsl::text
