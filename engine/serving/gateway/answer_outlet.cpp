#include "engine/serving/gateway/answer_outlet.h"

#include <memory>
#include <utility>

namespace dsl::serving {
namespace {

/// A client that is further behind than this is dropped.
constexpr std::size_t kMaxQueuedBytes = 1 << 20;
/// Around an event: its own and those of its HTTP chunk.
constexpr std::size_t kFrameBytes = 32;

}  // namespace

ResponseStream::Piece AnswerOutlet::take() {
  if (piece_.is_last || piece_.failure || piece_.whole) wake_ = nullptr;
  return std::exchange(piece_, {});
}

bool AnswerOutlet::send_event(std::initializer_list<std::string_view> parts) {
  has_sent_events_ = true;
  std::size_t num_bytes = kFrameBytes;
  for (const std::string_view part : parts) num_bytes += part.size();
  std::string& bytes = piece_.bytes;
  if (bytes.empty()) bytes.reserve(num_bytes);
  bytes += "data: ";
  for (const std::string_view part : parts) bytes += part;
  bytes += "\n\n";
  if (piece_.bytes.size() > kMaxQueuedBytes) {
    piece_ = {};
    piece_.failure = Error{ErrorCode::kOverloaded, "the client does not read its answer", ""};
    return false;
  }
  wake();
  return true;
}

void AnswerOutlet::send_whole(HttpResponse response) {
  piece_.whole = std::make_shared<HttpResponse>(std::move(response));
}

void AnswerOutlet::wake() const {
  if (wake_) wake_();
}

}  // namespace dsl::serving
