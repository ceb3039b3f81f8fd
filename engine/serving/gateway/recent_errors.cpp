#include "engine/serving/gateway/recent_errors.h"

#include <algorithm>
#include <utility>

namespace dsl::serving {
namespace {

constexpr std::size_t kMaxTextBytes = 500;

}  // namespace

void RecentErrors::note(std::string where, Error error, std::int64_t now_unix_s) {
  error.message.resize(std::min(error.message.size(), kMaxTextBytes));
  error.remedy.resize(std::min(error.remedy.size(), kMaxTextBytes));
  RecentError recent{now_unix_s, now_unix_s, 1, std::move(where), std::move(error)};
  const auto same = std::find_if(errors_.begin(), errors_.end(), [&](const RecentError& other) {
    return other.where == recent.where && other.error.code == recent.error.code &&
           other.error.message == recent.error.message;
  });
  if (same != errors_.end()) {
    recent.first_unix_s = same->first_unix_s;
    recent.count += same->count;
    errors_.erase(same);
  }
  errors_.push_front(std::move(recent));
  if (errors_.size() > kCapacity) errors_.pop_back();
}

}  // namespace dsl::serving
